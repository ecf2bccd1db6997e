"""The candidate answers beside stable and nobody sees it; then it is promoted, or goes on into a canary."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from promptrollout.analysis import Verdict
from promptrollout.api.gates import StepGate
from promptrollout.api.quantities import format_duration, format_weight, parse_duration, parse_weight
from promptrollout.api.shadow import Shadow
from promptrollout.rollout.strategies.base import (
    Advance,
    Finish,
    Mirror,
    Move,
    OneCandidate,
    Stay,
    Undecided,
    View,
)
from promptrollout.rollout.strategies.canary import CanaryStrategy


@dataclass(frozen=True, slots=True)
class ShadowStrategy(OneCandidate):
    """`spec.strategy.shadow`: step 1 is the shadow, the others are those of the canary that follows."""

    spec: Shadow
    name: str = "shadow"
    compares: bool = True

    @property
    def _canary(self) -> CanaryStrategy | None:
        return CanaryStrategy(self.spec.then.canary, before=1) if self.spec.then else None

    @property
    def steps(self) -> int:
        """The shadow, and those of the canary."""
        return self._canary.steps if self._canary else 1

    def digest(self) -> str:
        """A digest of all that it says."""
        text = json.dumps(self.spec.to_wire(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def relocate(self, weight: int, step: int) -> int:
        """Among the canary's steps if it has weight; otherwise the shadow begins anew, as it was edited."""
        if self._canary is None or weight == 0:
            return 0
        found = self._canary.relocate(weight, step)
        return found if found > 1 else 0

    def uncounted(self, since: datetime, until: datetime) -> timedelta:
        """The time when the canary's weights may not rise."""
        return self._canary.uncounted(since, until) if self._canary else timedelta(0)

    def shut(self, now: datetime) -> Stay | None:
        """Outside the windows of the canary's schedule; a shadow with no canary has none."""
        return self._canary.shut(now) if self._canary else None

    def gate(self, step: int) -> StepGate | None:
        """The gate that this step of the canary is, if it is one."""
        return self._canary.gate(step) if self._canary else None

    def next(self, view: View) -> Move:
        """Run in the shadow for its duration; then as the evidence says."""
        if view.step == 0:
            return self._begin()
        if view.step > 1 and self._canary:
            return self._canary.next(view)
        where = f"step 1/{self.steps} in the shadow of {format_weight(parse_weight(self.spec.sample))}"
        left = parse_duration(self.spec.duration) - view.elapsed
        if left > timedelta(0):
            said = f", {view.outlook}" if view.outlook else ""
            return Stay(f"{where}: {format_duration(left)} left{said}", left)
        if view.verdict is Verdict.NonInferior:
            return self.forced(view)
        if view.compares and view.verdict is Verdict.NoData:
            why = f" ({view.outlook})" if view.outlook else ""
            return Stay(f"{where}: no data of the candidate yet{why}, so no step")
        lack = view.outlook or "no metric is compared, so nothing can be shown"
        return Undecided(f"{where}: its time is over, but {lack}")

    def forced(self, view: View) -> Advance | Finish:
        """The next step at once; from the last, the end."""
        if view.step == 0:
            return self._begin()
        if self._canary:
            return self._canary.forced(view)
        return Finish("NonInferior", "shown non-inferior in the shadow")

    def _begin(self) -> Advance:
        budget = self.spec.budget
        mirror = Mirror(parse_weight(self.spec.sample), budget.max_concurrent, budget.usd_per_hour)
        return Advance(1, 0, mirror)
