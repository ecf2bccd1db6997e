"""What is compared: the metrics of `spec.analysis`."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from promptrollout.api.base import ApiModel, Decimal, DnsLabel
from promptrollout.api.cel import Admitted, Rule, between, rules

Ratio = Annotated[Decimal, Admitted(between(1.0, 100.0, "1.2"))]
Selector = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class MetricRole(StrEnum):
    """What a metric may decide."""

    GUARD = "Guard"
    REQUIRED = "Required"
    OBSERVE = "Observe"


_NAMES_REVISION = "must contain {{revision}}, or both revisions would be counted together"


class EventCounters(ApiModel):
    """Two counters of one's own; their names and labels are free."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule("self.bad.contains('{{revision}}')", f"bad {_NAMES_REVISION}", ".bad"),
            Rule("self.total.contains('{{revision}}')", f"total {_NAMES_REVISION}", ".total"),
        )
    )

    bad: Selector = Field(
        description='A vector selector for the bad events, with {{revision}}: app_refusals_total{rev="{{revision}}"}.'
    )
    total: Selector = Field(description="A vector selector for all events, with {{revision}} too.")


SCORE_PRESET = "sdk/score"
SCORE_PRESETS = (SCORE_PRESET, "sdk/score-coverage", "sdk/shadow-score")
EVENT_PRESET = "sdk/event"
_IS_SCORE = f"(has(self.preset) && self.preset == '{SCORE_PRESET}')"
_HAS_SCORE = f"(has(self.preset) && self.preset in {list(SCORE_PRESETS)})"
_HAS_EVENT = f"(has(self.preset) && self.preset == '{EVENT_PRESET}')"


ONE_MEASURE = "a metric has either a preset or events, one of them"


class Metric(ApiModel):
    """One thing to compare."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            # That it has one of them at all is the spec's rule: a policy may have said so already.
            Rule("!(has(self.preset) && has(self.events))", ONE_MEASURE),
            Rule(
                f"!{_HAS_SCORE} || has(self.score)",
                "this preset needs score, the name under which the application reports it",
                ".score",
            ),
            Rule(
                f"!has(self.score) || {_HAS_SCORE}",
                f"score goes with the presets {', '.join(SCORE_PRESETS)} only",
                ".score",
            ),
            Rule(
                f"!{_HAS_EVENT} || has(self.event)",
                "preset sdk/event needs event, the name under which the application reports it",
                ".event",
            ),
            Rule(f"!has(self.event) || {_HAS_EVENT}", "event goes with preset sdk/event only", ".event"),
            Rule(
                f"!{_IS_SCORE} || !(has(self.ratio) || has(self.promoteRatio))",
                "scores have no ratio; use margin and promoteMargin",
                ".ratio",
            ),
        )
    )

    name: DnsLabel = Field(description="The metric's name, in status and reports.")
    preset: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$", max_length=63)] | None = (
        Field(
            default=None,
            description=(
                "A known metric: sdk/errors, sdk/event, sdk/score, sdk/score-coverage, sdk/shadow-score, sdk/latency, "
                "sdk/ttft, sdk/tokens, sdk/cost; of others otel/…, litellm/…, vllm/… (docs/metrics.md)."
            ),
        )
    )
    score: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, description="With a preset of scores: the score's name as the application reports it."
    )
    event: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, description="With sdk/event: the event's name as the application reports it."
    )
    events: EventCounters | None = Field(
        default=None, description="Counters of one's own, instead of a preset."
    )
    role: MetricRole = Field(
        default=MetricRole.REQUIRED,
        description=(
            "Guard: harm rolls back. Required: harm rolls back, and promotion needs non-inferiority. "
            "Observe: shown, decides nothing."
        ),
    )
    margin: Decimal | None = Field(
        default=None,
        description=(
            "How much worse is still harmless. Scores: how far the mean may fall (default 0.02). Events: how far the "
            "rate may rise above ratio times stable's (default 0.001). Histograms: how far the chance to be worse "
            "may exceed one half (default 0.02)."
        ),
    )
    ratio: Ratio | None = Field(
        default=None,
        description=(
            "Which multiple of stable's is still harmless. Events: of the rate (default 1.2). Histograms: of the "
            "share beyond stable's 95th percentile (default 1.25). Sums: of the mean (default 1.1)."
        ),
    )
    promote_margin: Decimal | None = Field(
        default=None,
        description="Like margin, for promotion: what must be shown. Default: as margin; for events 0.002.",
    )
    promote_ratio: Ratio | None = Field(
        default=None,
        description="Like ratio, for promotion: what must be shown. Default: as ratio; for events 1.4.",
    )
