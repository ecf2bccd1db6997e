"""`spec.strategy.shadow`: the candidate answers beside stable, and nobody sees it."""

from typing import Annotated

from pydantic import Field

from promptrollout.api.base import ApiModel, Decimal, Share, Span
from promptrollout.api.canary import Canary
from promptrollout.api.cel import Admitted, Rule

_SOME_MONEY = Rule(
    "self.matches('[1-9]')", "with no money nothing runs; write the dollars an hour, such as '1.00'"
)


class ShadowBudget(ApiModel):
    """What shadow runs may cost. What exceeds it is dropped, never queued."""

    usd_per_hour: Annotated[Decimal, Admitted(_SOME_MONEY)] = Field(
        default="1.00", description="Dollars an hour in each process, as the application reports them."
    )
    max_concurrent: int = Field(
        default=4, ge=1, le=1000, description="Shadow runs at the same time in each process."
    )


class ShadowThen(ApiModel):
    """What follows a shadow that was shown non-inferior."""

    canary: Canary = Field(description="A canary; its evidence begins anew, with live answers.")


class Shadow(ApiModel):
    """Run the candidate beside stable for a share of requests; compare scores in pairs; then promote, or go on."""

    sample: Share = Field(
        description='The share of requests that the candidate answers too: 10 is 10 %, "0.5%".'
    )
    budget: ShadowBudget = Field(default_factory=ShadowBudget, description="What shadow runs may cost.")
    duration: Span = Field(
        description=(
            "How long, from the moment the pods have loaded it; then the evidence decides, "
            "or analysis.onInconclusive where it is not enough."
        )
    )
    then: ShadowThen | None = Field(
        default=None,
        description="What follows when the candidate is shown non-inferior. Default: it is promoted.",
    )
