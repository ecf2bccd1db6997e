"""A real MLflow server as a process of this machine, on loopback, with SQLite."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.controlplane.kubectl import run
from e2e.mlflow import environment
from e2e.objects import Json
from e2e.processes.supervisor import Command, Process, Supervisor, free_port, wait_until

READY_WITHIN_S = 120.0
#: One worker, no background jobs, and no word to the outside.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass
class Mlflow:
    """A running server; `stop` and `start` are an outage, with its data and address kept."""

    supervisor: Supervisor
    programs: Path
    command: Command
    url: str
    process: Process

    def register(self, *prompts: Json) -> None:
        """Through MLflow's own client, as its users do: arguments of mlflow.genai.register_prompt."""
        python, script = str(self.programs / "python"), str(Path(__file__).with_name("register.py"))
        variables = {**self.supervisor.environment(), **SETTINGS, "MLFLOW_TRACKING_URI": self.url}
        run([python, script], variables, json.dumps(list(prompts)), timeout=180)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        body = {"name": name, "alias": alias, "version": str(version)}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}/api/2.0/mlflow/registered-models/alias",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - loopback

    def stop(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process = self.supervisor.spawn(self.command)
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        wait_until(self._answers, "MLflow to answer", READY_WITHIN_S, pause=0.2, alive=self.process)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/health", timeout=5).close()  # noqa: S310 - loopback
        except (urllib.error.URLError, OSError):
            return False
        return True


def start(supervisor: Supervisor, prompts: Sequence[Json] = ()) -> Mlflow:
    """Start it, and register these prompts."""
    programs, port = environment.find(), free_port()
    data = supervisor.data / f"mlflow-{port}"
    data.mkdir()
    flags = [
        "--host=127.0.0.1",
        f"--port={port}",
        "--workers=1",
        f"--backend-store-uri=sqlite:///{data / 'mlflow.db'}",
        f"--artifacts-destination={data / 'artifacts'}",
    ]
    command = Command(f"mlflow-{port}", [str(programs / "mlflow"), "server", *flags], SETTINGS, grace=5.0)
    server = Mlflow(supervisor, programs, command, f"http://127.0.0.1:{port}", supervisor.spawn(command))
    server.wait()
    if prompts:
        server.register(*prompts)
    return server
