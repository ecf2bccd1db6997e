"""Several prompts side by side at fixed weights: the best by evidence wins, a harmful one is dropped.

An arm wins when it is shown not worse than the control by any Required metric, better by at least one, and not worse
than any other arm that is still in the test. Each of these must reach K / alpha for K challengers: the chance that any
arm wins wrongly is then at most alpha, however often one looks. (All must hold for one arm, an intersection-union
test, so the number of comparisons within an arm needs no correction; that any of K arms may be picked does, and for
e-values Bonferroni's is K / alpha: Vovk and Wang, Annals of Statistics 2021; Ramdas et al., Statistical Science 2023.)
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from promptrollout.analysis import Verdict
from promptrollout.api.abtest import AbTest, OnWinner
from promptrollout.api.gates import StepGate
from promptrollout.api.prompt import Prompt
from promptrollout.api.quantities import format_duration, format_weight, parse_duration, parse_weight
from promptrollout.rollout.strategies.base import (
    ArmView,
    Ask,
    Finish,
    Forced,
    Goal,
    Move,
    Refuse,
    Split,
    Stay,
    Undecided,
    View,
)

_PATH = "spec.strategy.abTest.arms"


@dataclass(frozen=True, slots=True)
class AbTestStrategy:
    """`spec.strategy.abTest`."""

    spec: AbTest
    name: str = "abTest"
    steps: int = 1
    compares: bool = True

    @property
    def prompts(self) -> Mapping[str, tuple[str, Prompt]]:
        """Those of the challengers."""
        arms = enumerate(self.spec.arms)
        return {arm.name: (f"{_PATH}[{i}].prompt", arm.prompt) for i, arm in arms if arm.prompt}

    @property
    def rivals(self) -> int:
        """How many challengers there are."""
        return len(self.prompts)

    @property
    def grace(self) -> timedelta:
        """The horizon is a bound of its own."""
        return parse_duration(self.spec.horizon)

    def uncounted(self, since: datetime, until: datetime) -> timedelta:  # noqa: ARG002 - the protocol's signature
        """A test has no schedule."""
        return timedelta(0)

    def shut(self, now: datetime) -> Stay | None:  # noqa: ARG002 - the protocol's signature
        """A test has no schedule."""
        return None

    def goal(self, wanted: str, stable: str, arms: Mapping[str, str]) -> Goal | None:
        """To try all challengers against stable; but first spec.prompt must be stable, since it is the control."""
        if wanted != stable:
            return Goal(wanted)
        # An arm with the control's own prompt (it may come from a ConfigMap) is nothing to compare with it.
        pairs = tuple((name, arms[name]) for name in self.prompts if arms.get(name, wanted) != wanted)
        if not pairs:
            return None
        weights = [[arm.name, parse_weight(arm.weight)] for arm in self.spec.arms]
        text = json.dumps([wanted, pairs, weights])
        return Goal(f"test-{hashlib.sha256(text.encode()).hexdigest()[:10]}", pairs)

    def digest(self) -> str:
        """A digest of what may be edited while the test goes on; prompts and weights make another test."""
        text = json.dumps([self.spec.horizon, self.spec.on_winner])
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def relocate(self, weight: int, step: int) -> int:
        """There is one step: with weight it has begun."""
        return min(step, 1) if weight == 0 else 1

    def gate(self, step: int) -> StepGate | None:  # noqa: ARG002 - the protocol's signature
        """Its steps are no gates; those before delivery and before promotion are the spec's own."""
        return None

    def next(self, view: View) -> Move:
        """All weights in one step; then wait for a winner until the horizon."""
        if not view.arms:
            return Ask(
                "an A/B test compares with stable, and spec.prompt is not stable yet: say promote-full to make it so "
                "and begin the test, abort to leave it, or roll it out with a canary first"
            )
        if view.step == 0:
            return self._begin()
        winner = _winner(view.arms)
        return self._won(winner, view) if winner else self._wait(view)

    def _won(self, winner: ArmView, view: View) -> Move:
        won = "shown better than the control, and not worse than any other arm"
        if self.spec.on_winner is OnWinner.PROMOTE:
            return Finish("Won", f"arm {winner.name} has won: {won}", winner.name)
        return Ask(
            f"{_where(view)}: arm {winner.name} has won: {won}. "
            "Say promote to make it stable, or abort to keep the control"
        )

    def _wait(self, view: View) -> Move:
        where, lack = _where(view), _lack(view.arms)
        left = parse_duration(self.spec.horizon) - view.elapsed
        if left > timedelta(0):
            return Stay(f"{where}: {format_duration(left)} left; {lack}", left)
        if view.compares and any(arm.verdict is Verdict.NoData for arm in view.arms):
            return Stay(f"{where}: the horizon is over, but {lack}")
        return Undecided(f"{where}: the horizon is over without a winner: {lack}")

    def forced(self, view: View) -> Forced:
        """The weights; then the arm that leads, if any does."""
        if not view.arms:
            return Finish("Command", "promoted by command")
        if view.step == 0:
            return self._begin()
        leader = _leader(view.arms) or (view.arms[0] if len(view.arms) == 1 else None)
        if leader is None:
            return Refuse(
                "no arm leads: none is shown to be not worse than the control. Wait, abort to keep the control, or "
                "name the arm you want: promote-full/ARM"
            )
        return Finish("Command", f"arm {leader.name} is promoted by command", leader.name)

    def _begin(self) -> Split:
        return Split(1, {arm.name: parse_weight(arm.weight) for arm in self.spec.arms if arm.prompt})


def _where(view: View) -> str:
    return f"A/B test at {format_weight(view.weight)}"


def _winner(arms: tuple[ArmView, ...]) -> ArmView | None:
    """Better than the control, not worse than any other arm; of several such, the one that most speaks for."""
    return max((arm for arm in arms if _has_won(arm, arms)), key=_evidence, default=None)


def _leader(arms: tuple[ArmView, ...]) -> ArmView | None:
    """The winner, or of those that are not worse than the control the one that most speaks for."""
    sound = [arm for arm in arms if arm.verdict is Verdict.NonInferior]
    return _winner(arms) or max(sound, key=_evidence, default=None)


def _has_won(arm: ArmView, arms: tuple[ArmView, ...]) -> bool:
    others = [other.name for other in arms if other.name != arm.name]
    beats_control = arm.verdict is Verdict.NonInferior and arm.better
    return beats_control and all(arm.rivals.get(name) is Verdict.NonInferior for name in others)


def _evidence(arm: ArmView) -> float:
    return arm.evidence


def _lack(arms: tuple[ArmView, ...]) -> str:
    """What the arm that is nearest to winning lacks."""
    blind = [arm for arm in arms if arm.verdict is Verdict.NoData]
    if blind:
        names = ", ".join(arm.name for arm in blind)
        return f"no data of arm {names} yet{f' ({blind[0].outlook})' if blind[0].outlook else ''}"
    best = _leader(arms) or max(arms, key=_evidence)
    if best.verdict is not Verdict.NonInferior:
        return f"{best.name}: {best.outlook or 'not yet shown non-inferior to the control'}"
    if not best.better:
        return f"{best.name} is not worse than the control, but not yet shown better"
    rest = [
        other.name
        for other in arms
        if other.name != best.name and best.rivals.get(other.name) is not Verdict.NonInferior
    ]
    return f"{best.name} is better than the control, but not yet shown not worse than {', '.join(rest)}"
