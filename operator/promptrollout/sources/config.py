"""How to reach one Prometheus-compatible store: the operator's settings, never an object's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from promptrollout.remote.checks import check_credentials, check_positive, check_url


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
        instead = "username and password_file"
        check_url(self.url, "url", instead=instead, query="parameters")
        if self.method not in ("GET", "POST"):
            raise ValueError(f"method: GET or POST, not {self.method!r}")
        check_credentials(
            {"bearer_token_file": self.bearer_token_file},
            self.username,
            {"password_file": self.password_file},
            (self.client_certificate_file, self.client_key_file),
        )
        names = ("connect_timeout", "timeout", "lookback", "concurrency", "batch", "max_bytes")
        check_positive({name: getattr(self, name) for name in names})
        if not self.late >= 0:
            raise ValueError("late: must not be negative")

    @property
    def longest_query(self) -> int:
        """How many characters of rollouts a query may name: a URL must fit a proxy's 8 KiB, a body need not."""
        return 30_000 if self.method == "POST" else 3_000
