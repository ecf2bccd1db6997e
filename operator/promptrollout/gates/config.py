"""The operator's configuration of gates: whether Jobs may be run, and the webhooks that a gate may name."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from promptrollout.api.base import DnsLabel
from promptrollout.api.quantities import parse_duration
from promptrollout.remote.checks import check_url
from promptrollout.remote.files import load_model


class _Setting(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class JobsConfig(_Setting):
    """Job gates. `inline_templates`: whether a rollout may carry a Job's template itself.

    `history`: how many finished Jobs of a rollout are kept. `keep`: seconds after which a finished Job goes, where its
    template does not say.
    """

    enabled: bool = False
    inline_templates: bool = False
    history: Annotated[int, Field(ge=0, le=1000)] = 10
    keep: Annotated[int, Field(ge=0, le=31_536_000)] = 86_400


class WebhookConfig(_Setting):
    """One service that gates may ask.

    `secret_file` holds the secret that requests are signed with, read at each request. `timeout` is that of one
    request, in seconds. `documents`: whether the prompts themselves are sent, or their hashes alone.
    """

    url: str
    secret_file: Path
    ca_file: Path | None = None
    bearer_token_file: Path | None = None
    timeout: float = 10.0
    documents: bool = True

    @field_validator("timeout", mode="before")
    @classmethod
    def _span(cls, value: object) -> object:
        return parse_duration(value).total_seconds() if isinstance(value, str) else value

    @field_validator("timeout")
    @classmethod
    def _positive(cls, value: float) -> float:
        if not 0 < value <= 300:
            raise ValueError("must be more than 0 and at most 5m")
        return value

    @field_validator("url")
    @classmethod
    def _plain(cls, value: str) -> str:
        check_url(value, instead="bearerTokenFile")
        return value

    @property
    def host(self) -> str:
        """The host that it speaks to."""
        return urlsplit(self.url).hostname or ""


class GatesConfig(_Setting):
    """All of it. `allowed_hosts`: if there are any, a webhook's host must be among them (`*.example.com` too)."""

    jobs: JobsConfig = JobsConfig()
    webhooks: dict[DnsLabel, WebhookConfig] = Field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _hosts(self) -> Self:
        for name, webhook in self.webhooks.items():
            if self.allowed_hosts and not any(_matches(webhook.host, one) for one in self.allowed_hosts):
                known = ", ".join(self.allowed_hosts)
                raise ValueError(f"webhooks.{name}.url: {webhook.host} is not among allowedHosts: {known}")
        return self


def load_gates(file: Path) -> GatesConfig:
    """The configuration in a YAML file. Raises ValueError, with the path of the field that is wrong."""
    return load_model(file, GatesConfig)


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and host != pattern[1:]
    return host == pattern.lower()
