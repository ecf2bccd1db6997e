"""How to reach one Prometheus-compatible store: the operator's settings, never an object's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class PrometheusConfig:
    """One metric source. Times in seconds. ValueError, with the field's name, for what cannot be.

    `url` is what stands before `/api/v1/query`. Credentials are files, read at each query (mounted tokens rotate):
    `bearer_token_file`, or `username` and `password_file`; `ca_file`, `client_certificate_file` and
    `client_key_file` are for TLS. `tenant` is sent as X-Scope-OrgID (Mimir, Cortex). `parameters` go with every
    query (`{"dedup": "true", "partial_response": "false"}` for Thanos).

    `timeout` is the whole of one query, connecting and reading included; `concurrency` how many run at a time. Samples
    that can be read only after their window was are counted in the next one, if they are not later than `late`.
    `lookback` is how far back the last sample of a series is looked for when nothing is remembered of it. `batch` is
    how many rollouts share a query; `max_bytes` how much of an answer is read.
    """

    url: str
    bearer_token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    insecure_skip_verify: bool = False
    proxy: str = ""
    tenant: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    method: str = "POST"
    connect_timeout: float = 3.0
    timeout: float = 10.0
    concurrency: int = 8
    late: float = 15.0
    lookback: float = 3600.0
    batch: int = 50
    max_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Check what a typing error in the settings would break."""
        self._check_url()
        if self.method not in ("GET", "POST"):
            raise ValueError(f"method: GET or POST, not {self.method!r}")
        if self.bearer_token_file and self.username:
            raise ValueError("bearer_token_file and username: only one of them can be used")
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file: both or neither")
        if self.client_key_file and not self.client_certificate_file:
            raise ValueError("client_key_file: needs client_certificate_file")
        for name in ("connect_timeout", "timeout", "lookback", "concurrency", "batch", "max_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be more than 0")
        if not self.late >= 0:
            raise ValueError("late: must not be negative")

    def _check_url(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url: must be http:// or https:// with a host")
        if parts.username or parts.password:
            raise ValueError(
                "url: no credentials in it, they would be logged; use username and password_file"
            )
        if parts.query or parts.fragment:
            raise ValueError("url: no query or fragment; use parameters")

    @property
    def longest_query(self) -> int:
        """How many characters of rollouts a query may name: a URL must fit a proxy's 8 KiB, a body need not."""
        return 30_000 if self.method == "POST" else 3_000
