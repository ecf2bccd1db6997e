"""What pods are told to serve, and whether they have loaded it."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from promptrollout.api.quantities import WHOLE, parse_weight
from promptrollout.api.spec import Acknowledge, AcknowledgeMode
from promptrollout.api.status import Acknowledged, Arm, Delivered, Pin
from promptrollout.rollout.turn import Turn

#: How many pod names a status lists.
_NAMED = 10


def salt_for(uid: str, stable: str, candidate: str) -> str:
    """The assignment's salt: another one for each candidate, the same one when it is tried again."""
    return hashlib.sha256(f"{uid}\x1f{stable}\x1f{candidate}".encode()).hexdigest()[:16]


def arms_of(stable: str, candidate: str = "", weight: int = 0) -> list[Arm]:
    """Candidate first, stable last: so that a ramp only ever moves units from stable to candidate."""
    arms = [Arm(name="candidate", revision=candidate, weight=weight)] if candidate else []
    return [*arms, Arm(name="stable", revision=stable, weight=WHOLE - weight)]


def serve(turn: Turn, arms: list[Arm], salt: str | None = None, pins: Sequence[Pin] = ()) -> None:
    """Tell pods to serve these arms; nothing changes if they are told so already."""
    old = turn.status.delivered
    salt = salt if salt is not None else (old.salt if old else "")
    if old and (old.arms, old.salt, old.pins) == (arms, salt, list(pins)):
        return
    reweighted = old is None or old.arms != arms
    turn.set(
        delivered=Delivered(
            sequence=(old.sequence if old else 0) + 1,
            exposure=(old.exposure if old else 0) + int(reweighted),
            salt=salt,
            arms=arms,
            pins=list(pins),
            changed_at=turn.now,
        )
    )


def candidate_weight(delivered: Delivered | None) -> int:
    """The weight (1/10,000) of the arm `candidate`; 0 if there is none."""
    return next((a.weight for a in delivered.arms if a.name == "candidate"), 0) if delivered else 0


def acknowledged_at(turn: Turn) -> datetime | None:
    """When the pods had loaded what is delivered now; None until then."""
    return turn.status.delivered.acknowledged.at if turn.status.delivered else None


def observe_delivery(turn: Turn) -> None:
    """Take what was seen of the ConfigMap and of the pods into the status."""
    delivered = turn.status.delivered
    if delivered is None:
        return
    if turn.seen.written and turn.seen.written[0] == delivered.sequence and delivered.written_at is None:
        delivered = delivered.but(written_at=turn.seen.written[1])
    if delivered.written_at and delivered.acknowledged.at is None:
        delivered = delivered.but(acknowledged=_acknowledge(turn, delivered, delivered.written_at))
    turn.set(delivered=delivered)


def _acknowledge(turn: Turn, delivered: Delivered, written_at: datetime) -> Acknowledged:
    rules = turn.spec.delivery.acknowledge if turn.spec else Acknowledge()
    if rules.mode is AcknowledgeMode.NONE:
        loaded_at = written_at + turn.span(rules.assume_loaded_after)
        if turn.now >= loaded_at:
            return Acknowledged(at=loaded_at)
        turn.wake(loaded_at)
        return delivered.acknowledged
    if turn.seen.pods is None or turn.seen.pods.unavailable:
        return delivered.acknowledged
    ready, loaded = turn.seen.pods.ready, turn.seen.pods.loaded
    have = {p: loaded[p].at for p in ready if p in loaded and loaded[p].sequence >= delivered.sequence}
    missing = sorted(set(ready) - have.keys())
    # A rollback is over when the last pod is back; on the way up the spec's quorum is enough.
    share = WHOLE if turn.status.rejected else parse_weight(rules.quorum)
    enough = len(have) * WHOLE >= ceil(len(ready) * share)
    return Acknowledged(
        pods=len(have),
        of=len(ready),
        waiting_for=missing[:_NAMED],
        at=max([written_at, *have.values()]) if enough else None,
    )


def overdue(turn: Turn) -> bool:
    """Whether pods have had their time to load the payload; asks to be woken when that is."""
    delivered = turn.status.delivered
    if delivered is None or turn.spec is None:
        return False
    due = delivered.changed_at + turn.span(turn.spec.delivery.acknowledge.timeout)
    if turn.now < due:
        turn.wake(due)
    return turn.now >= due


def describe_waiting(turn: Turn) -> str:
    """Which pods have not loaded the payload yet, in a phrase."""
    delivered = turn.status.delivered
    if delivered is None or delivered.written_at is None:
        return "the ConfigMap is being written"
    if turn.seen.pods and turn.seen.pods.unavailable:
        return f"what the pods have loaded cannot be read: {turn.seen.pods.unavailable}"
    seen = delivered.acknowledged
    if not seen.of:
        return "waiting for the pods' word on what they have loaded"
    names = ", ".join(seen.waiting_for[:3])
    more = f" and {seen.of - seen.pods - 3} more" if seen.of - seen.pods > 3 else ""
    return f"{seen.pods} of {seen.of} pods have loaded it, waiting for {names}{more}"


def seconds(span: timedelta) -> float:
    """A length of time in seconds, to the millisecond, as status keeps it."""
    return round(span.total_seconds(), 3)
