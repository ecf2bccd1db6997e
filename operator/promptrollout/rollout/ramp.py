"""The steps of a canary or a shadow as the planner sees them: weights and how long they last at a given traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptrollout.analysis import Crossing, RampStep
from promptrollout.api.canary import Canary, CanaryStep
from promptrollout.api.quantities import WHOLE, parse_duration, parse_weight
from promptrollout.api.spec import OnInconclusive, RolloutSpec


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: its weight (1/10,000), the seconds it lasts in any case, and how long it may wait for evidence.

    `number` is the step's in the spec, from 1 (gates have numbers, but are no stages). `mirrored`: it is a shadow; its
    weight is the share of requests that the candidate answers beside stable.
    """

    number: int
    weight: int
    seconds: float
    evidence: bool = False
    longest: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Ramp:
    """All stages; `holds`: what cannot be shown waits at its weight, at most until `deadline` seconds."""

    stages: tuple[Stage, ...]
    deadline: float
    holds: bool

    @classmethod
    def of(cls, spec: RolloutSpec, traffic: float) -> Ramp | None:
        """What is compared first: a canary, or a shadow; None if the strategy is neither, or has only gates."""
        shadow = spec.strategy.shadow
        if shadow is not None:
            lasts = parse_duration(shadow.duration).total_seconds()
            stage = Stage(1, parse_weight(shadow.sample), lasts, evidence=True, mirrored=True)
            return cls._made(spec, (stage,))
        return cls._canary(spec, spec.strategy.canary, traffic, 1)

    @classmethod
    def after_shadow(cls, spec: RolloutSpec, traffic: float) -> Ramp | None:
        """The canary that follows a shadow, with evidence of its own; None if there is none."""
        shadow = spec.strategy.shadow
        return cls._canary(spec, shadow.then.canary, traffic, 2) if shadow and shadow.then else None

    @classmethod
    def _canary(cls, spec: RolloutSpec, canary: Canary | None, traffic: float, first: int) -> Ramp | None:
        steps = enumerate(canary.steps if canary else (), first)
        stages = tuple(_stage(number, step, traffic) for number, step in steps if step.weight is not None)
        return cls._made(spec, stages) if stages else None

    @classmethod
    def _made(cls, spec: RolloutSpec, stages: tuple[Stage, ...]) -> Ramp:
        deadline = parse_duration(spec.progress_deadline).total_seconds()
        return cls(stages, deadline, spec.analysis.on_inconclusive is OnInconclusive.HOLD)

    @property
    def in_shadow(self) -> bool:
        """Whether no user meets the candidate."""
        return any(stage.mirrored for stage in self.stages)

    def undecided(self) -> list[RampStep]:
        """What a candidate goes through that is never shown non-inferior: it waits where evidence is wanted."""
        steps: list[RampStep] = []
        clock = 0.0
        for stage in self.stages:
            last = stage is self.stages[-1]
            waits = self.holds and (stage.evidence or last)
            lasts = self.deadline - clock if waits else max(stage.seconds, stage.longest)
            lasts = max(min(lasts, self.deadline - clock), 0.0)
            steps.append(RampStep(stage.weight, lasts, stage.mirrored))
            clock += lasts
            if stage.evidence and self.holds:
                break
        return [step for step in steps if step.seconds > 0.0]

    def promoted(self, shown: float | None) -> float | None:
        """Seconds until promotion when non-inferiority is shown after `shown` seconds; None if that is too late."""
        if shown is None:
            return None
        clock = 0.0
        for stage in self.stages:
            last = stage is self.stages[-1]
            waits = stage.evidence or (last and self.holds)
            if waits and not self.holds and shown > clock + max(stage.seconds, stage.longest):
                return None
            clock = max(clock + stage.seconds, shown) if waits else clock + stage.seconds
        return clock if shown <= clock <= self.deadline else None

    def number(self, crossing: Crossing) -> int:
        """The step in the spec in which something happens on the undecided ramp."""
        return self.stages[min(crossing.step, len(self.stages) - 1)].number


def _stage(number: int, step: CanaryStep, traffic: float) -> Stage:
    weight = parse_weight(step.weight) if step.weight is not None else 0
    seconds = parse_duration(step.duration).total_seconds() if step.duration else 0.0
    longest = parse_duration(step.timeout).total_seconds() if step.timeout else 0.0
    if step.min_samples:
        pace = traffic * weight / WHOLE
        wanted = step.min_samples / pace if pace > 0.0 else float("inf")
        seconds = max(seconds, min(wanted, longest) if step.timeout else wanted)
    return Stage(number, weight, seconds, step.until is not None, longest)


def as_yaml_steps(stages: Sequence[Stage]) -> list[dict[str, object]]:
    """Stages as `spec.strategy.canary.steps`."""
    found: list[dict[str, object]] = []
    for stage in stages:
        weight: object = stage.weight // 100 if stage.weight % 100 == 0 else f"{stage.weight / 100:g}%"
        step: dict[str, object] = {"weight": weight}
        if stage.seconds > 0.0:
            step["duration"] = round_duration(stage.seconds)
        if stage.evidence:
            step |= {"until": "Evidence", "timeout": round_duration(stage.longest)}
        found.append(step)
    return found


def round_duration(seconds: float) -> str:
    """A duration as people write it, rounded up: minutes up to two hours, hours up to two days, then days."""
    for unit, size, most in (("m", 60.0, 120), ("h", 3600.0, 48), ("d", 86_400.0, 10**6)):
        count = max(1, -int(-seconds // size))
        if count <= most:
            return f"{count}{unit}"
    return f"{int(seconds)}s"
