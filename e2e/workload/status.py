"""From what a pod's containers do to the status that kubelet would report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from e2e.objects import KubeObject


@dataclass(frozen=True)
class ContainerState:
    """One container. Exactly one of waiting (a reason), running, or exited (a code) holds."""

    name: str
    image: str
    waiting: str = ""
    started: datetime | None = None
    exit_code: int | None = None
    ready: bool = False
    restarts: int = 0
    message: str = ""

    @property
    def running(self) -> bool:
        return self.started is not None and self.exit_code is None

    def render(self) -> dict[str, Any]:
        if self.running:
            state: dict[str, Any] = {"running": {"startedAt": stamp(self.started)}}
        elif self.waiting:
            state = {"waiting": {"reason": self.waiting}}
        else:
            reason = "Completed" if self.exit_code == 0 else "Error"
            said = {"message": self.message} if self.message else {}
            state = {"terminated": {"exitCode": self.exit_code or 0, "reason": reason, **said}}
        return {
            "name": self.name,
            "image": self.image,
            "imageID": "",
            "ready": self.ready,
            "started": self.running,
            "restartCount": self.restarts,
            "state": state,
        }


def phase(containers: Sequence[ContainerState], restart_policy: str) -> str:
    """Pending, Running, Succeeded or Failed."""
    if any(container.waiting and container.restarts == 0 for container in containers):
        return "Pending"
    ended = all(container.exit_code is not None and not container.waiting for container in containers)
    if ended and restart_policy != "Always":
        failed = any(container.exit_code for container in containers)
        if not failed:
            return "Succeeded"
        if restart_policy == "Never":
            return "Failed"
    return "Running"


def pod_status(
    pod: KubeObject, containers: Sequence[ContainerState], now: datetime, *, terminating: bool = False
) -> Mapping[str, Any]:
    """The whole `status` of the pod; a condition keeps its transition time while it does not change."""
    current = phase(containers, pod.text("spec.restartPolicy") or "Always")
    ready = not terminating and current == "Running" and all(container.ready for container in containers)
    truths = {
        "PodScheduled": True,
        "Initialized": True,
        "PodReadyToStartContainers": current != "Pending",
        "ContainersReady": ready,
        "Ready": ready,
    }
    return {
        "phase": current,
        "conditions": [_condition(pod, kind, truth, now) for kind, truth in truths.items()],
        "containerStatuses": [container.render() for container in containers],
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "startTime": pod.text("status.startTime") or stamp(now),
        "qosClass": pod.text("status.qosClass") or "BestEffort",
    }


def _condition(pod: KubeObject, kind: str, truth: bool, now: datetime) -> dict[str, str]:  # noqa: FBT001 - a value
    status = str(truth)
    before = pod.condition(kind)
    since = before.text("lastTransitionTime") if before.text("status") == status else ""
    return {"type": kind, "status": status, "lastTransitionTime": since or stamp(now)}


def stamp(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else ""
