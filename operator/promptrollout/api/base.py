"""What every model of the API shares."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

from promptrollout.api.quantities import DECIMAL_PATTERN, DURATION_PATTERN

GROUP = "promptrollout.dev"
VERSION = "v1alpha1"
PLURAL = "promptrollouts"


class ApiModel(BaseModel):
    """A part of a custom resource: camelCase on the wire, immutable, unknown fields ignored.

    Unknown fields are ignored, not refused, since an object stored by a newer version must stay readable.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, strict=False
    )

    def to_wire(self) -> dict[str, object]:
        """The model as JSON-able data; unset optional fields are left out (a null would clear on merge)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def but(self, **changes: object) -> Self:
        """A copy with these fields (Python names) changed."""
        return self.model_copy(update=changes)


def _to_rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: A moment, UTC, with milliseconds on the wire (metav1.MicroTime's spirit: reaction times are measured).
Moment = Annotated[
    datetime,
    PlainSerializer(_to_rfc3339, return_type=str, when_used="json"),
    Field(json_schema_extra={"format": "date-time"}),
]
Duration = Annotated[str, StringConstraints(pattern=DURATION_PATTERN, max_length=32)]
Decimal = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN, max_length=20)]
DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
DnsName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Weight = Annotated[int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]
