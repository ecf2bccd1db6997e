"""When each change came into each container, by the container's own file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from e2e.application import Application
from e2e.realnode.stack import RealStack
from e2e.recorder import ROLLOUTS
from e2e.views import Status, moment


def arrivals(stack: RealStack, application: Application) -> Mapping[str, Mapping[int, float]]:
    """By pod and sequence: when the file in its mount first had it, in seconds since the epoch."""
    found = {}
    for pod in stack.pods(application):
        said = stack.kubectl("logs", "-n", application.namespace, pod.name, "-c", "watching")
        found[pod.name] = {
            int(number): float(at) for at, number in (line.split() for line in said.splitlines())
        }
    return found


def file_lags(stack: RealStack, application: Application) -> list[float]:
    """Seconds from each write of the ConfigMap, as the operator recorded it, to each container; the first left out."""
    written: dict[int, float] = {}
    for status in _statuses(stack, application):
        at = moment(status.raw.text("status.delivered.writtenAt"))
        if at is not None:
            written[status.sequence] = at.timestamp()
    del written[min(written)]
    return _lags(written, arrivals(stack, application))


def rollback_lags(stack: RealStack, application: Application) -> list[float]:
    """Seconds from the decision of each rollback to the file of stable alone in each container."""
    decided: dict[str, int] = {}
    for status in _statuses(stack, application):
        at = status.rollback.text("decidedAt")
        if at:  # it stays in the status of what comes later
            decided.setdefault(at, status.sequence)
    since = {sequence: datetime.fromisoformat(at).timestamp() for at, sequence in decided.items()}
    return _lags(since, arrivals(stack, application))


def _statuses(stack: RealStack, application: Application) -> list[Status]:
    changes = stack.recorder.changes(ROLLOUTS, application.namespace, application.rollout)
    return [Status(change.object) for change in changes]


def _lags(since: Mapping[int, float], pods: Mapping[str, Mapping[int, float]]) -> list[float]:
    return [
        at - since[sequence] for pod in pods.values() for sequence, at in pod.items() if sequence in since
    ]
