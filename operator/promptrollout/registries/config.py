"""How to reach one prompt registry: the operator's settings, never an object's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from promptrollout.remote.checks import check_credentials, check_positive, check_url


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One prompt registry. Times in seconds. ValueError, with the field's name, for what cannot be.

    `type` is the kind of registry, a name in `KINDS`; `url` what stands before /api/2.0. Credentials are files, read
    at each request (mounted secrets rotate), or environment variables of the operator: `bearer_token_file` or
    `bearer_token_env`, or `username` with `password_file` or `password_env`; `ca_file`, `client_certificate_file` and
    `client_key_file` are for TLS.

    `poll_interval` is the time between two looks at an alias, shared by all rollouts that name it; `timeout` the whole
    of one request; `max_bytes` how much of an answer is read.
    """

    url: str
    type: str = "mlflow"
    bearer_token_file: Path | None = None
    bearer_token_env: str = ""
    username: str = ""
    password_file: Path | None = None
    password_env: str = ""
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    insecure_skip_verify: bool = False
    proxy: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    timeout: float = 10.0
    poll_interval: float = 60.0
    max_bytes: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        """Check what a typing error in the settings would break."""
        check_url(self.url, "url", instead="username and password_file", query="")
        check_credentials(
            {"bearer_token_file": self.bearer_token_file, "bearer_token_env": self.bearer_token_env},
            self.username,
            {"password_file": self.password_file, "password_env": self.password_env},
            (self.client_certificate_file, self.client_key_file),
        )
        if not self.poll_interval >= 1:
            raise ValueError("poll_interval: must be at least 1 s")
        check_positive({"timeout": self.timeout, "max_bytes": self.max_bytes})
