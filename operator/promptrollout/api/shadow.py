"""`spec.strategy.shadow`: the candidate answers beside stable, and nobody sees it."""

from pydantic import Field

from promptrollout.api.base import ApiModel, Decimal, Duration, Weight
from promptrollout.api.canary import Canary


class ShadowBudget(ApiModel):
    """What shadow runs may cost. What exceeds it is dropped, never queued."""

    usd_per_hour: Decimal = Field(
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

    sample: Weight = Field(
        description='The share of requests that the candidate answers too: 10 is 10 %, "0.5%".'
    )
    budget: ShadowBudget = Field(default_factory=ShadowBudget, description="What shadow runs may cost.")
    duration: Duration = Field(
        description=(
            "How long, from the moment the pods have loaded it; then the evidence decides, "
            "or analysis.onInconclusive where it is not enough."
        )
    )
    then: ShadowThen | None = Field(
        default=None,
        description="What follows when the candidate is shown non-inferior. Default: it is promoted.",
    )
