"""One run: the real decision core, told what the real engine says of the counts, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from promptrollout.analysis import AnalysisPlan, Assessment, Evidence, Window, assess, glance
from promptrollout.analysis.sampleratio import assess_ratio
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Arm, RolloutStatus
from promptrollout.rollout import Comparison, LoadedPayload, Observations, PodsSeen, decide

#: Any moment will do.
_BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
_STABLE, _CANDIDATE = "aaaa000000", "bbbb000000"
_POD = "pod"
#: Turns at one moment before the state machine must have come to rest.
_MOST_TURNS = 20
#: How often the sample ratio is looked at; the verdict is with every window.
_RATIO_EVERY = 300.0


class Outcome(StrEnum):
    """How a run stood at its end."""

    Promoted = "Promoted"
    RolledBack = "RolledBack"
    Paused = "Paused"  #: waits for a person
    Running = "Running"  #: time was up


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run, to its decision or to the end of the simulated time.

    `candidate_requests` were answered by the candidate until then; `bad_requests` those of them since it was bad.
    `path` has (seconds, candidate's weight in 1/10,000) at each change.
    """

    outcome: Outcome
    reason: str
    seconds: float
    candidate_requests: float
    bad_requests: float
    path: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class _Loading:
    """A payload on its way to the pods."""

    at: float
    sequence: int
    weight: int
    exposure: int


class Trial:
    """A rollout on trial: status, evidence, and what the pods serve."""

    def __init__(self, spec: RolloutSpec, plan: AnalysisPlan, evidence: Evidence, loading: float) -> None:
        self.spec = spec
        self.plan = plan
        self.evidence = evidence
        self._loading_time = loading
        self._status = RolloutStatus()
        self._loading: _Loading | None = None
        self._loaded = LoadedPayload(0, _BEGIN)
        self._wake = 0.0
        self._wanted = _STABLE
        self._comparison: Comparison | None = None
        self._through = self._ratio_at = 0.0
        self._mismatch = False
        canary, _ = spec.strategy.stepped or (None, "")
        self._counts_samples = any(step.min_samples for step in (canary.steps if canary else ()))
        #: what is served: the candidate's weight (1/10,000), its exposure, and since when
        self.weight, self.exposure, self.loaded_at = 0, 0, 0.0
        self.candidate_requests = self.bad_requests = 0.0
        self.path: list[tuple[float, int]] = []
        self.backlog: list[Window] = []
        self.result: RunResult | None = None

    def begin(self) -> None:
        """Stable serves all; then another prompt is wanted."""
        self._turn(0.0)
        self._arrive(0.0)
        self._turn(0.0)
        self._wanted = _CANDIDATE
        self._turn(0.0)

    def pass_time(self, until: float) -> None:
        """Pods load, clocks run out: everything that happens before the window that starts at `until`."""
        while self.result is None:
            moments = [self._wake] + ([self._loading.at] if self._loading else [])
            now = min(moments)
            if now > until:
                return
            self._arrive(now)
            self._turn(now)

    def look(self, now: float, unreadable: str = "") -> None:
        """Windows up to `now` have been folded, or could not be read: decide if that is news."""
        if self.result is not None or self.weight == 0:
            return
        if not unreadable:
            self._through = now
        verdict = glance(self.plan, self.evidence)
        old = self._comparison
        news = old is None or verdict is not old.verdict or unreadable != old.unreadable
        if now - self._ratio_at >= _RATIO_EVERY:
            self._ratio_at = now
            ratio = assess_ratio(self.evidence.ratio, self.plan.allocation, self.plan.alpha_sample_ratio)
            mismatch = ratio is not None and ratio.mismatch
            news, self._mismatch = news or mismatch != self._mismatch, mismatch
        if news or self._counts_samples:
            self._assess(now, unreadable)
            self._turn(now)

    def end(self, now: float) -> RunResult:
        """The result; if nothing was decided, how it stands."""
        if self.result is None:
            pause = self._status.pause
            outcome = Outcome.Paused if pause else Outcome.Running
            self._finish(outcome, pause.reason if pause else "", now)
        assert self.result is not None  # noqa: S101 - just made
        return self.result

    def _assess(self, now: float, unreadable: str) -> None:
        said = assess(self.plan, self.evidence)
        self._comparison = Comparison(
            trial=(_CANDIDATE, 1),
            verdict=said.verdict,
            through=_at(self._through),
            read_at=_at(now),
            harm=str(said.harm),
            harm_reason=said.reason,
            samples=_samples(said),
            outlook=said.reason,
            unreadable=unreadable,
            mismatch="the sample ratio does not fit the weights" if self._mismatch else "",
        )

    def _arrive(self, now: float) -> None:
        loading = self._loading
        if loading is None or loading.at > now:
            return
        self._loading = None
        self._loaded = LoadedPayload(loading.sequence, _at(loading.at))
        if loading.weight != self.weight:
            self.path.append((now, loading.weight))
        if (loading.weight, loading.exposure) != (self.weight, self.exposure):
            self.loaded_at = now
        self.weight, self.exposure = loading.weight, loading.exposure

    def _turn(self, now: float) -> None:
        """Decide until nothing changes any more at this moment, as the shell does."""
        moment = _at(now)
        for _ in range(_MOST_TURNS):
            before, delivered = self._status, self._status.delivered
            decision = decide(self.spec, before, self._seen(now), moment)
            self._status = decision.status
            self._wake = _seconds(decision.wake_at) if decision.wake_at else float("inf")
            after = decision.status.delivered
            if after is not None and (delivered is None or after.sequence != delivered.sequence):
                weight = _weight(after.arms)
                self._loading = _Loading(now + self._loading_time, after.sequence, weight, after.exposure)
                if self._wanted == _STABLE:
                    self._loading = replace(self._loading, at=now)
            if self._wanted == _CANDIDATE and decision.status.candidate is None:
                self._over(now)
                return
            if self._status == before:
                break
        # Whatever is due now has been looked at: the next turn is later.
        if self._wake <= now:
            self._wake = now + 1.0

    def _over(self, now: float) -> None:
        stable, rollback = self._status.stable, self._status.rollback
        if stable is not None and stable.revision == _CANDIDATE:
            self._finish(Outcome.Promoted, self._status.history[0].reason, now)
        else:
            self._finish(Outcome.RolledBack, rollback.reason if rollback else "", now)

    def _finish(self, outcome: Outcome, reason: str, now: float) -> None:
        self.result = RunResult(
            outcome, reason, now, self.candidate_requests, self.bad_requests, tuple(self.path)
        )

    def _seen(self, now: float) -> Observations:
        delivered, said = self._status.delivered, self._comparison
        if said is not None and not said.unreadable:
            # Windows that brought no news have been read too.
            moment = _at(max(self._through, 0.0))
            said = replace(said, through=moment, read_at=max(moment, said.read_at))
        return Observations(
            uid="simulated",
            generation=1,
            wanted=self._wanted,
            written=(delivered.sequence, delivered.written_at or _at(now)) if delivered else None,
            pods=PodsSeen((_POD,), {_POD: self._loaded}),
            comparisons=(said,) if said else (),
        )


def _weight(arms: list[Arm]) -> int:
    return next((arm.weight for arm in arms if arm.name == "candidate"), 0)


def _samples(said: Assessment) -> int:
    return int(max((m.values.candidate_samples for m in said.metrics), default=0.0))


def _at(seconds: float) -> datetime:
    return _BEGIN + timedelta(seconds=seconds)


def _seconds(moment: datetime) -> float:
    return (moment - _BEGIN).total_seconds()
