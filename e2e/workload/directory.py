"""Which pods answer where: the file that Prometheus discovers targets in, and the one that the load generator reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e.objects import KubeObject


@dataclass(frozen=True)
class Endpoint:
    """A running pod's address, with its labels; `scraped` when Prometheus shall read it."""

    namespace: str
    pod: str
    address: str
    ready: bool
    scraped: bool
    labels: Mapping[str, str] = field(default_factory=dict)


class Directory:
    """Keeps both files equal to what it is told; a reader never sees half a file."""

    def __init__(self, targets: Path, endpoints: Path) -> None:
        self._targets = targets
        self._endpoints = endpoints
        self._known: dict[tuple[str, str], Endpoint] = {}
        self._write()

    def put(self, endpoint: Endpoint) -> None:
        key = (endpoint.namespace, endpoint.pod)
        if self._known.get(key) != endpoint:
            self._known[key] = endpoint
            self._write()

    def keep(self, endpoints: Iterable[Endpoint]) -> None:
        """These and no others."""
        known = {(one.namespace, one.pod): one for one in endpoints}
        if known != self._known:
            self._known = known
            self._write()

    def remove(self, namespace: str, pod: str) -> None:
        if self._known.pop((namespace, pod), None) is not None:
            self._write()

    def _write(self) -> None:
        known = [self._known[key] for key in sorted(self._known)]
        scraped = [
            {"targets": [one.address], "labels": {"namespace": one.namespace, "pod": one.pod}}
            for one in known
            if one.scraped
        ]
        _replace(self._targets, json.dumps(scraped, indent=1))
        _replace(self._endpoints, json.dumps([asdict(one) for one in known], indent=1))


def read_endpoints(file: Path, namespace: str, selector: Mapping[str, str]) -> list[str]:
    """The addresses of the ready pods whose labels match, as a Service would choose them."""
    if not file.exists():
        return []
    pods = [KubeObject(item) for item in json.loads(file.read_text())]
    return [
        pod.text("address")
        for pod in pods
        if pod.raw["ready"]
        and pod.text("namespace") == namespace
        and selector.items() <= pod.texts("labels").items()
    ]


def _replace(file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.write_text(text)
    unfinished.replace(file)
