"""`spec` of a PromptRollout."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from promptrollout.api.abtest import AbTest
from promptrollout.api.base import ApiModel, Decimal, DnsLabel, DnsName, Duration, Share, Span
from promptrollout.api.canary import Canary
from promptrollout.api.cel import Admitted, Rule, between, exactly_one, filled, present, rules
from promptrollout.api.gates import Gates
from promptrollout.api.metrics import ONE_MEASURE, Metric
from promptrollout.api.notify import Notifies
from promptrollout.api.prompt import Prompt
from promptrollout.api.schema import DEFAULTS_BY_OPERATOR
from promptrollout.api.shadow import Shadow

LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
LABEL_KEY = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_IS_KEY = "is not the key of a label; write one like app or example.com/app"
_IS_VALUE = "is not the value of a label; use letters, digits, '-', '_' and '.', 63 at most"
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]


class SelectorOperator(StrEnum):
    """How a requirement compares a label with its values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorRequirement(ApiModel):
    """One requirement on a label, as in any Kubernetes label selector."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                f"(self.operator in ['In', 'NotIn']) == {filled('values')}",
                "In and NotIn need values; Exists and DoesNotExist take none",
                ".values",
            ),
            Rule(f"self.key.matches('{LABEL_KEY}')", f"this {_IS_KEY}", ".key"),
            Rule(
                f"!has(self.values) || self.values.all(value, value.matches('{LABEL_VALUE}'))",
                f"one of them {_IS_VALUE}",
                ".values",
            ),
        )
    )

    key: LabelKey = Field(description="The label's key.")
    operator: SelectorOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: list[LabelValue] = Field(
        default_factory=list, max_length=64, description="The values for In and NotIn."
    )


class PodSelector(ApiModel):
    """Which pods serve the prompt."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-map-type": "atomic",
            **rules(
                Rule(
                    f"{filled('matchLabels')} || {filled('matchExpressions')}",
                    "an empty podSelector would wait for every pod of the namespace; "
                    "name a label, or leave podSelector out",
                ),
                Rule(
                    f"!has(self.matchLabels) || self.matchLabels.all(key, key.matches('{LABEL_KEY}'))",
                    f"one of them {_IS_KEY}",
                    ".matchLabels",
                ),
                Rule(
                    "!has(self.matchLabels) || "
                    f"self.matchLabels.all(key, self.matchLabels[key].matches('{LABEL_VALUE}'))",
                    f"one of them {_IS_VALUE}",
                    ".matchLabels",
                ),
            ),
        }
    )

    match_labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that a pod must have."
    )
    match_expressions: list[SelectorRequirement] = Field(
        default_factory=list, max_length=16, description="Further requirements, all of which must hold."
    )


class AcknowledgeMode(StrEnum):
    """How the operator knows that pods have loaded what it decided."""

    METRICS = "Metrics"
    NONE = "None"


class Acknowledge(ApiModel):
    """When a payload counts as loaded."""

    mode: AcknowledgeMode = Field(
        default=AcknowledgeMode.METRICS,
        description=(
            "Metrics: pods say through promptrollout_loaded which payload they serve. "
            "None: pods without the SDK; a payload counts as loaded assumeLoadedAfter its write."
        ),
    )
    quorum: Share = Field(
        default="100%",
        description="The share of ready pods that must have loaded a payload before weights move, such as 90%.",
    )
    timeout: Span = Field(
        default="5m",
        description="How long pods may take before Delivered turns False with the missing pods' names.",
    )
    assume_loaded_after: Duration = Field(
        default="90s", description="With mode None: how long after its write a payload counts as loaded."
    )


class DeliveryMode(StrEnum):
    """How a change reaches the pods."""

    NUDGE = "Nudge"
    MOUNT = "Mount"
    WATCH = "Watch"


class Delivery(ApiModel):
    """How the prompt reaches the pods that serve it."""

    config_map_name: DnsName | None = Field(
        default=None, description="The ConfigMap that pods mount (never by subPath). Default: <name>-prompt."
    )
    pod_selector: PodSelector | None = Field(
        default=None,
        description="The pods that serve this prompt. Default: all pods that mount the ConfigMap.",
    )
    mode: DeliveryMode | None = Field(
        default=None,
        description=(
            "Nudge: an annotation of each pod is touched after a change, so that kubelet copies it at once. "
            "Mount: kubelet's own pace, up to 90 s. Watch: the SDK watches the ConfigMap. Default: the operator's."
        ),
    )
    acknowledge: Acknowledge = Field(
        default_factory=Acknowledge, description="When a payload counts as loaded."
    )
    flagd: bool = Field(
        default=False, description="Also deliver flagd.json: the same decision for any OpenFeature client."
    )


class OnRollback(StrEnum):
    """What becomes of conversations that began with a prompt which is served no longer: rolled back, or replaced."""

    MIGRATE = "Migrate"
    DRAIN = "Drain"


class Assignment(ApiModel):
    """Who gets which prompt."""

    unit: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(
        default="conversation",
        description="What keeps its prompt: conversation, user, tenant or item. Informs the pods and the analysis.",
    )
    on_rollback: OnRollback = Field(
        default=OnRollback.MIGRATE,
        description="Migrate: conversations under way at a rollback or a promotion move to stable at once. "
        "Drain: they may end with the prompt they began with.",
    )
    drain_timeout: Span = Field(
        default="30m", description="With Drain: how long such conversations may go on."
    )


class Immediate(ApiModel):
    """Replace the prompt at once, without a comparison."""


class Strategy(ApiModel):
    """How the new prompt takes over. Exactly one."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                present("canary"),
                present("abTest"),
                present("shadow"),
                present("immediate"),
                message="name exactly one strategy: canary, abTest, shadow or immediate",
            )
        )
    )

    canary: Canary | None = Field(default=None, description="Step the weight up and compare on the way.")
    ab_test: AbTest | None = Field(
        default=None, description="Compare several prompts at fixed weights and find the best."
    )
    shadow: Shadow | None = Field(
        default=None, description="Let the candidate answer beside stable, unseen, and compare in pairs."
    )
    immediate: Immediate | None = Field(default=None, description="Replace at once, without a comparison.")

    @property
    def stepped(self) -> tuple[Canary, str] | None:
        """The canary, also one that follows a shadow, and its field's path; None where no weight is stepped up."""
        if self.canary is not None:
            return self.canary, "spec.strategy.canary"
        if self.shadow is not None and self.shadow.then is not None:
            return self.shadow.then.canary, "spec.strategy.shadow.then.canary"
        return None


class OnInconclusive(StrEnum):
    """What to do when a step's time is over and the evidence is not enough."""

    HOLD = "Hold"
    PROMOTE = "Promote"
    ROLLBACK = "Rollback"


def _default_metrics() -> list[Metric]:
    return [Metric(name="errors", preset="sdk/errors")]


class Correlation(ApiModel):
    """How much the requests of one unit resemble each other, where that is known better than it can be measured."""

    mean_requests_per_unit: Annotated[Decimal, Admitted(between(1.0, 1e6, "8"))] = Field(
        description="Requests of one unit (a conversation, say), on average; 1 means that requests are independent."
    )
    icc: Annotated[Decimal, Admitted(between(0.0, 1.0, "0.2"))] = Field(
        default="0.2", description="The intra-class correlation of one unit's requests, from 0 to 1."
    )


class Analysis(ApiModel):
    """How old and new are compared."""

    # A policy may fill what the rollout leaves out, so the API server must not fill it before.
    model_config = ConfigDict(json_schema_extra=DEFAULTS_BY_OPERATOR)

    source: DnsLabel = Field(
        default="default",
        description="The metric source, by its name in the operator's configuration; never a URL.",
    )
    interval: Span = Field(default="30s", description="The length of one window; one look at the data each.")
    warm_up: Duration = Field(
        default="0s",
        description="Windows that begin sooner than this after a weight was loaded do not count.",
    )
    metrics: list[Metric] = Field(
        default_factory=_default_metrics,
        max_length=16,
        description="What is compared. Default: sdk/errors.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    on_inconclusive: OnInconclusive = Field(
        default=OnInconclusive.HOLD,
        description="When a timeout or the last step is over without proof: Hold, Promote or Rollback.",
    )
    metrics_timeout: Span = Field(
        default="15m",
        description="How long metrics may be unreadable before the rollout is Paused and says so.",
    )
    correlation: Correlation | None = Field(
        default=None,
        description=(
            "Declares how much requests of one unit resemble each other. Default: measured from the SDK's cluster "
            "counters, or a design effect of 4 where there are none."
        ),
    )
    confidence: Annotated[Decimal, Admitted(between(0.5, 0.9999, "0.95"))] = Field(
        default="0.95",
        description="1 - alpha: alpha bounds the chance that a harmless candidate is ever rolled back on evidence.",
    )


class PolicyKind(StrEnum):
    """Where a policy lives."""

    NAMESPACED = "PromptRolloutPolicy"
    CLUSTER = "ClusterPromptRolloutPolicy"


class PolicyRef(ApiModel):
    """The policy that fills what the rollout leaves open."""

    kind: PolicyKind = Field(
        default=PolicyKind.NAMESPACED,
        description="PromptRolloutPolicy: one of the rollout's own namespace. ClusterPromptRolloutPolicy: one of all.",
    )
    name: DnsName = Field(description="The policy's name.")


class RolloutSpec(ApiModel):
    """The wanted prompt, and how it takes over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.strategy) || has(self.policyRef)",
                "say how the prompt takes over: name a strategy, or in policyRef a policy that has one",
                ".strategy",
            ),
            Rule(
                "has(self.policyRef) || !has(self.analysis) || !has(self.analysis.metrics) || "
                "self.analysis.metrics.all(m, has(m.preset) || has(m.events))",
                ONE_MEASURE,
                ".analysis.metrics",
            ),
        )
    )

    prompt: Prompt = Field(
        description=(
            "The wanted prompt: messages, text or several parts, with the model it is for. "
            "A change of it starts a rollout."
        )
    )
    delivery: Delivery = Field(
        default_factory=Delivery,
        description="How the prompt reaches the pods that serve it, and when it counts as loaded.",
    )
    policy_ref: PolicyRef | None = Field(
        default=None,
        description=(
            "A policy: strategy, analysis and gates that many rollouts share. Fields written here win over the "
            "policy's, unless it locks them. An edit of the policy counts from the next new prompt on."
        ),
    )
    assignment: Assignment = Field(
        default_factory=Assignment,
        json_schema_extra=DEFAULTS_BY_OPERATOR,
        description="Who gets which prompt, and what a rollback means for conversations in progress.",
    )
    # Required, of the rollout or of its policy: an empty one is refused after both have been merged.
    strategy: Strategy = Field(
        default_factory=Strategy,
        json_schema_extra=DEFAULTS_BY_OPERATOR,
        description=(
            "How a new prompt takes over: exactly one of canary (step by step, compared), abTest, shadow and "
            "immediate. Needed, unless the policy has it."
        ),
    )
    analysis: Analysis = Field(
        default_factory=Analysis,
        description="How old and new are compared: on which metrics, in which windows, and with what certainty.",
    )
    gates: Gates = Field(
        default_factory=list,
        description="What else must agree, in this order: before the first delivery, or before promotion.",
    )
    progress_deadline: Span = Field(
        default="72h",
        json_schema_extra=DEFAULTS_BY_OPERATOR,
        description=(
            "The longest a rollout may take; then it is rolled back. Pauses, time outside the windows of a schedule, "
            "and the horizon of a test do not count."
        ),
    )
    revision_history_limit: int = Field(
        default=10,
        ge=1,
        le=100,
        description=(
            "How many entries status.history keeps, with their texts, so that one can go back to them; beyond them the "
            "last one that was stable before stable, and what rollbackWindow needs."
        ),
    )
    rollback_window: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description=(
            "When the prompt is changed back to one of so many revisions that were stable before, it serves all at "
            "once, without a trial and without gates. Default: such a prompt is tried like any other."
        ),
    )
    notify: Notifies | None = Field(
        default=None,
        description=(
            "Which channels are told what happens here, and of what. Default: the operator's; an empty list: none. "
            "A channel that fails holds nothing up."
        ),
    )
