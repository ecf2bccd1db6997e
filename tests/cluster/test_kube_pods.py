"""Pods on a real API server: found, read and nudged, many at a time."""

import asyncio
import json

import pytest

from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.objects import LabelRequirement, LabelSelector, ObjectKey, PodView
from promptrollout.cluster.parsing import NUDGE_ANNOTATION

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]


def pod(namespace, name, config_map="support-prompt", sub_path=None, **labels):
    mount = {"name": "prompt", "mountPath": "/etc/prompt"} | ({"subPath": sub_path} if sub_path else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "containers": [{"name": "app", "image": "app", "volumeMounts": [mount]}],
            "volumes": [{"name": "prompt", "configMap": {"name": config_map}}],
        },
    }


def be_ready(kubectl, namespace, name):
    status = {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    patch = json.dumps({"status": status})
    kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


async def test_pods_are_found_by_labels_and_by_what_they_mount(cluster, namespace, kubectl):
    kubectl.create(
        [
            pod(namespace, "web-1", app="support", track="stable"),
            pod(namespace, "web-2", app="support", track="canary"),
            pod(namespace, "web-3", config_map="other", app="support"),
            pod(namespace, "batch", app="batch"),
            *(pod(namespace, f"x{n}", config_map="other") for n in range(4)),
        ]
    )

    async def names(selector=None, mounting=None):
        return [found.name for found in await cluster.pods(namespace, selector, mounting=mounting)]

    assert await names(LabelSelector({"app": "support"})) == ["web-1", "web-2", "web-3"]
    assert await names(LabelSelector({"app": "support"}), mounting="support-prompt") == ["web-1", "web-2"]
    assert await names(mounting="support-prompt") == ["batch", "web-1", "web-2"]
    requirements = (
        LabelRequirement("track", "NotIn", ("canary",)),
        LabelRequirement("app", "In", ("support", "batch")),
        LabelRequirement("track", "Exists"),
    )
    assert await names(LabelSelector({}, requirements)) == ["web-1"]
    assert len(await names()) == 8


async def test_a_pod_shows_its_state_and_its_mounts(cluster, namespace, kubectl):
    kubectl.create([pod(namespace, "web-1"), pod(namespace, "web-2", sub_path="rollout.json")])
    be_ready(kubectl, namespace, "web-1")
    first, second = await cluster.pods(namespace)
    assert (first.ready, first.ip, first.terminating, first.finished) == (True, "10.1.2.3", False, False)
    assert not second.ready
    assert first.mounting("support-prompt")[0].refreshes
    assert not second.mounting("support-prompt")[0].refreshes


async def test_a_nudge_reaches_every_pod_and_says_which_are_gone(cluster, namespace, kubectl):
    kubectl.create([pod(namespace, f"web-{n}") for n in range(5)])
    pods = await cluster.pods(namespace)
    gone = PodView(ObjectKey(namespace, "gone"), "uid")
    report = await cluster.nudge([*pods, gone], "42-abc")
    assert report.nudged == tuple(found.key for found in pods)
    assert report.gone == (gone.key,)
    assert report.complete
    assert {found.nudge for found in await cluster.pods(namespace)} == {"42-abc"}


async def test_a_nudge_changes_the_annotation_and_nothing_else(cluster, namespace, kubectl):
    kubectl.create(pod(namespace, "web-1"))
    before = kubectl.get("pod", "web-1", "-n", namespace)
    await cluster.nudge(await cluster.pods(namespace), "1")
    after = kubectl.get("pod", "web-1", "-n", namespace)
    assert after.texts("metadata.annotations") == {NUDGE_ANNOTATION: "1"}
    assert after.mapping("spec") == before.mapping("spec")
    assert after.texts("metadata.labels") == before.texts("metadata.labels")
    assert after.uid == before.uid


async def test_a_nudge_without_the_right_names_it_and_raises_nothing(control_plane, namespace, kubectl):
    kubectl.create(pod(namespace, "web-1"))
    kubectl("create", "serviceaccount", "weak", "-n", namespace)
    transport = await connect(control_plane.kubeconfig_for(namespace, "weak"))
    async with KubeCluster(transport, instance="weak") as weak:
        report = await weak.nudge([PodView(ObjectKey(namespace, "web-1"), "uid")], "1")
    assert not report.complete
    assert 'cannot patch resource "pods"' in str(report.failed[ObjectKey(namespace, "web-1")])


async def test_a_hundred_pods_are_nudged_together(cluster, namespace, kubectl):
    kubectl.create([pod(namespace, f"web-{n}") for n in range(100)])
    pods = await cluster.pods(namespace)
    report = await cluster.nudge(pods, "1")
    assert len(report.nudged) == 100
    assert asyncio.all_tasks() - {asyncio.current_task()}  # the event recorder still runs
