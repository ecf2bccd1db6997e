"""What people are told because of how a rollout stands now and stood before, whichever concern made it so."""

from promptrollout.api.status import Condition, ConditionStatus, Phase, RolloutStatus
from promptrollout.rollout.decision import Note

_ARRIVING = frozenset({Phase.DELIVERING, Phase.DEGRADED})


def announcements(before: RolloutStatus, after: RolloutStatus) -> list[Note]:
    """Each is told once, when it begins: status remembers how it stood."""
    told: list[Note] = []
    valid = _of(after, "Valid")
    if after.phase is Phase.INVALID and (before.phase is not Phase.INVALID or _of(before, "Valid") != valid):
        told.append(Note("Warning", "Invalid", after.message))
    elif before.phase is Phase.INVALID and after.phase is not Phase.INVALID:
        told.append(
            Note("Normal", "Valid", f"it can be followed again ({after.phase.value}): {after.message}")
        )
    overdue = _of(after, "Delivered")
    if overdue[0] == _OVERDUE and _of(before, "Delivered")[0] != _OVERDUE:
        said = f"delivery.acknowledge.timeout is over: {overdue[1]}; look at those pods"
        told.append(Note("Warning", "PodsOverdue", said))
    if (
        _of(before, "MetricsAvailable")[0] == _BLIND
        and _status(after, "MetricsAvailable") is ConditionStatus.TRUE
    ):
        told.append(Note("Normal", "MetricsAvailable", "the metrics can be read again"))
    if after.phase is Phase.HEALTHY and before.phase in _ARRIVING:
        told.append(Note("Normal", "Completed", f"the pods have loaded it: {after.message}"))
    return told


_OVERDUE, _BLIND = "AcknowledgementOverdue", "SourceError"


def _condition(status: RolloutStatus, kind: str) -> Condition | None:
    return next((one for one in status.conditions if one.type == kind), None)


def _of(status: RolloutStatus, kind: str) -> tuple[str, str]:
    """Reason and message."""
    one = _condition(status, kind)
    return (one.reason, one.message) if one else ("", "")


def _status(status: RolloutStatus, kind: str) -> ConditionStatus | None:
    one = _condition(status, kind)
    return one.status if one else None
