"""When no candidate is on trial: wait until the pods are where they should be, and say so."""

from datetime import timedelta

from promptrollout.api.status import Pin
from promptrollout.rollout.delivering import acknowledged_at, assumes, describe_waiting, overdue, serve
from promptrollout.rollout.turn import Turn

#: How often pods that are overdue are looked at again.
LOOK_AGAIN = timedelta(seconds=30)


def settle(turn: Turn) -> None:
    """Follow the last delivery to its end."""
    loaded_at = acknowledged_at(turn)
    if turn.status.delivered is None:
        return
    if loaded_at is None:
        late = overdue(turn)
        what = describe_waiting(turn)
        turn.wait(f"{what}; look at those pods" if late else what)
        if late:
            turn.wake(turn.now + LOOK_AGAIN)
        return
    rollback = turn.status.rollback
    if rollback and turn.status.rejected and not (rollback.acknowledged_at or rollback.undelivered):
        delivered = turn.status.delivered
        written_at = delivered.written_at if delivered else None
        turn.set(rollback=rollback.but(written_at=written_at, acknowledged_at=loaded_at))
        span = max((loaded_at - rollback.decided_at).total_seconds(), 0.0)
        back = "all pods are taken to be" if assumes(turn) else "all pods are"
        turn.note("RollbackComplete", f"{back} back at stable {span:.2f} s after the decision")


def end_drain(turn: Turn) -> None:
    """Let drained pins go when their time is over."""
    delivered = turn.status.delivered
    if delivered is None or not delivered.pins:
        return
    live: list[Pin] = [pin for pin in delivered.pins if pin.until > turn.now]
    for pin in live:
        turn.wake(pin.until)
    if len(live) < len(delivered.pins):
        serve(turn, delivered.arms, pins=live, shadow=delivered.shadow)
