"""Who is told what happens to a rollout: channels by name, which the operator's administrator has configured."""

from typing import Annotated

from pydantic import Field, StringConstraints

from promptrollout.api.base import ApiModel, DnsLabel

#: A pattern and no enumeration: a reason that an older operator does not know must not make a spec invalid.
ReasonName = Annotated[str, StringConstraints(pattern=r"^(\*|([A-Z][a-z]+)+)$", max_length=63)]


class Notify(ApiModel):
    """One channel, and what it is told."""

    channel: DnsLabel = Field(
        description="The channel, by its name in the operator's configuration; never a URL."
    )
    reasons: list[ReasonName] | None = Field(
        default=None,
        max_length=64,
        description=(
            "Reasons of Events, such as RolledBack, or * for all of them. Default: those of the channel's "
            "configuration, or what a person should know or do."
        ),
    )


Notifies = Annotated[
    list[Notify],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["channel"]},
    ),
]
