import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.controlplane import binaries, cluster
from e2e.controlplane.kubectl import CommandError, Kubectl
from e2e.processes.supervisor import Supervisor, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "promptrollout-api-tests"


class Server:
    """A real API server that has the CRD, spoken to through real kubectl, in a namespace of its own."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self._kubectl("-n", NAMESPACE, *arguments, stdin=stdin)

    def get(self, name: str, kind: str = "prollout") -> dict[str, object]:
        found = json.loads(self("get", kind, name, "-o", "json"))
        assert isinstance(found, dict)
        return found

    def spec(self, name: str, kind: str = "prollout") -> dict[str, object]:
        spec = self.get(name, kind)["spec"]
        assert isinstance(spec, dict)
        return spec

    def apply(self, name: str, spec: object, *flags: str) -> str:
        """Server-side apply, as Argo CD and Flux do."""
        return self("apply", "--server-side", *flags, "-f", "-", stdin=manifest(name, spec))

    def try_out(self, name: str, spec: object, kind: str = "PromptRollout") -> str:
        """Why the API server refuses to create this, empty if it does not. Nothing is stored."""
        try:
            self("create", "--dry-run=server", "-f", "-", stdin=manifest(name, spec, kind))
        except CommandError as refused:
            return refused.output
        return ""

    def patch_status(self, name: str, status: object) -> None:
        patch = json.dumps({"status": status})
        self("patch", "prollout", name, "--subresource=status", "--type=merge", "-p", patch)

    def differs(self, *arguments: str) -> str:
        """What `kubectl diff` shows (its exit code is 1 then); empty if nothing."""
        try:
            return self("diff", *arguments)
        except CommandError as found:
            return found.output


def manifest(name: str, spec: object, kind: str = "PromptRollout") -> str:
    return json.dumps(
        {
            "apiVersion": "promptrollout.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
    )


def explains(kubectl: Kubectl) -> bool:
    try:
        kubectl("explain", "clusterpromptrolloutpolicy.spec.locked")
        kubectl("explain", "promptrolloutpolicy.spec.locked")
        return "messages" in kubectl("explain", "promptrollout.spec.prompt.inline")
    except CommandError:
        return False


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    programs = binaries.find(["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"])
    with Supervisor() as supervisor:
        kubectl = cluster.start(supervisor, programs).kubectl
        kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        kubectl.wait_for_kind()
        kubectl("create", "namespace", NAMESPACE)
        # The API server publishes the documentation of a CRD some time after it has established it.
        wait_until(lambda: explains(kubectl), "kubectl explain to know the CRD", 60.0, pause=0.2)
        try:
            yield Server(kubectl)
        finally:
            kubectl("delete", "namespace", NAMESPACE, "--wait=false")
