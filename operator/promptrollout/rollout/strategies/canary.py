"""Step the weight up; each step ends by time, by samples or by evidence, and the last one by evidence only."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from promptrollout.analysis import Verdict
from promptrollout.api.calendar import Calendar
from promptrollout.api.canary import Canary, CanaryStep
from promptrollout.api.gates import StepGate
from promptrollout.api.quantities import WHOLE, format_duration, format_weight, parse_duration, parse_weight
from promptrollout.rollout.strategies.base import Advance, Finish, Move, OneCandidate, Stay, Undecided, View


@dataclass(frozen=True, slots=True)
class CanaryStrategy(OneCandidate):
    """`spec.strategy.canary`; also as a part of another strategy, which has so many steps `before` its own."""

    spec: Canary
    name: str = "canary"
    compares: bool = True
    before: int = 0

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return self.before + len(self.spec.steps)

    def digest(self) -> str:
        """A digest of all that the steps say."""
        text = json.dumps([step.to_wire() for step in self.spec.steps], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def relocate(self, weight: int, step: int) -> int:
        """The same step if it still has today's weight, else the first one that has it.

        A weight between two steps is served out under the rules of the lower one (below the first, of the
        first), so that the edit itself raises nothing.
        """
        weights, own = self._weights(), step - self.before
        if (step, weight) == (0, 0) or (0 < own <= len(weights) and weights[own - 1] == weight):
            return step
        if weight in weights:
            return self.before + weights.index(weight) + 1
        return self.before + sum(1 for each in weights if each < weight)

    @property
    def _calendar(self) -> Calendar | None:
        schedule = self.spec.schedule
        return Calendar.parse(schedule.time_zone, schedule.windows) if schedule else None

    def uncounted(self, since: datetime, until: datetime) -> timedelta:
        """The time when weights may not rise."""
        calendar = self._calendar
        return calendar.shut(since, until) if calendar else timedelta(0)

    def shut(self, now: datetime) -> Stay | None:
        """Outside the windows of the schedule."""
        calendar = self._calendar
        opens = calendar.opens(now) if calendar else None
        if calendar is None or opens is None:
            return None
        message = f"ready to go on; weights rise again when the next window opens, {calendar.say(opens)}"
        return Stay(message, opens - now)

    def gate(self, step: int) -> StepGate | None:
        """The gate that this step is, if it is one."""
        return self.spec.steps[step - self.before - 1].gate if self.before < step <= self.steps else None

    def next(self, view: View) -> Move:
        """Stay until the step's conditions hold; then the next step, or the end."""
        if view.step <= self.before and view.weight == 0:
            return self._to(self.before + 1)
        step = self.spec.steps[max(view.step - self.before, 1) - 1]
        missing, left = _missing(step, view)
        overdue = step.timeout is not None and view.elapsed >= parse_duration(step.timeout)
        if missing and not overdue:
            return Stay(f"{self._where(view)}: {missing}", left)
        if view.compares and view.weight > 0 and view.verdict is Verdict.NoData:
            why = f" ({view.outlook})" if view.outlook else ""
            return Stay(f"{self._where(view)}: no data of the candidate yet{why}, so no step")
        if missing:
            return Undecided(f"{self._where(view)}: {missing}")
        return self._to(view.step + 1) if view.step < self.steps else self._end(view)

    def _end(self, view: View) -> Finish | Undecided:
        """The last step's conditions hold: proven, or not."""
        if view.verdict is Verdict.NonInferior:
            return Finish("NonInferior", "every required metric is shown non-inferior")
        lack = view.outlook or "no metric is compared, so nothing can be shown"
        return Undecided(f"{self._where(view)}: the last step's time is over, but {lack}")

    def forced(self, view: View) -> Advance | Finish:
        """The next step at once; from the last, the end."""
        if view.step < self.steps:
            return self._to(view.step + 1)
        return Finish("Command", "promoted by command from the last step")

    def _to(self, step: int) -> Advance:
        return Advance(step, self._weights()[step - self.before - 1])

    def _weights(self) -> list[int]:
        """Each step's weight; a gate keeps that of the step before it."""
        weights: list[int] = []
        for step in self.spec.steps:
            before = weights[-1] if weights else 0
            weights.append(before if step.weight is None else parse_weight(step.weight))
        return weights

    def _where(self, view: View) -> str:
        alone = ", where nothing is left to compare it with" if view.compares and view.weight == WHOLE else ""
        return f"step {view.step}/{self.steps} at {format_weight(view.weight)}{alone}"


def _missing(step: CanaryStep, view: View) -> tuple[str, timedelta | None]:
    """What the step still lacks, as a phrase (empty: nothing), and when to look again at the latest."""
    timeout = parse_duration(step.timeout) - view.elapsed if step.timeout else None
    if step.duration and (left := parse_duration(step.duration) - view.elapsed) > timedelta(0):
        said = f", {view.outlook}" if view.outlook else ""
        return f"{format_duration(left)} left{said}", left
    if step.min_samples and view.samples < step.min_samples:
        return f"{view.samples} of {step.min_samples} candidate answers{_bound(timeout)}", timeout
    if step.until == "Evidence" and view.verdict is not Verdict.NonInferior:
        return f"{view.outlook or 'no evidence yet'}{_bound(timeout)}", timeout
    return "", None


def _bound(left: timedelta | None) -> str:
    return f" (at most {format_duration(left)} more)" if left and left > timedelta(0) else ""
