"""A pod's status is what kubelet would report."""

from datetime import UTC, datetime, timedelta

import pytest

from e2e.objects import KubeObject
from e2e.workload.pod import worth_a_sync
from e2e.workload.status import ContainerState, phase, pod_status

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUNNING = ContainerState("chat", "image", started=NOW, ready=True)
POD = KubeObject({"metadata": {"name": "a"}, "spec": {"restartPolicy": "Always"}})


@pytest.mark.parametrize(
    ("state", "policy", "expected"),
    [
        (ContainerState("c", "i", waiting="ContainerCreating"), "Always", "Pending"),
        (RUNNING, "Always", "Running"),
        (ContainerState("c", "i", waiting="CrashLoopBackOff", exit_code=1, restarts=2), "Always", "Running"),
        (ContainerState("c", "i", started=NOW, exit_code=0), "Never", "Succeeded"),
        (ContainerState("c", "i", started=NOW, exit_code=3), "Never", "Failed"),
        (ContainerState("c", "i", started=NOW, exit_code=0), "OnFailure", "Succeeded"),
    ],
)
def test_the_phase_follows_from_the_containers(state: ContainerState, policy: str, expected: str) -> None:
    assert phase([state], policy) == expected


def test_a_running_and_ready_container_makes_the_pod_ready() -> None:
    status = KubeObject({"status": pod_status(POD, [RUNNING], NOW)})
    assert status.condition("Ready").text("status") == "True"
    assert status.text("status.podIP") == "127.0.0.1"


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    status = KubeObject({"status": pod_status(POD, [RUNNING], NOW, terminating=True)})
    assert status.condition("Ready").text("status") == "False"


def test_a_condition_keeps_its_transition_time_until_it_changes() -> None:
    first = pod_status(POD, [RUNNING], NOW)
    later = NOW + timedelta(minutes=5)
    same = KubeObject({"status": pod_status(KubeObject({**POD.raw, "status": first}), [RUNNING], later)})
    assert same.condition("Ready").text("lastTransitionTime") == "2026-11-23T12:00:00Z"
    stopped = ContainerState("chat", "image", waiting="CrashLoopBackOff", exit_code=1, restarts=1)
    changed = KubeObject({"status": pod_status(KubeObject({**POD.raw, "status": first}), [stopped], later)})
    assert changed.condition("Ready").text("lastTransitionTime") == "2026-11-23T12:05:00Z"


def test_an_annotation_starts_a_sync_and_a_status_does_not() -> None:
    nudged = KubeObject(
        {"metadata": {"name": "a", "annotations": {"x": "1"}}, "spec": {"restartPolicy": "Always"}}
    )
    reported = KubeObject({**POD.raw, "status": {"phase": "Running"}})
    assert worth_a_sync(POD, nudged)
    assert not worth_a_sync(POD, reported)
