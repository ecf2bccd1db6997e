"""What every model of the API shares."""

from datetime import UTC, datetime
from typing import Annotated, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    StringConstraints,
    WithJsonSchema,
    WrapSerializer,
)
from pydantic.alias_generators import to_camel

from promptrollout.api.cel import Admitted, Rule, positive
from promptrollout.api.quantities import DECIMAL_PATTERN, DURATION_PATTERN, WEIGHT_PATTERN, parse_weight
from promptrollout.api.schema import DEFAULTS_UNSAID

GROUP = "promptrollout.dev"
VERSION = "v1alpha1"
PLURAL = "promptrollouts"
#: What people ask for: "<verb>:<id>", once for each id.
COMMAND_ANNOTATION = "promptrollout.dev/command"
#: Who commands, in their own words; the chart's commandPolicy.identify makes the API server check it.
COMMANDED_BY_ANNOTATION = "promptrollout.dev/commanded-by"


class ApiModel(BaseModel):
    """A part of a custom resource: camelCase on the wire, immutable, unknown fields ignored.

    Unknown fields are ignored, not refused, since an object stored by a newer version must stay readable.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        strict=False,
        allow_inf_nan=False,
    )

    def to_wire(self) -> dict[str, object]:
        """The model as JSON-able data; unset optional fields are left out (a null would clear on merge)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def but(self, **changes: object) -> Self:
        """A copy with these fields (Python names) changed."""
        return self.model_copy(update=changes)


class Remembered(ApiModel):
    """A part of the status: unknown fields are kept and written again.

    An older operator, after a roll back of the operator itself, must not wipe what the newer one has to remember.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra=DEFAULTS_UNSAID)

    @property
    def known(self) -> tuple[object, ...]:
        """What this version knows of it: two parts that differ in a newer version's fields alone say the same."""
        return tuple(getattr(self, name) for name in type(self).model_fields)


def to_rfc3339(moment: datetime) -> str:
    """A moment as the API writes it: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    # Bounded, so that no sum of a moment and a duration can leave the calendar.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"the year {moment.year} is no year of a rollout; write a moment of today")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _no_longer_than_ever(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_S)


_FIRST_YEAR, _LAST_YEAR, _LONGEST_S = 1970, 2900, 3650 * 86400.0
#: A length of time that the operator has measured.
Seconds = Annotated[float, AfterValidator(_no_longer_than_ever)]


#: A moment, UTC, with milliseconds on the wire (metav1.MicroTime's spirit: reaction times are measured).
Moment = Annotated[
    datetime,
    AfterValidator(_in_utc),
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    Field(json_schema_extra={"format": "date-time"}),
]
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_PATTERN = f"^{_LABEL}$"
NAME_PATTERN = rf"^{_LABEL}(\.{_LABEL})*$"
Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=32)]
#: A length of time that is not nothing.
Span = Annotated[
    Duration, Admitted(Rule("self.matches('[1-9]')", "0 is no time at all; write for example 30s or 10m"))
]
Decimal = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN, max_length=20)]
DnsLabel = Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=63)]
DnsName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=253)]


def _readable_weight(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("it is no weight; write 5, '5%' or '0.25%' (two decimals at most)")  # noqa: TRY004 - for pydantic
    parse_weight(value)
    return value


#: A share as its author writes it; `parse_weight` makes an integer in 1/10,000 of it.
Weight = Annotated[
    int | str,
    BeforeValidator(_readable_weight),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 100,
            "maxLength": 8,
            "pattern": WEIGHT_PATTERN,
        }
    ),
]
#: A share that is not nothing.
Share = Annotated[Weight, Admitted(Rule(positive("self"), "0 is no share at all; write a weight above 0"))]

# Text and lists of `status` are bounded in the schema only, and cut when they are written: a status that the API
# server refuses would leave an object stuck, and a stored one must be readable however long it is.
_T = TypeVar("_T")
_WORD, _SENTENCE, _SOME, _MANY = 253, 8192, 32, 256


def _cut_word(text: str) -> str:
    return text if len(text) <= _WORD else text[: _WORD - 1] + "…"


def _cut_sentence(text: str) -> str:
    return text if len(text) <= _SENTENCE else text[: _SENTENCE - 1] + "…"


def _first_some(items: list[object], write: SerializerFunctionWrapHandler) -> object:
    return write(items[:_SOME])


def _first_many(items: list[object], write: SerializerFunctionWrapHandler) -> object:
    return write(items[:_MANY])


Word = Annotated[str, PlainSerializer(_cut_word), Field(json_schema_extra={"maxLength": _WORD})]
Sentence = Annotated[str, PlainSerializer(_cut_sentence), Field(json_schema_extra={"maxLength": _SENTENCE})]
Some = Annotated[list[_T], WrapSerializer(_first_some), Field(json_schema_extra={"maxItems": _SOME})]
Many = Annotated[list[_T], WrapSerializer(_first_many), Field(json_schema_extra={"maxItems": _MANY})]
