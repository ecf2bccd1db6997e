"""The operator's configuration of notifications: channels by name, whose URLs and secrets are files."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from promptrollout.api.base import DnsLabel
from promptrollout.api.quantities import parse_duration
from promptrollout.api.reasons import REASONS
from promptrollout.remote.checks import check_url

#: Stands for every reason.
ALL = "*"


class _Setting(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class ChannelConfig(_Setting):
    """One channel.

    `type` is a name in `notify.KINDS`. `url_file` holds the URL, which is a secret of its own with chats; a webhook may
    have a plain `url` instead, and needs `secret_file`, with which it is signed. Files are read at each message.
    `reasons` are told where a rollout names none; `namespaces`, if there are any, are the only ones whose rollouts may
    use the channel. `per_minute` and `burst` bound how much it is told. `timeout` is that of one attempt, in seconds.
    """

    type: str
    url: str = ""
    url_file: Path | None = None
    secret_file: Path | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    timeout: float = 10.0
    reasons: tuple[str, ...] | None = None
    namespaces: tuple[DnsLabel, ...] = ()
    title: str | None = None
    template: str | None = None
    per_minute: Annotated[float, Field(gt=0, le=600)] = 20.0
    burst: Annotated[int, Field(ge=1, le=600)] = 10

    @field_validator("timeout", mode="before")
    @classmethod
    def _span(cls, value: object) -> object:
        return parse_duration(value).total_seconds() if isinstance(value, str) else value

    @field_validator("timeout")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if not 0 < value <= 60:
            raise ValueError("must be more than 0 and at most 1m")
        return value

    @field_validator("url")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value:
            check_url(value, instead="bearerTokenFile, or urlFile", query="urlFile")
        return value

    @field_validator("reasons")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for one in value or ():
            if one != ALL and one not in REASONS:
                raise ValueError(
                    f"{one!r} is no reason of an Event; docs/events.md lists them, {ALL!r} is all"
                )
        return value

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if bool(self.url) == bool(self.url_file):
            raise ValueError("give urlFile, or with type webhook url: one of them")
        return self

    def read_url(self) -> str:
        """The URL, read now. Raises OSError; ValueError if it is none."""
        return self.url or self.url_file.read_text().strip() if self.url_file else self.url


class NotificationsConfig(_Setting):
    """All of it. `default_channels` are told of rollouts that have no spec.notify; `title` and `template` are for all

    channels that have none of their own.
    """

    channels: dict[DnsLabel, ChannelConfig] = Field(default_factory=dict)
    default_channels: tuple[str, ...] = ()
    title: str | None = None
    template: str | None = None

    @model_validator(mode="after")
    def _default_is_there(self) -> Self:
        for name in self.default_channels:
            if name not in self.channels:
                raise ValueError(
                    f"defaultChannels: {name!r} is none of channels: {', '.join(self.channels) or 'none'}"
                )
        return self
