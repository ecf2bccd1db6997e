"""One run: the real decision core, told what the real engine says of the counts, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from promptrollout.analysis import (
    AnalysisPlan,
    Assessment,
    Evidence,
    History,
    Verdict,
    Window,
    assess,
    glance,
)
from promptrollout.analysis.kinds.base import Slot
from promptrollout.analysis.sampleratio import assess_ratio
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Delivered, RolloutStatus
from promptrollout.rollout import Better, Comparison, LoadedPayload, Observations, PodsSeen, Sampling, decide
from promptrollout.rollout.gateplan import APPROVAL
from promptrollout.rollout.observations import CANDIDATE, STABLE, Command, GateAnswer
from promptrollout.simulation.plans import Plans, challengers, pairs
from promptrollout.simulation.world import World

#: Any Monday will do.
_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
_STABLE, _CANDIDATE = "aaaa000000", "bbbb000000"
_POD = "pod"
#: Turns at one moment before the state machine must have come to rest.
_MOST_TURNS = 20
#: How often the sample ratio is looked at; the verdict is with every window.
_RATIO_EVERY = 300.0
#: An answer of a gate that could not be taken is given again after so long.
_AGAIN = 60.0
#: By metric, stable's past.
Seed = Mapping[str, History]


class Outcome(StrEnum):
    """How a run stood at its end."""

    Promoted = "Promoted"
    RolledBack = "RolledBack"
    Paused = "Paused"  #: waits for a person
    Running = "Running"  #: time was up


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run, to its decision or to the end of the simulated time.

    `candidate_requests` were answered by the candidate (all challengers) for users until then; `bad_requests` those of
    them since it was bad. `shadow_runs` nobody saw. `path` has (seconds, the candidate's weight in 1/10,000) at each
    change. `arm` is that of an A/B test that has won, `dropped` those that were found harmful.
    """

    outcome: Outcome
    reason: str
    seconds: float
    candidate_requests: float
    bad_requests: float
    path: tuple[tuple[float, int], ...]
    shadow_runs: float = 0.0
    arm: str = ""
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What the pods serve: the challengers' shares (1/10,000) in their order, and which of them stable serves instead.

    `mirror` is the share of requests that the candidate answers beside stable.
    """

    weights: tuple[int, ...]
    dropped: tuple[bool, ...]
    exposure: int = 0
    mirror: int = 0

    @property
    def shadow(self) -> bool:
        """Whether the candidate answers unseen."""
        return self.mirror > 0

    @property
    def weight(self) -> int:
        """All challengers' share."""
        return sum(w for w, gone in zip(self.weights, self.dropped, strict=True) if not gone)

    @property
    def on_trial(self) -> bool:
        """Whether there is anything to compare."""
        return self.weight > 0 or self.shadow


@dataclass(frozen=True, slots=True)
class _Loading:
    """A payload on its way to the pods."""

    at: float
    sequence: int
    served: Served


@dataclass(slots=True)
class Track:
    """One pair that is compared: plan, evidence, windows still to be folded, and what was said last."""

    arm: str
    against: str
    plan: AnalysisPlan
    evidence: Evidence
    backlog: list[Window] = field(default_factory=list)
    said: Comparison | None = None
    better: bool = False
    mismatch: bool = False
    ratio_at: float = 0.0


class Trial:
    """A rollout on trial: status, evidence, and what the pods serve."""

    def __init__(self, spec: RolloutSpec, plans: Plans, world: World, seeds: Mapping[bool, Seed]) -> None:
        """Prepares.

        Args:
            spec: the rollout.
            plans: what is compared.
            world: its clock, how long pods take to load, and how long gates take.
            seeds: stable's past by phase (whether it is in the shadow).

        """
        self.spec = spec
        self.arms = challengers(spec)
        self._plans, self._world, self._seeds = plans, world, seeds
        self._zero = _MONDAY + timedelta(days=world.day, hours=world.hour)
        self._status = RolloutStatus()
        self._loading: _Loading | None = None
        self._loaded = LoadedPayload(0, self._zero)
        self._wake = 0.0
        self._begun = False
        self._sampling: tuple[Sampling, ...] = ()
        self._gates: dict[str, float] = {}
        self._through = 0.0
        self._tracks: dict[tuple[str, str, bool], Track] = {}
        canary, _ = spec.strategy.stepped or (None, "")
        self._counts_samples = any(step.min_samples for step in (canary.steps if canary else ()))
        #: what is served, and since when
        self.served = Served((0,) * len(self.arms), (False,) * len(self.arms))
        self.loaded_at = 0.0
        self.candidate_requests = self.bad_requests = self.shadow_runs = 0.0
        self.path: list[tuple[float, int]] = []
        self.result: RunResult | None = None

    def begin(self) -> None:
        """Stable serves all; then another prompt is wanted."""
        self._turn(0.0)
        self._arrive(0.0)
        self._turn(0.0)
        self._begun = True
        self._turn(0.0)

    def tracks(self) -> list[Track]:
        """The pairs whose windows are to be counted now.

        Arms are compared with each other only when one may win, but then from the beginning: so all are counted.
        """
        shadow = self.served.shadow
        gone = {arm for arm, dropped in zip(self.arms, self.served.dropped, strict=True) if dropped}
        found = []
        for arm, against in pairs(self.arms):
            if arm in gone or against in gone:
                continue
            key = (arm, against, shadow)
            if key not in self._tracks:
                plan = self._plans.of(shadow=shadow)
                seed = self._seeds[shadow] if against == STABLE else {}
                self._tracks[key] = Track(arm, against, plan, Evidence.initial(plan, seed))
            found.append(self._tracks[key])
        return found

    def pass_time(self, until: float) -> None:
        """Pods load, gates answer, clocks run out: everything that happens before the window that starts at `until`."""
        while self.result is None:
            moments = [self._wake, *self._gates.values()]
            now = min(moments + ([self._loading.at] if self._loading else []))
            if now > until:
                return
            self._arrive(now)
            self._turn(now)

    def look(self, now: float, unreadable: str = "") -> None:
        """Windows up to `now` have been folded, or could not be read: decide if that is news."""
        if self.result is not None or not self.served.on_trial:
            return
        if not unreadable:
            self._through = now
        shadow = self.served.shadow
        some = [(pair, self._tracks.get((pair.arm, pair.against, shadow))) for pair in self._sampling]
        told = [self._told(pair, track, now, unreadable) for pair, track in some if track is not None]
        if any(told):
            self._turn(now)

    def end(self, now: float) -> RunResult:
        """The result; if nothing was decided, how it stands."""
        if self.result is None:
            pause = self._status.pause
            outcome = Outcome.Paused if pause else Outcome.Running
            self._finish(outcome, pause.reason if pause else "", now, self._leader())
        assert self.result is not None  # noqa: S101 - just made
        return self.result

    # what the analysis says

    def _told(self, pair: Sampling, track: Track, now: float, unreadable: str) -> bool:
        """Whether there is news of a pair; then it is said."""
        verdict = glance(track.plan, track.evidence)
        old = track.said
        better = self._is_better(track)
        news = (
            old is None
            or verdict is not old.verdict
            or unreadable != old.unreadable
            or better != track.better
        )
        if now - track.ratio_at >= _RATIO_EVERY:
            track.ratio_at = now
            ratio = assess_ratio(track.evidence.ratio, track.plan.allocation, track.plan.alpha_sample_ratio)
            mismatch = ratio is not None and ratio.mismatch
            news, track.mismatch = news or mismatch != track.mismatch, mismatch
        if not (news or self._counts_samples):
            return False
        track.better = better
        said = assess(track.plan, track.evidence)
        track.said = Comparison(
            trial=pair.trial,
            arm=pair.arm,
            against=pair.against,
            shadow=pair.shadow,
            verdict=said.verdict,
            through=self._at(self._through),
            read_at=self._at(now),
            harm=str(said.harm),
            harm_reason=said.reason,
            samples=_samples(said),
            outlook=said.reason,
            unreadable=unreadable,
            mismatch="the sample ratio does not fit the weights" if track.mismatch else "",
            better=Better(self._log_better(track), better) if self._plans.contests else None,
        )
        return True

    def _is_better(self, track: Track) -> bool:
        return bool(self._plans.contests) and self._log_better(track) >= track.plan.promote_threshold

    def _log_better(self, track: Track) -> float:
        """The mean of the evidence that it is better, over the Required metrics (as the operator takes it)."""
        logs = [
            float(track.evidence.array(track.plan.positions[name])[Slot.PROMOTE])
            for name in self._plans.contests
        ]
        top = max(logs)
        return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(logs))

    def _leader(self) -> str:
        """The arm of an A/B test that waits for someone to say promote."""
        if not self._plans.contests:
            return ""
        ahead = [
            track
            for track in self._tracks.values()
            if track.against == STABLE
            and track.better
            and track.said
            and track.said.verdict is Verdict.NonInferior
        ]
        return max(ahead, key=self._log_better).arm if ahead else ""

    # turns of the decision core

    def _arrive(self, now: float) -> None:
        loading = self._loading
        if loading is None or loading.at > now:
            return
        self._loading = None
        self._loaded = LoadedPayload(loading.sequence, self._at(loading.at))
        served = loading.served
        if served.weight != self.served.weight:
            self.path.append((now, served.weight))
        if served != self.served:
            self.loaded_at = now
        self.served = served

    def _turn(self, now: float) -> None:
        """Decide until nothing changes any more at this moment, as the shell does."""
        moment = self._at(now)
        for _ in range(_MOST_TURNS):
            before, delivered = self._status, self._status.delivered
            decision = decide(self.spec, before, self._seen(now), moment)
            self._status, self._sampling = decision.status, decision.sampling
            self._wake = self._seconds(decision.wake_at) if decision.wake_at else math.inf
            after = decision.status.delivered
            if after is not None and (delivered is None or after.sequence != delivered.sequence):
                lasts = self._world.loading if self._begun else 0.0
                self._loading = _Loading(now + lasts, after.sequence, self._served(after))
            self._await_gates(now)
            if self._begun and decision.status.candidate is None:
                self._over(now)
                return
            if self._status == before:
                break
        # Whatever is due now has been looked at: the next turn is later.
        if self._wake <= now:
            self._wake = now + 1.0

    def _served(self, delivered: Delivered) -> Served:
        stable = self._status.stable.revision if self._status.stable else _STABLE
        by_name = {arm.name: arm for arm in delivered.arms}
        found = [by_name.get(name) for name in self.arms]
        return Served(
            tuple(arm.weight if arm else 0 for arm in found),
            tuple(arm is not None and len(self.arms) > 1 and arm.revision == stable for arm in found),
            delivered.exposure,
            delivered.shadow.sample if delivered.shadow else 0,
        )

    def _await_gates(self, now: float) -> None:
        """Gates that were asked answer later; those that are over are forgotten."""
        waiting = [run.id for run in self._status.gates if not run.result and not run.held]
        asked = {name: self._gates.get(name) for name in waiting}
        # An answer that was not taken now may be later.
        self._gates = {
            name: now + self._world.gates if at is None else at if at > now else now + _AGAIN
            for name, at in asked.items()
        }

    def _over(self, now: float) -> None:
        stable, rollback = self._status.stable, self._status.rollback
        if stable is not None and stable.revision != _STABLE:
            arms = self._revisions()
            arm = next((name for name, revision in arms.items() if revision == stable.revision), "")
            self._finish(Outcome.Promoted, self._status.history[0].reason, now, arm)
        else:
            self._finish(Outcome.RolledBack, rollback.reason if rollback else "", now)

    def _finish(self, outcome: Outcome, reason: str, now: float, arm: str = "") -> None:
        gone = (name for name, dropped in zip(self.arms, self.served.dropped, strict=True) if dropped)
        self.result = RunResult(
            outcome,
            reason,
            now,
            self.candidate_requests,
            self.bad_requests,
            tuple(self.path),
            self.shadow_runs,
            arm,
            tuple(gone),
        )

    def _revisions(self) -> Mapping[str, str]:
        """Those of an A/B test's arms."""
        if self.arms == (CANDIDATE,):
            return {}
        return {name: f"{number + 1:04d}000000" for number, name in enumerate(self.arms)}

    def _seen(self, now: float) -> Observations:
        delivered, revisions = self._status.delivered, self._revisions()
        wanted = _CANDIDATE if self._begun and not revisions else _STABLE
        due = {name for name, at in self._gates.items() if at <= now}
        return Observations(
            uid="simulated",
            generation=1,
            wanted=wanted,
            arms=revisions if self._begun else {},
            written=(delivered.sequence, delivered.written_at or self._at(now)) if delivered else None,
            pods=PodsSeen((_POD,), {_POD: self._loaded}),
            comparisons=self._comparisons(),
            gates={name: GateAnswer("Passed") for name in due},
            command=self._approval(due),
        )

    def _comparisons(self) -> tuple[Comparison, ...]:
        found = []
        for pair in self._sampling:
            track = self._tracks.get((pair.arm, pair.against, pair.shadow))
            if track is None or track.said is None:
                continue
            said = track.said
            if not said.unreadable:
                # Windows that brought no news have been read too.
                moment = self._at(max(self._through, 0.0))
                said = replace(said, through=moment, read_at=max(moment, said.read_at))
            found.append(said)
        return tuple(found)

    def _approval(self, due: set[str]) -> Command | None:
        """A person approves what waits for that."""
        waiting = (
            run for run in self._status.gates if run.id in due and run.kind == APPROVAL and not run.result
        )
        return next((Command("approve", run.id) for run in waiting), None)

    def _at(self, seconds: float) -> datetime:
        return self._zero + timedelta(seconds=seconds)

    def _seconds(self, moment: datetime) -> float:
        return (moment - self._zero).total_seconds()


def _samples(said: Assessment) -> int:
    return int(max((m.values.candidate_samples for m in said.metrics), default=0.0))
