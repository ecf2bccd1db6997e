"""Sampling: one question per metric template and tick for all active rollouts, never one per rollout.

Windows are aligned to the clock. A session that lags (a new one, or after a restart or an outage) is first
brought up to date by itself, from its checkpoint on; then it joins the others.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from promptrollout.analysis import AnalysisPlan, Evidence, FoldItem, History, fold_many
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.describing import Reading, describe
from promptrollout.rollout import Comparison, Sampling
from promptrollout.sources.planning import Planned
from promptrollout.sources.protocol import MetricSource, Sample, SourceError, Subject

#: How far back stable's own past is read to seed the analysis (statistics-correlated.md: up to 24 h).
HISTORY_SECONDS = 24 * 3600.0


@dataclass(slots=True)
class Session:
    """One trial's comparison, as far as it has come."""

    key: ObjectKey
    source: str
    sampling: Sampling
    planned: Planned
    evidence: Evidence | None
    through: float
    not_before: float = 0.0

    @property
    def trial(self) -> tuple[str, int]:
        """Which trial it is: candidate and attempt."""
        return self.sampling.candidate, self.sampling.attempt

    @property
    def interval(self) -> float:
        """The length of a window in seconds."""
        return self.sampling.interval.total_seconds()

    @property
    def subject(self) -> Subject:
        """What the source is asked."""
        return Subject(
            key=str(self.key),
            candidate=self.sampling.candidate,
            stable=self.sampling.stable,
            exposure=self.sampling.exposure,
            weight=self.sampling.weight,
            queries=self.planned.queries,
            since=self.sampling.since.timestamp(),
        )


class Sampler:
    """Runs the sessions of all active trials and tells when there is news of one.

    Args:
        sources: the configured metric sources by name.
        news: called with a rollout's key and what the analysis says now of its trial.
        settle: seconds to wait after a window's end, so that scrapes under way are in.
    """

    def __init__(
        self,
        sources: Mapping[str, MetricSource],
        news: Callable[[ObjectKey, Comparison], None],
        clock: Callable[[], datetime],
        settle: float,
    ) -> None:
        self._sources = sources
        self._news = news
        self._clock = clock
        self._settle = settle
        self._sessions: dict[ObjectKey, Session] = {}
        self._changed = asyncio.Event()

    @property
    def active(self) -> int:
        """How many trials are being compared."""
        return len(self._sessions)

    def follow(
        self,
        key: ObjectKey,
        source: str,
        sampling: Sampling,
        planned: Planned,
        checkpoint: tuple[Mapping[str, object], datetime] | None,
    ) -> None:
        """Compare this trial from now on; one that is being compared already goes on with the new weight or plan."""
        old = self._sessions.get(key)
        if old is not None and _same_trial(old.sampling, sampling):
            if old.planned != planned:
                old.evidence = _under(planned.plan, old.evidence)
            old.source, old.sampling, old.planned = source, sampling, planned
            return
        evidence = Evidence.from_checkpoint(planned.plan, checkpoint[0]) if checkpoint else None
        interval = sampling.interval.total_seconds()
        begin = checkpoint[1].timestamp() if checkpoint else _floor(sampling.since.timestamp(), interval)
        self._sessions[key] = Session(key, source, sampling, planned, evidence, begin)
        self._changed.set()

    def leave(self, key: ObjectKey) -> None:
        """The trial is over."""
        self._sessions.pop(key, None)

    async def run(self) -> None:
        """Tick for ever: each interval's windows are read `settle` seconds after they end."""
        while True:
            self._changed.clear()
            now = self._clock().timestamp()
            due = [s for s in self._sessions.values() if self._due(s) <= now]
            if due:
                await self._tick(due)
                continue
            wait = min((self._due(s) - now for s in self._sessions.values()), default=None)
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _due(self, session: Session) -> float:
        return max(session.through + session.interval + self._settle, session.not_before)

    async def _tick(self, due: Iterable[Session]) -> None:
        now = self._clock().timestamp() - self._settle
        groups: dict[tuple[str, float, float], list[Session]] = {}
        for session in due:
            groups.setdefault((session.source, session.through, session.interval), []).append(session)
        await asyncio.gather(
            *(self._read(some, start, _floor(now, interval)) for (_, start, interval), some in groups.items())
        )

    async def _read(self, sessions: list[Session], start: float, end: float) -> None:
        """Read the windows from `start` to `end` of sessions that stand at the same place."""
        source = self._sources[sessions[0].source]
        for session in sessions:
            session.not_before = end + session.interval + self._settle
        seeded = await asyncio.gather(*(self._seed(session, source) for session in sessions))
        ready = [session for session, sound in zip(sessions, seeded, strict=True) if sound]
        if not ready:
            return
        samples = await source.sample([s.subject for s in ready], start, end, ready[0].interval)
        read_at = self._clock()
        left = [(s, s.evidence) for s in ready if self._sessions.get(s.key) is s]
        batch = [FoldItem(s.planned.plan, e, samples[str(s.key)].windows) for s, e in left if e is not None]
        for (session, _), evidence in zip(left, fold_many(batch), strict=True):
            sample = samples[str(session.key)]
            session.evidence = evidence
            session.through = max((w.end for w in sample.windows), default=session.through)
            if not sample.windows and sample.unreadable is None:
                session.through = end
            self._tell(session, evidence, sample, read_at)

    def _tell(self, session: Session, evidence: Evidence, sample: Sample, read_at: datetime) -> None:
        through = datetime.fromtimestamp(session.through, UTC)
        reading = Reading(session.trial, through, read_at, sample.problems)
        self._news(session.key, describe(session.planned.plan, evidence, reading))

    async def _seed(self, session: Session, source: MetricSource) -> bool:
        """Stable's own past before the trial: a guess of its rates, and how its requests resemble each other.

        Read once, at the start of a trial; False if it cannot be read now (it is asked again at the next tick).
        """
        if session.evidence is not None:
            return True
        begin = session.sampling.since.timestamp()
        found = await source.history(session.subject, begin - HISTORY_SECONDS, begin)
        broken = {name: past for name, past in found.items() if isinstance(past, SourceError)}
        seed = {name: past for name, past in found.items() if isinstance(past, History)}
        evidence = Evidence.initial(session.planned.plan, seed)
        if broken:
            self._tell(session, evidence, Sample(problems=broken), self._clock())
            return False
        session.evidence = evidence
        return True


def _same_trial(one: Sampling, other: Sampling) -> bool:
    return (one.candidate, one.stable, one.attempt, one.interval) == (
        other.candidate,
        other.stable,
        other.attempt,
        other.interval,
    )


def _under(plan: AnalysisPlan, evidence: Evidence | None) -> Evidence | None:
    """The evidence under an edited plan: metrics that changed start anew, the others keep theirs."""
    return evidence and evidence.aligned(plan)


def _floor(moment: float, interval: float) -> float:
    return math.floor(moment / interval) * interval
