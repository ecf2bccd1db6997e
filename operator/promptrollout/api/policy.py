"""PromptRolloutPolicy and ClusterPromptRolloutPolicy: what many rollouts share, and may not set differently."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from promptrollout.api.base import GROUP, VERSION, ApiModel, Span
from promptrollout.api.canary import Canary
from promptrollout.api.cel import Rule, exactly_one, present, rules
from promptrollout.api.gates import Gates
from promptrollout.api.metrics import ONE_MEASURE
from promptrollout.api.notify import Notifies
from promptrollout.api.schema import DEFAULTS_BY_OPERATOR
from promptrollout.api.shadow import Shadow
from promptrollout.api.spec import Analysis, Immediate, OnRollback, PolicyKind

#: The resources' names in the API's paths.
POLICY_PLURALS = {
    PolicyKind.NAMESPACED: "promptrolloutpolicies",
    PolicyKind.CLUSTER: "clusterpromptrolloutpolicies",
}
#: Bytes of a policy's spec as JSON. Each rollout that uses it keeps a copy in its status.
MOST_BYTES = 65_536


class PolicyStrategy(ApiModel):
    """How a new prompt takes over. Exactly one; an A/B test names prompts, so it stands in the rollout."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                present("canary"),
                present("shadow"),
                present("immediate"),
                message="name exactly one strategy: canary, shadow or immediate (an A/B test belongs to its rollout)",
            )
        )
    )

    canary: Canary | None = Field(default=None, description="Step the weight up and compare on the way.")
    shadow: Shadow | None = Field(
        default=None, description="Let the candidate answer beside stable, unseen, and compare in pairs."
    )
    immediate: Immediate | None = Field(default=None, description="Replace at once, without a comparison.")


class PolicyAssignment(ApiModel):
    """What a rollback means for conversations in progress."""

    on_rollback: OnRollback | None = Field(
        default=None,
        description="Migrate: conversations under way at a rollback or a promotion move to stable at once. "
        "Drain: they may end with the prompt they began with.",
    )
    drain_timeout: Span | None = Field(
        default=None, description="With Drain: how long such conversations may go on."
    )


class _Shared(ApiModel):
    """The fields that a policy may give to rollouts; each stands at the same place in a rollout's spec."""

    strategy: PolicyStrategy | None = Field(
        default=None,
        description=(
            "How a new prompt takes over. A rollout that names another strategy replaces it; one that names the same "
            "replaces the fields that it writes."
        ),
    )
    analysis: Analysis | None = Field(
        default=None,
        description=(
            "How old and new are compared. A rollout's metrics are added to these by name; one of the same name may "
            "change single fields, and with a preset or events of its own takes its place."
        ),
    )
    gates: Gates | None = Field(
        default=None,
        description=(
            "What else must agree. A rollout's gates come after these; one of the same name takes its place."
        ),
    )
    assignment: PolicyAssignment | None = Field(
        default=None, description="What a rollback means for conversations in progress."
    )
    progress_deadline: Span | None = Field(
        default=None, description="The longest a rollout may take; then it is rolled back."
    )
    rollback_window: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Back to one of so many revisions that were stable before, it goes at once and without a trial.",
    )
    notify: Notifies | None = Field(
        default=None,
        description="Which channels are told what happens to a rollout. A rollout's own list takes the place of this.",
    )


def _below(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """The paths of all fields that are reached through maps alone."""
    for field in model.model_fields.values():
        here = f"{path}{field.alias}"
        yield here
        optional = field.annotation if isinstance(field.annotation, UnionType) else None
        for inner in get_args(optional) or (field.annotation,):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _below(inner, f"{here}.")


#: What a policy may say.
FIELDS = tuple(str(field.alias) for field in _Shared.model_fields.values())
#: What `locked` may name.
LOCKABLE = tuple(_below(_Shared))


def _lockable(path: str) -> str:
    if path not in LOCKABLE:
        raise ValueError(
            f"{path[:80]!r} is no field that can be locked; write one such as strategy, analysis.metrics or gates"
        )
    return path


LockedPath = Annotated[
    str, AfterValidator(_lockable), WithJsonSchema({"type": "string", "enum": list(LOCKABLE)})
]


class PolicySpec(_Shared):
    """Rules that many rollouts share. All of it is optional: what is left out, each rollout says itself."""

    model_config = ConfigDict(
        json_schema_extra={
            **DEFAULTS_BY_OPERATOR,
            **rules(
                Rule(
                    "!has(self.analysis) || !has(self.analysis.metrics) || "
                    "self.analysis.metrics.all(m, has(m.preset) || has(m.events))",
                    ONE_MEASURE,
                    ".analysis.metrics",
                ),
            ),
        }
    )

    locked: list[LockedPath] = Field(
        default_factory=list,
        max_length=32,
        description=(
            "Fields that rollouts may not set differently, with all below them: strategy, analysis.metrics, gates. "
            "A field that is locked and not set here has its default. A rollout that differs is Invalid, says so, and "
            "what it serves stays."
        ),
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class PolicyMeta(ApiModel):
    """What is used of a policy's metadata."""

    name: str = Field(description="The policy's name.")


class PromptRolloutPolicy(ApiModel):
    """Strategy, analysis and gates that rollouts of this namespace share: they name it in spec.policyRef."""

    api_version: str = Field(default=f"{GROUP}/{VERSION}", description="The API's group and version.")
    kind: str = Field(default=PolicyKind.NAMESPACED.value, description="PromptRolloutPolicy.")
    metadata: PolicyMeta = Field(description="Name, namespace, labels and so on.")
    spec: PolicySpec = Field(
        description="The shared rules. An edit counts for each rollout from its next new prompt on."
    )


class ClusterPromptRolloutPolicy(ApiModel):
    """Strategy, analysis and gates that rollouts of all namespaces share: they name it in spec.policyRef."""

    api_version: str = Field(default=f"{GROUP}/{VERSION}", description="The API's group and version.")
    kind: str = Field(default=PolicyKind.CLUSTER.value, description="ClusterPromptRolloutPolicy.")
    metadata: PolicyMeta = Field(description="Name, labels and so on.")
    spec: PolicySpec = Field(
        description="The shared rules. An edit counts for each rollout from its next new prompt on."
    )
