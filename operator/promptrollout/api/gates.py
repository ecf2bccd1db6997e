"""`spec.gates`, and the gate of a canary's step: what else must agree before a prompt goes further."""

import hashlib
import json
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from promptrollout.api.base import ApiModel, Decimal, DnsLabel, DnsName, Span
from promptrollout.api.cel import Rule, exactly_one, present, rules
from promptrollout.api.prompt import FreeObject

#: At most so many gates beside those of steps.
MOST_GATES = 16


class GatePlace(StrEnum):
    """Where a gate of `spec.gates` stands."""

    BEFORE_DELIVERY = "BeforeDelivery"
    BEFORE_PROMOTION = "BeforePromotion"


class OnTimeout(StrEnum):
    """What becomes of a rollout whose gate has not answered in time."""

    FAIL = "Fail"
    HOLD = "Hold"


class TemplateRef(ApiModel):
    """A template in the rollout's own namespace."""

    name: DnsName = Field(description="The name of a CronJob, as a rule a suspended one.")


class JobGate(ApiModel):
    """Run a Job: it passes by its exit code, and by its score where a threshold is given."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                present("templateRef"),
                present("template"),
                message="a job gate has either templateRef or template, one of them",
            )
        )
    )

    template_ref: TemplateRef | None = Field(
        default=None,
        description=(
            "The CronJob of this namespace whose jobTemplate is run. Suspended, it is never run by the clock; "
            "try it with kubectl create job --from=cronjob/<name>."
        ),
    )
    template: FreeObject | None = Field(
        default=None,
        description=(
            "A Job's template (metadata, spec), written here. Refused unless the operator allows it: whoever may "
            "write a rollout could then run any pod of the namespace's accounts."
        ),
    )
    threshold: Decimal | None = Field(
        default=None, description="The least score that passes. Default: the exit code alone decides."
    )
    container: DnsLabel | None = Field(
        default=None,
        description="The container whose termination message is read. Default: the first that has one.",
    )


class WebhookGate(ApiModel):
    """Ask a service that the operator's configuration names."""

    name: DnsLabel = Field(
        description="The webhook, by its name in the operator's configuration; never a URL."
    )
    threshold: Decimal | None = Field(
        default=None, description="The least score that passes. Default: what the answer says of passed."
    )


class ApprovalGate(ApiModel):
    """Wait for a person to say approve."""

    message: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="What the approver should know or look at."
    )


GATE_KINDS = ("job", "webhook", "approval")


class Gate(ApiModel):
    """What is asked, how long for, and what then. Exactly one of job, webhook and approval."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                *(present(kind) for kind in GATE_KINDS),
                message="a gate is exactly one of job, webhook and approval",
            )
        )
    )

    job: JobGate | None = Field(
        default=None, description="Run a Job: an eval harness, a regression test, a snapshot test."
    )
    webhook: WebhookGate | None = Field(default=None, description="Ask a service of one's own.")
    approval: ApprovalGate | None = Field(
        default=None, description="Wait for the command approve. It does not count into progressDeadline."
    )
    timeout: Span | None = Field(
        default=None, description="How long it may take to pass. Default: 1h; an approval 72h."
    )
    on_timeout: OnTimeout = Field(
        default=OnTimeout.FAIL,
        description="Then. Fail: as if it had said no. Hold: stand still, say so, and go on waiting.",
    )

    @property
    def own_name(self) -> str:
        """Its name, if it has one."""
        return ""

    @property
    def kind(self) -> str:
        """job, webhook or approval; empty if none is given (parse_spec refuses that)."""
        return next((kind for kind in GATE_KINDS if getattr(self, kind) is not None), "")

    def digest(self) -> str:
        """Changes with what is asked; not with how long it may take."""
        asked = {kind: value for kind, value in self.to_wire().items() if kind in GATE_KINDS}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:10]


class StepGate(Gate):
    """A gate as a step of a canary: the weight stays until it has passed."""

    name: DnsLabel | None = Field(default=None, description="Its name in status. Default: step-<number>.")

    @property
    def own_name(self) -> str:
        """Its name, if it has one."""
        return self.name or ""


class NamedGate(Gate):
    """A gate before the first delivery, or before promotion."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                *(present(kind) for kind in GATE_KINDS),
                message="a gate is exactly one of job, webhook and approval",
            ),
            Rule(
                "!has(self.always) || !self.always || !has(self.when) || self.when == 'BeforeDelivery'",
                "always goes with BeforeDelivery only: the first revision is never promoted, it is delivered",
                ".always",
            ),
        )
    )

    name: DnsLabel = Field(description="Its name in status.")
    when: GatePlace = Field(
        default=GatePlace.BEFORE_DELIVERY,
        description=(
            "BeforeDelivery: before any pod is told of the new prompt. BeforePromotion: when the strategy would "
            "promote it."
        ),
    )
    always: bool = Field(
        default=False, description="Also for the very first revision, which no other is compared with."
    )

    @property
    def own_name(self) -> str:
        """Its name."""
        return self.name


Gates = Annotated[
    list[NamedGate],
    Field(
        max_length=MOST_GATES,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]
