"""Sampling: one question per metric template and tick for all active rollouts, never one per rollout.

Windows are aligned to the clock. A session that lags (a new one, or after a restart or an outage) is first
brought up to date by itself, from its checkpoint on; then it joins the others.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from promptrollout.analysis import AnalysisPlan, Evidence, FoldItem, History, fold_many
from promptrollout.analysis.ledger import FROM_CHECKPOINT, WINDOWS_LIMIT, Ledger
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.describing import Reading, describe
from promptrollout.rollout import Comparison, Sampling
from promptrollout.sources.planning import Planned
from promptrollout.sources.protocol import MetricSource, Reason, Sample, SourceError, Subject

#: How far back stable's own past is read to seed the analysis (statistics-correlated.md: up to 24 h).
HISTORY_SECONDS = 24 * 3600.0
#: Compressed windows of all trials together, in bytes: what a day of many trials takes of the operator's memory.
LEDGERS_BYTES = 64 * 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Followed:
    """A pair to compare, and where its comparison can go on: the evidence so far, and up to when it was read."""

    sampling: Sampling
    checkpoint: tuple[Mapping[str, object], datetime] | None = None


@dataclass(slots=True)
class Session:
    """The comparison of one pair of a trial, as far as it has come."""

    key: ObjectKey
    source: str
    sampling: Sampling
    planned: Planned
    evidence: Evidence | None
    through: float
    not_before: float = 0.0
    ledger: Ledger | None = None

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
            arm=self.sampling.arm,
            against=self.sampling.against,
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
        #: By rollout, and by arm and what it is compared with.
        self._sessions: dict[ObjectKey, dict[tuple[str, str], Session]] = {}
        self._changed = {name: asyncio.Event() for name in sources}

    @property
    def active(self) -> int:
        """How many trials are being compared."""
        return len(self._sessions)

    @property
    def _share(self) -> int:
        """Bytes of windows that one comparison may keep: its evidence begins later where there are many."""
        comparisons = sum(map(len, self._sessions.values()))
        return min(WINDOWS_LIMIT, LEDGERS_BYTES // max(comparisons, 1))

    def follows(self, key: ObjectKey) -> bool:
        """Whether a trial of this rollout is being compared."""
        return key in self._sessions

    def follow(self, key: ObjectKey, source: str, pairs: Iterable[Followed], planned: Planned) -> None:
        """Compare these pairs of a trial from now on, and no others of it.

        One that is being compared already goes on with the new weight or plan. A source that there is not changes
        nothing: the spec's problems name it.
        """
        if source not in self._sources:
            return
        running = self._sessions.get(key, {})
        self._sessions[key] = {
            (pair.sampling.arm, pair.sampling.against): self._session(
                running.get((pair.sampling.arm, pair.sampling.against)), (key, source), pair, planned
            )
            for pair in pairs
        }

    def _session(
        self, old: Session | None, where: tuple[ObjectKey, str], pair: Followed, planned: Planned
    ) -> Session:
        (key, source), sampling, checkpoint = where, pair.sampling, pair.checkpoint
        if old is not None and _same_pair(old.sampling, sampling):
            if old.planned != planned:
                _replan(old, planned.plan)
            if old.source != source:
                self._changed[source].set()
            old.source, old.sampling, old.planned = source, sampling, planned
            return old
        self._changed[source].set()
        evidence = Evidence.from_checkpoint(planned.plan, checkpoint[0]) if checkpoint else None
        interval = sampling.interval.total_seconds()
        begin = checkpoint[1].timestamp() if checkpoint else _floor(sampling.since.timestamp(), interval)
        ledger = Ledger.begin(planned.plan, evidence, dropped=FROM_CHECKPOINT) if evidence else None
        return Session(key, source, sampling, planned, evidence, begin, ledger=ledger)

    def leave(self, key: ObjectKey) -> None:
        """The trial is over."""
        self._sessions.pop(key, None)

    async def run(self) -> None:
        """Tick for ever: each interval's windows are read `settle` seconds after they end.

        Each source by itself: one that hangs delays no trial that another one tells of.
        """
        async with asyncio.TaskGroup() as group:
            for name in self._sources:
                group.create_task(self._run_on(name), name=f"sampling of {name}")

    async def _run_on(self, source: str) -> None:
        changed = self._changed[source]
        while True:
            changed.clear()
            now = self._clock().timestamp()
            running = [s for pairs in self._sessions.values() for s in pairs.values() if s.source == source]
            due = [s for s in running if self._due(s) <= now]
            if due:
                await self._tick(due)
                continue
            wait = min((self._due(s) - now for s in running), default=None)
            try:
                async with asyncio.timeout(wait):
                    await changed.wait()
            except TimeoutError:
                continue

    def _due(self, session: Session) -> float:
        return max(session.through + session.interval + self._settle, session.not_before)

    async def _tick(self, due: Iterable[Session]) -> None:
        now = self._clock().timestamp() - self._settle
        groups: dict[tuple[str, float, float, int], list[Session]] = {}
        turns: Counter[ObjectKey] = Counter()
        for session in due:
            # A source is asked of one pair of a rollout at a time.
            group = (session.source, session.through, session.interval, turns[session.key])
            turns[session.key] += 1
            groups.setdefault(group, []).append(session)
        await asyncio.gather(
            *(
                self._read_apart(some, start, _floor(now, interval))
                for (_, start, interval, _), some in groups.items()
            )
        )

    async def _read_apart(self, sessions: list[Session], start: float, end: float) -> None:
        """As `_read`. Where that fails, each session by itself: one must not stop the others."""
        try:
            await self._read(sessions, start, end)
        except Exception as error:
            if len(sessions) > 1:
                log.exception("%d trials cannot be read together: each is by itself", len(sessions))
                for session in sessions:
                    if session.through == start:  # else it had been read before another failed
                        await self._read_apart([session], start, end)
                return
            log.exception("%s: its metrics cannot be compared", sessions[0].key)
            self._tell_failure(sessions[0], error)

    async def _read(self, sessions: list[Session], start: float, end: float) -> None:
        """Read the windows from `start` to `end` of sessions that stand at the same place."""
        asked = sessions[0].source
        source = self._sources[asked]
        for session in sessions:
            session.not_before = end + session.interval + self._settle
        seeded = await asyncio.gather(*(self._seed(session, source) for session in sessions))
        ready = [session for session, sound in zip(sessions, seeded, strict=True) if sound]
        if not ready:
            return
        samples = await source.sample([s.subject for s in ready], start, end, ready[0].interval)
        read_at = self._clock()
        # Not those that an edit has given another source meanwhile, which perhaps has read these windows already.
        here = [s for s in ready if self._is_running(s) and (s.source, s.through) == (asked, start)]
        left = [(s, s.evidence) for s in here]
        batch = [FoldItem(s.planned.plan, e, samples[str(s.key)].windows) for s, e in left if e is not None]
        share = self._share
        for (session, _), evidence in zip(left, fold_many(batch), strict=True):
            sample = samples[str(session.key)]
            ledger = session.ledger
            if ledger is not None:
                ledger = ledger.plus(sample.windows, evidence, share)
            # Together: a window that is half taken in would be taken in twice.
            session.evidence, session.ledger = evidence, ledger
            session.through = max((w.end for w in sample.windows), default=session.through)
            if not sample.windows and sample.unreadable is None:
                session.through = end
            self._tell(session, evidence, sample, read_at)

    def _is_running(self, session: Session) -> bool:
        pair = (session.sampling.arm, session.sampling.against)
        return self._sessions.get(session.key, {}).get(pair) is session

    def _tell(self, session: Session, evidence: Evidence, sample: Sample, read_at: datetime) -> None:
        through = datetime.fromtimestamp(session.through, UTC)
        reading = Reading(session.sampling, through, read_at, sample.problems, session.ledger)
        self._news(session.key, describe(session.planned, evidence, reading))

    def _tell_failure(self, session: Session, error: Exception) -> None:
        """To hold is all that is right then."""
        said = f"the operator fails on them ({type(error).__name__}: {error}); its log has the whole story"
        problem = SourceError(Reason.INCONSISTENT, said)
        problems = {query.name: problem for query in session.planned.queries}
        evidence = session.evidence or Evidence.initial(session.planned.plan)
        try:
            self._tell(session, evidence, Sample(problems=problems), self._clock())
        except Exception:
            log.exception("%s: nor can that be told", session.key)

    async def _seed(self, session: Session, source: MetricSource) -> bool:
        """Stable's own past before the trial: a guess of its rates, and how its requests resemble each other.

        Read once, at the start of a trial; False if it cannot be read now (it is asked again at the next tick).
        """
        if _seeded(session):
            return True
        begin = session.sampling.since.timestamp()
        found = await source.history(session.subject, begin - HISTORY_SECONDS, begin)
        if _seeded(session):  # by another source meanwhile
            return True
        broken = {name: past for name, past in found.items() if isinstance(past, SourceError)}
        seed = {name: past for name, past in found.items() if isinstance(past, History)}
        evidence = Evidence.initial(session.planned.plan, seed)
        if broken:
            self._tell(session, evidence, Sample(problems=broken), self._clock())
            return False
        session.evidence = evidence
        session.ledger = Ledger.begin(session.planned.plan, evidence, seed)
        return True


def _seeded(session: Session) -> bool:
    """Whether there is evidence to go on with; asked anew after each wait."""
    return session.evidence is not None


def _same_pair(one: Sampling, other: Sampling) -> bool:
    return (one.trial, one.candidate, one.stable, one.interval, one.shadow) == (
        other.trial,
        other.candidate,
        other.stable,
        other.interval,
        other.shadow,
    )


def _replan(session: Session, plan: AnalysisPlan) -> None:
    """The evidence under an edited plan: metrics that changed start anew, the others keep theirs."""
    if session.evidence is None:
        return
    session.evidence = session.evidence.aligned(plan)
    if session.ledger is not None and session.ledger.plan != plan:
        session.ledger = session.ledger.under(plan, session.evidence)


def _floor(moment: float, interval: float) -> float:
    return math.floor(moment / interval) * interval
