"""`spec.strategy.canary`: the weight is stepped up, and each step ends by time, samples, evidence or a gate."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from promptrollout.api.base import ApiModel, Span, Weight
from promptrollout.api.calendar import WINDOW_PATTERN, ZONE_PATTERN
from promptrollout.api.cel import Admitted, Rule, positive, rules
from promptrollout.api.gates import StepGate


class Until(StrEnum):
    """What a step waits for."""

    EVIDENCE = "Evidence"


class CanaryStep(ApiModel):
    """One step of a canary: a weight, and what must be so before the next; or a gate."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.gate) != has(self.weight)",
                "a step has either a weight or a gate, one of them",
                ".weight",
            ),
            Rule(
                "!has(self.gate) || !(has(self.duration) || has(self.minSamples) || has(self.until))",
                "a gate keeps the weight of the step before it; put duration, minSamples or until there",
            ),
            Rule(
                "!has(self.weight) || has(self.duration) || has(self.minSamples) || has(self.until)",
                "nothing ends this step; give it a duration, minSamples or until: Evidence",
            ),
            Rule(
                "!has(self.until) || has(self.timeout)",
                "until: Evidence needs a timeout, the longest stay, such as 6h",
                ".timeout",
            ),
            Rule(
                "!has(self.timeout) || has(self.until) || has(self.minSamples)",
                "timeout bounds until or minSamples, and this step has neither; use duration",
                ".timeout",
            ),
            Rule(
                f"!has(self.weight) || !(has(self.until) || has(self.minSamples)) || {positive('self.weight')}",
                "at 0% the candidate gets no requests to wait for; write a weight above 0",
                ".weight",
            ),
            Rule(
                "!has(self.weight) || !has(self.until) || "
                "!(type(self.weight) == int ? self.weight == 100 : self.weight.startsWith('100'))",
                "at 100% nothing is left to compare with; after the last step the candidate gets 100% anyway",
                ".weight",
            ),
        )
    )

    weight: Weight | None = Field(
        default=None, description='The candidate\'s share of units: 5 is 5 %, "0.5%" half a per cent.'
    )
    gate: StepGate | None = Field(
        default=None, description="Instead of a weight: what must pass before the next step."
    )
    duration: Span | None = Field(
        default=None,
        description="How long to stay (30m, 1h30m), from the moment the pods have loaded the weight.",
    )
    min_samples: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Stay until the candidate has answered so many requests in this step.",
    )
    until: Until | None = Field(
        default=None, description="Evidence: stay until the candidate is shown non-inferior, at most timeout."
    )
    timeout: Span | None = Field(
        default=None,
        description="The longest stay with until or minSamples; then analysis.onInconclusive says what happens.",
    )


# A malformed weight counts as 100 here: the pattern has refused it already, with a better message.
_PER_CENT = (
    "type(s.weight) == int ? double(s.weight) : "
    "(s.weight.matches('^[0-9]+([.][0-9]+)?%$') ? double(s.weight.replace('%', '')) : 100.0)"
)
_ASCENDING = f"self.map(s, has(s.weight), {_PER_CENT}).isSorted()"


_NOT_EMPTY = Rule(
    "self.substring(self.size() - 11, self.size() - 6) != self.substring(self.size() - 5)",
    "a window that ends when it begins is empty; write 00:00-24:00 for the whole day",
)


class Schedule(ApiModel):
    """When weights may rise, by the clocks on the wall. Harm rolls back at any time."""

    time_zone: Annotated[str, StringConstraints(pattern=ZONE_PATTERN, max_length=64)] = Field(
        description="A time zone of the IANA database: Europe/Zurich, America/New_York, UTC."
    )
    windows: list[
        Annotated[str, StringConstraints(pattern=WINDOW_PATTERN, max_length=64), Admitted(_NOT_EMPTY)]
    ] = Field(
        min_length=1,
        max_length=16,
        description=(
            'When weights may rise: "Mon-Fri 09:00-17:00", "Sat,Sun 10:00-14:00", or over midnight '
            '"Mon-Thu 22:00-06:00" (the days are those it begins on).'
        ),
    )


class Canary(ApiModel):
    """Step the candidate's weight up; go on, hold or roll back on the evidence."""

    steps: list[CanaryStep] = Field(
        min_length=1,
        max_length=64,
        description="The steps, in order. Weights may stay equal from step to step, but not fall.",
        json_schema_extra=rules(
            Rule(_ASCENDING, "weights must not fall from one step to the next"),
            Rule(
                "self.exists(s, has(s.weight))",
                "steps that are all gates give the candidate no requests; add a step with a weight",
            ),
        ),
    )
    schedule: Schedule | None = Field(
        default=None,
        description="Weights rise only in these windows, promotion included; rolled back is at any time.",
    )
