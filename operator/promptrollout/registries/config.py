"""How to reach one prompt registry: the operator's settings, never an object's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """One prompt registry. Times in seconds. ValueError, with the field's name, for what cannot be.

    `type` is the kind of registry (mlflow); `url` what stands before /api/2.0. Credentials are files, read at each
    request (mounted secrets rotate), or environment variables of the operator: `bearer_token_file` or
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
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: must be http:// or https:// with a host")
        if parts.username or parts.password:
            raise ValueError(
                "url: no credentials in it, they would be logged; use username and password_file"
            )
        if parts.query or parts.fragment:
            raise ValueError("url: no query or fragment")
        if self.type != "mlflow":
            raise ValueError(f"type: {self.type!r} is not known; known are mlflow")
        self._check_credentials()
        if not self.poll_interval >= 1:
            raise ValueError("poll_interval: must be at least 1 s")
        for name in ("timeout", "max_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be more than 0")

    def _check_credentials(self) -> None:
        token = bool(self.bearer_token_file) + bool(self.bearer_token_env)
        password = bool(self.password_file) + bool(self.password_env)
        if token > 1 or password > 1:
            raise ValueError("bearer_token_file, password_file: a file or a variable, not both")
        if token and self.username:
            raise ValueError("bearer_token_file and username: only one of them can be used")
        if bool(self.username) != bool(password):
            raise ValueError("username and password_file: both or neither")
        if self.client_key_file and not self.client_certificate_file:
            raise ValueError("client_key_file: needs client_certificate_file")
