"""What the tests of this room share: one real control plane, a namespace for each test."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from e2e.controlplane import binaries
from e2e.controlplane.cluster import ControlPlane, start
from e2e.processes.supervisor import Supervisor
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.objects import ObjectKey

# pytest-asyncio 1.x asks for the current event loop before its first test. Where none was ever set, Python 3.11 makes
# one that nobody closes, and its ResourceWarning fails whichever test the garbage collector runs in. So: say "none".
asyncio.set_event_loop(None)

CRDS = Path(__file__).parents[2] / "crds"
SPEC = {"prompt": {"inline": {"text": "Hello"}}, "strategy": {"immediate": {}}}
_numbers = count(1)


@pytest.fixture(scope="package")
def control_plane() -> Iterator[ControlPlane]:
    programs = binaries.find(["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"])
    with Supervisor() as supervisor:
        plane = start(supervisor, programs, CRDS)
        plane.kubectl.wait_for_kind()
        yield plane


@pytest.fixture
def kubectl(control_plane):
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl) -> Iterator[str]:
    name = f"cluster-tests-{next(_numbers)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def cluster(control_plane, namespace):
    """The adapter as an administrator, watching the test's namespace."""
    transport = await connect(control_plane.kubeconfig)
    async with KubeCluster(transport, instance="test-0", namespaces=[namespace], chunk_size=3) as adapter:
        yield adapter


@pytest.fixture
def new_rollout(kubectl, namespace, cluster):
    """Creates a rollout through kubectl and reads it through the adapter."""

    async def create(name="support", **metadata):
        manifest = {
            "apiVersion": "promptrollout.dev/v1alpha1",
            "kind": "PromptRollout",
            "metadata": {"name": name, "namespace": namespace, **metadata},
            "spec": SPEC,
        }
        kubectl.create(manifest)
        return await cluster.get_rollout(ObjectKey(namespace, name))

    return create
