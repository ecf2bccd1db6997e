"""Real kubectl, and real helm, as functions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.objects import Json, KubeObject
from e2e.processes.supervisor import wait_until

Manifest = str | Path | Json | Sequence[Json]


class CommandError(RuntimeError):
    """kubectl or helm said no; `output` is what it said."""

    def __init__(self, command: Sequence[str], output: str) -> None:
        super().__init__(f"{' '.join(command)}: {output.strip()}")
        self.output = output


@dataclass(frozen=True)
class Kubectl:
    """kubectl as one user. `environment` holds HOME for its caches; the caller's own configuration is never read."""

    binary: Path
    kubeconfig: Path
    environment: Mapping[str, str]

    def wait_for_kind(self, plural: str = "promptrollouts", timeout: float = 60.0) -> None:
        """Until the API server serves a custom kind. (`kubectl wait` fails on a CRD that has no conditions yet.)"""
        wait_until(lambda: self._serves(plural), f"{plural} to be served", timeout, pause=0.2)

    def _serves(self, plural: str) -> bool:
        try:
            self("get", plural, "--all-namespaces")
        except CommandError:
            return False
        return True

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Run it; its standard output. Raises CommandError when the exit code is not 0."""
        return run(
            [str(self.binary), "--kubeconfig", str(self.kubeconfig), *arguments],
            self.environment,
            stdin,
            timeout,
        )

    def get(self, *arguments: str) -> KubeObject:
        """`kubectl get … -o json`; for a list the objects are in `.items("items")`."""
        return KubeObject(json.loads(self("get", *arguments, "-o", "json")))

    def find(self, *arguments: str) -> KubeObject | None:
        """Like get, None when there is no such object."""
        text = self("get", *arguments, "-o", "json", "--ignore-not-found")
        return KubeObject(json.loads(text)) if text.strip() else None

    def apply(self, manifest: Manifest, *arguments: str) -> str:
        """`kubectl apply`, server side. `manifest`: YAML text, a file or folder, an object, or several."""
        if isinstance(manifest, Path):
            return self("apply", "--server-side", "-f", str(manifest), *arguments)
        return self("apply", "--server-side", "-f", "-", *arguments, stdin=as_text(manifest))

    def put(self, manifest: Json) -> KubeObject:
        """Apply one object; as the server then has it."""
        return KubeObject(json.loads(self.apply(manifest, "-o", "json")))

    def create(self, manifest: str | Json | Sequence[Json], *arguments: str) -> str:
        return self("create", "-f", "-", *arguments, stdin=as_text(manifest))

    def token(self, namespace: str, service_account: str, duration: str = "24h") -> str:
        """A token for a service account, from the TokenRequest API."""
        return self("create", "token", service_account, "-n", namespace, "--duration", duration).strip()

    def can_i(self, verb: str, resource: str, *arguments: str) -> bool:
        try:
            return self("auth", "can-i", verb, resource, *arguments).strip() == "yes"
        except CommandError as refused:
            if refused.output.strip().startswith("no"):
                return False
            raise


def run(
    argv: Sequence[str], environment: Mapping[str, str], stdin: str | None = None, timeout: float = 60.0
) -> str:
    """Run a short-lived program in a given environment; its standard output. Raises CommandError."""
    try:
        done = subprocess.run(
            argv,
            env=dict(environment),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(argv, f"no answer within {timeout:g} s") from error
    if done.returncode != 0:
        raise CommandError(argv, done.stdout + done.stderr)
    return done.stdout


def as_text(manifest: str | Json | Sequence[Json]) -> str:
    """What `kubectl apply -f -` reads; JSON documents are YAML."""
    if isinstance(manifest, str):
        return manifest
    objects = [manifest] if isinstance(manifest, Mapping) else list(manifest)
    return "\n---\n".join(json.dumps(item) for item in objects)
