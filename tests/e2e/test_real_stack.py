"""The real control plane and the node agent do what rollouts rely on in a cluster."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e.application import Application
from e2e.controlplane.kubectl import CommandError
from e2e.objects import KubeObject
from e2e.processes.supervisor import wait_until
from e2e.stack import Options, Stack

pytestmark = pytest.mark.realcluster

APP = Application(namespace="shop", replicas=2)
NUDGE = "promptrollout.dev/nudge"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """No operator and no users: only what stands around them."""
    with Stack(Options(application=APP, traffic=None, operator=False)) as running:
        yield running


def config_map(name: str, **data: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": APP.namespace},
        "data": data,
    }


def mounted(stack: Stack, pod: KubeObject) -> dict[str, str]:
    folder = stack.supervisor.data / "pods" / pod.uid / "etc" / "prompts"
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith("..")}


def nudge(stack: Stack, pod: KubeObject, value: str) -> None:
    stack.kubectl("annotate", "pod", pod.name, "-n", APP.namespace, f"{NUDGE}={value}", "--overwrite")


def test_a_nudged_pod_gets_the_new_config_map_at_once_and_the_others_later(stack: Stack) -> None:
    nudged, other = stack.pods()
    before = mounted(stack, other)
    stack.kubectl.apply(config_map(APP.config_map, key="new"))
    nudge(stack, nudged, "1")
    wait_until(lambda: mounted(stack, nudged) == {"key": "new"}, "the nudged pod's file", 10)
    assert mounted(stack, other) == before
    nudge(stack, other, "1")
    wait_until(lambda: mounted(stack, other) == {"key": "new"}, "the other pod's file", 10)


def test_a_deleted_pod_leaves_the_targets_and_is_replaced(stack: Stack) -> None:
    victim = stack.pods()[0]
    stack.kubectl("delete", "pod", victim.name, "-n", APP.namespace, "--wait=false")
    wait_until(lambda: victim.name not in {pod.name for pod in stack.pods()}, "the pod to go", 30, pause=0.2)
    stack.wait_for_pods(APP)
    wait_until(
        lambda: targets(stack) == {pod.name for pod in stack.pods()}, "targets to be the pods", 30, pause=0.2
    )
    assert victim.name not in targets(stack)


def targets(stack: Stack) -> set[str]:
    return {target["labels"]["pod"] for target in json.loads(stack.prometheus.targets.read_text())}


def test_prometheus_scrapes_the_pods_under_the_clusters_labels(stack: Stack) -> None:
    query = f'count(up{{namespace="{APP.namespace}"}} == 1)'
    wait_until(
        lambda: stack.prometheus.value(query) == APP.replicas, "both pods to be scraped", 30, pause=0.2
    )
    pods = {sample.text("metric.pod") for sample in stack.prometheus.query("up == 1")}
    assert pods >= {pod.name for pod in stack.pods()}


def test_children_go_with_their_owner(stack: Stack) -> None:
    owner = KubeObject(json.loads(stack.kubectl.create(config_map("owner"), "-o", "json")))
    child = config_map("child")
    child["metadata"] = {
        "name": "child",
        "namespace": APP.namespace,
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid}],
    }
    stack.kubectl.create(child)
    stack.kubectl("delete", "configmap", "owner", "-n", APP.namespace)
    find = partial(stack.kubectl.find, "configmap", "child", "-n", APP.namespace)
    wait_until(lambda: find() is None, "the child to go", 30, pause=0.2)


def test_a_service_account_has_no_rights_but_those_it_is_given(stack: Stack) -> None:
    user = stack.cluster.as_user(stack.cluster.kubeconfig_for(APP.namespace, "default"))
    assert "system:serviceaccount:shop:default" in user("auth", "whoami")
    assert not user.can_i("list", "configmaps", "-n", APP.namespace)
    with pytest.raises(CommandError, match="forbidden"):
        user("get", "configmaps", "-n", APP.namespace)


def test_the_node_may_read_only_what_its_pods_mount(stack: Stack) -> None:
    """As in a real cluster: the Node authorizer, not an administrator's token."""
    stack.kubectl.apply(config_map("unmounted", key="secret"))
    node = stack.cluster.as_user(stack.cluster.node_kubeconfig)
    with pytest.raises(CommandError, match="forbidden"):
        node("get", "configmap", "unmounted", "-n", APP.namespace)


def test_prometheus_comes_back_with_its_data(stack: Stack) -> None:
    before = time.time()
    wait_until(lambda: bool(stack.prometheus.query("up")), "a sample", 30, pause=0.2)
    stack.stop_prometheus()
    assert not stack.prometheus.ready()
    stack.start_prometheus()
    assert stack.prometheus.query(f"count_over_time(up[{round(time.time() - before) + 60}s])")


def test_the_control_planes_secrets_are_readable_by_their_owner_only(stack: Stack) -> None:
    secret: list[Path] = [stack.cluster.kubeconfig, stack.cluster.node_kubeconfig]
    secret += [stack.cluster.folder / "tokens.csv", stack.cluster.folder / "service-account.key"]
    assert {oct(path.stat().st_mode & 0o777) for path in secret} == {"0o600"}
