"""The chart through real helm, and a real API server to apply it to."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import yaml

from e2e.controlplane import binaries
from e2e.controlplane.cluster import ControlPlane, start
from e2e.controlplane.kubectl import run
from e2e.objects import KubeObject
from e2e.processes.supervisor import Supervisor
from tests.charts.values_table import CHART

# See tests/cluster/conftest.py.
asyncio.set_event_loop(None)

#: As the chart's README says: only under helm's own name can helm and kubectl both apply them.
APPLY_DEFINITIONS = ("apply", "--server-side", "--field-manager=helm", "-f")
_numbers = count(1)


@dataclass(frozen=True)
class Rendered:
    """What helm made of the chart."""

    objects: list[KubeObject]

    def of(self, kind: str) -> list[KubeObject]:
        return [one for one in self.objects if one.kind == kind]

    def one(self, kind: str) -> KubeObject:
        (found,) = self.of(kind)
        return found

    @property
    def container(self) -> KubeObject:
        (container,) = self.one("Deployment").items("spec.template.spec.containers")
        return container

    @property
    def sources(self) -> str:
        return self.one("ConfigMap").texts("data")["sources.yaml"]

    @property
    def registries(self) -> str:
        return self.one("ConfigMap").texts("data")["registries.yaml"]


class Helm:
    """Real helm, without anything of the user's configuration."""

    def __init__(self, binary: Path, home: Path) -> None:
        self._binary = binary
        self._environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}

    def __call__(self, *arguments: str, values: Mapping[str, object] | None = None) -> str:
        """Run it with these values; its output. Raises CommandError."""
        given = ["--values=-"] if values is not None else []
        text = json.dumps(values) if values is not None else None
        return run([str(self._binary), *arguments, *given], self._environment, stdin=text)

    def template(
        self,
        values: Mapping[str, object] | None = None,
        release: str = "prompt-rollout",
        namespace: str = "ops",
    ) -> Rendered:
        text = self("template", release, str(CHART), f"--namespace={namespace}", values=values or {})
        return Rendered([KubeObject(document) for document in yaml.safe_load_all(text) if document])


@pytest.fixture(scope="package")
def helm(tmp_path_factory) -> Helm:
    return Helm(binaries.find(["helm"])["helm"], tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="package")
def control_plane() -> Iterator[ControlPlane]:
    programs = binaries.find(["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"])
    with Supervisor() as supervisor:
        plane = start(supervisor, programs)
        definitions = str(CHART / "crds")
        plane.kubectl(*APPLY_DEFINITIONS, definitions)
        plane.kubectl.wait_for_kind()
        yield plane


@pytest.fixture
def kubectl(control_plane):
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl) -> Iterator[str]:
    """A namespace under the restricted Pod Security Standard."""
    name = f"chart-tests-{next(_numbers)}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def install(helm, control_plane, namespace):
    """Installs the chart by `helm install` into the namespace; gone again afterwards."""
    there = f"--kubeconfig={control_plane.kubeconfig}", f"--namespace={namespace}"
    releases = []

    def installed(values=None, release="prompt-rollout"):
        verb = "upgrade" if release in releases else "install"
        helm(verb, release, str(CHART), *there, values=values or {})
        if release not in releases:
            releases.append(release)

    yield installed
    for release in releases:
        helm("uninstall", release, "--ignore-not-found", *there)
