"""`spec.strategy.abTest`: several prompts side by side at fixed weights."""

from enum import StrEnum

from pydantic import ConfigDict, Field

from promptrollout.api.base import ApiModel, DnsLabel, Share, Span
from promptrollout.api.cel import Rule, rules
from promptrollout.api.prompt import Prompt

#: Arms of these names are the operator's own.
RESERVED = ("stable", "candidate")


class OnWinner(StrEnum):
    """What becomes of an arm that has won."""

    HOLD = "Hold"
    PROMOTE = "Promote"


class AbTestArm(ApiModel):
    """One arm of a test."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                f"!(self.name in {list(RESERVED)})",
                "arms are not called stable or candidate: the operator uses these names; take another",
                ".name",
            ),
        )
    )

    name: DnsLabel = Field(description="The arm's name, in status, metrics and reports.")
    prompt: Prompt | None = Field(
        default=None,
        description="The arm's prompt, in the form of spec.prompt. The one arm without is the control: spec.prompt.",
    )
    weight: Share = Field(
        description='The arm\'s share of units: 25 is 25 %, "12.5%" an eighth. All arms together have 100 %.'
    )


# A malformed weight counts as nothing here: the pattern has refused it already, with a better message.
_HUNDREDTHS = (
    "type(a.weight) == int ? a.weight * 100 : "
    "(a.weight.matches('^[0-9]+([.][0-9]+)?%$') ? int(double(a.weight.replace('%', '')) * 100.0 + 0.5) : 0)"
)


class AbTest(ApiModel):
    """Compare two to eight prompts at fixed weights; find the best by evidence, and hold or promote it."""

    arms: list[AbTestArm] = Field(
        min_length=2,
        max_length=8,
        description="The arms; exactly one has no prompt: the control, which serves spec.prompt.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            **rules(
                Rule(
                    "self.filter(a, !has(a.prompt)).size() == 1",
                    "exactly one arm has no prompt: the control, which serves spec.prompt",
                ),
                Rule(
                    f"self.map(a, {_HUNDREDTHS}).sum() == 10000",
                    "the weights of all arms, with the control's, must sum to 100 %",
                ),
            ),
        },
    )
    horizon: Span = Field(
        description=(
            "How long to look for a winner, from the moment the pods have loaded the weights; "
            "then analysis.onInconclusive says what happens."
        )
    )
    on_winner: OnWinner = Field(
        default=OnWinner.HOLD,
        description="Hold: stay at the weights until someone says promote. Promote: the winner becomes stable.",
    )
