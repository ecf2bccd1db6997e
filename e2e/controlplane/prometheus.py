"""Real Prometheus, fed by a file of targets with the labels that a cluster's discovery would give them."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.controlplane.binaries import Binaries
from e2e.objects import Json, KubeObject
from e2e.processes.supervisor import Command, Process, Supervisor, free_port, wait_until

READY_WITHIN_S = 60.0


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus. `targets` is the file that its discovery reads: a JSON list of {targets, labels}."""

    url: str
    targets: Path
    command: Command
    process: Process

    def query(self, promql: str) -> Sequence[KubeObject]:
        """An instant query's samples, `.mapping("metric")` and `value` of each."""
        return KubeObject(self._get("/api/v1/query", {"query": promql})).items("data.result")

    def value(self, promql: str) -> float | None:
        """The number that a query for one number gives; None when it gives nothing."""
        samples = self.query(promql)
        pair = samples[0].raw["value"] if samples else None
        return float(pair[1]) if pair else None

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310 - own server
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait(self) -> None:
        wait_until(self.ready, "Prometheus to be ready", READY_WITHIN_S, alive=self.process)

    def _get(self, path: str, parameters: dict[str, str]) -> Json:
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - own server
            document: Json = json.load(answer)
            return document


def start(
    supervisor: Supervisor,
    binaries: Binaries,
    *,
    scrape_interval: str = "1s",
    rules: Path | None = None,
    flags: Sequence[str] = (),
) -> Prometheus:
    """Start it; `wait` until it answers. `rules`: a file of alerting and recording rules; `flags`: more of its own."""
    folder = supervisor.data / "prometheus"
    folder.mkdir()
    targets = folder / "targets.json"
    targets.write_text("[]")
    config = folder / "prometheus.yaml"
    config.write_text(json.dumps(configuration(targets, scrape_interval, rules), indent=1))
    port = free_port()
    command = Command(
        "prometheus",
        [
            str(binaries["prometheus"]),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
            *flags,
        ],
        grace=0,
    )
    return Prometheus(f"http://127.0.0.1:{port}", targets, command, supervisor.spawn(command))


def configuration(targets: Path, scrape_interval: str, rules: Path | None = None) -> Json:
    """Prometheus's configuration, JSON being YAML. Times out before the next scrape is due."""
    return {
        "global": {
            "scrape_interval": scrape_interval,
            "scrape_timeout": scrape_interval,
            "evaluation_interval": "1s",
        },
        "scrape_configs": [
            {"job_name": "pods", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "5s"}]}
        ],
        **({"rule_files": [str(rules)]} if rules is not None else {}),
    }
