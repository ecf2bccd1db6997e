"""What pods are told to serve, and whether they have loaded it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from promptrollout.api.base import Remembered
from promptrollout.api.quantities import WHOLE, parse_weight
from promptrollout.api.spec import Acknowledge, AcknowledgeMode
from promptrollout.api.status import Acknowledged, Arm, Candidate, Delivered, Pin, ShadowRun
from promptrollout.rollout.observations import STABLE
from promptrollout.rollout.turn import Turn, challengers, to_milliseconds

#: How many pod names a status lists.
_NAMED = 10


def salt_for(uid: str, stable: str, candidate: str) -> str:
    """The assignment's salt: another one for each candidate, the same one when it is tried again."""
    return hashlib.sha256(f"{uid}\x1f{stable}\x1f{candidate}".encode()).hexdigest()[:16]


def arms_of(
    stable: str, candidate: Candidate | None = None, weights: Mapping[str, int] | None = None
) -> list[Arm]:
    """Challengers first, in their order, stable last: so that weights only ever move units from and to stable.

    An arm that was dropped keeps its place and its weight, and serves stable: the units of the others do not move.
    """
    arms = [
        Arm(
            name=each.name,
            revision=stable if each.dropped else each.revision,
            weight=(weights or {}).get(each.name, 0),
        )
        for each in (challengers(candidate) if candidate else ())
    ]
    return [*arms, Arm(name=STABLE, revision=stable, weight=WHOLE - sum(arm.weight for arm in arms))]


def serve(
    turn: Turn,
    arms: list[Arm],
    salt: str | None = None,
    pins: Sequence[Pin] = (),
    shadow: ShadowRun | None = None,
) -> None:
    """Tell pods to serve these arms; nothing changes if they are told so already, and what is served needs no pin."""
    old, before = turn.status.delivered, turn.before
    live = {arm.revision for arm in arms}
    pins = [pin for pin in pins if pin.revision not in live]
    salt = salt if salt is not None else (old.salt if old else "")
    wanted = _told(arms, shadow, salt=salt, pins=pins)
    for same in (old, before):
        if same and _told(same.arms, same.shadow, salt=same.salt, pins=same.pins) == wanted:
            turn.set(delivered=same)
            return
    reweighted = before is None or _weights(before.arms, before.shadow) != _weights(arms, shadow)
    turn.set(
        delivered=Delivered(
            # Above what the ConfigMap says too: pods would take an old number for one that they have loaded.
            sequence=max(before.sequence if before else 0, turn.seen.written[0] if turn.seen.written else 0)
            + 1,
            exposure=(before.exposure if before else 0) + int(reweighted),
            salt=salt,
            arms=arms,
            pins=list(pins),
            shadow=shadow,
            changed_at=turn.now,
        )
    )


def _told(arms: Sequence[Arm], shadow: ShadowRun | None, *, salt: str, pins: Sequence[Pin]) -> object:
    return _weights(arms, shadow), salt, _known(pins)


def _weights(arms: Sequence[Arm], shadow: ShadowRun | None) -> object:
    return _known(arms), _known([shadow] if shadow else [])


def _known(parts: Sequence[Remembered]) -> list[tuple[object, ...]]:
    # What only a newer version knows of them must not look like other weights: evidence would begin anew.
    return [part.known for part in parts]


def running_pins(turn: Turn) -> list[Pin]:
    """Conversations that are being drained keep their time."""
    return list(turn.status.delivered.pins) if turn.status.delivered else []


def expose_anew(turn: Turn) -> None:
    """The same weights as a new exposure: what is counted per exposure starts anew."""
    if (delivered := turn.status.delivered) and (before := turn.before):
        turn.set(delivered=_again(turn, delivered, before.sequence, before.exposure))


def _again(turn: Turn, delivered: Delivered, sequence: int, exposure: int) -> Delivered:
    return delivered.but(
        sequence=sequence + 1,
        exposure=exposure + 1,
        changed_at=turn.now,
        written_at=None,
        acknowledged=Acknowledged(),
    )


def candidate_weight(delivered: Delivered | None) -> int:
    """The weight (1/10,000) of all that is on trial; 0 if nothing is."""
    if delivered is None:
        return 0
    stable = delivered.arms[-1].revision
    return sum(arm.weight for arm in delivered.arms if arm.revision != stable)


def on_trial(delivered: Delivered | None) -> bool:
    """Whether anything on trial answers at all, seen by users or in the shadow."""
    return delivered is not None and (delivered.shadow is not None or candidate_weight(delivered) > 0)


def acknowledged_at(turn: Turn) -> datetime | None:
    """When the pods had loaded what is delivered now; None until then."""
    return turn.status.delivered.acknowledged.at if turn.status.delivered else None


def observe_delivery(turn: Turn) -> None:
    """Take what was seen of the ConfigMap and of the pods into the status."""
    delivered = turn.status.delivered
    if delivered is None:
        return
    if turn.seen.written and turn.seen.written[0] > delivered.sequence:
        # A status from a backup: its number stands for other weights, and pods have loaded a later one.
        delivered = _again(turn, delivered, turn.seen.written[0], delivered.exposure)
        turn.warn(
            "StatusOutdated", "the ConfigMap is newer than the status; what status says is delivered again"
        )
    if turn.seen.written and turn.seen.written[0] == delivered.sequence and delivered.written_at is None:
        delivered = delivered.but(written_at=min(to_milliseconds(turn.seen.written[1]), turn.now))
    if delivered.written_at and delivered.acknowledged.at is None:
        seen = _acknowledge(turn, delivered, delivered.written_at)
        delivered = delivered.but(acknowledged=_note_stale_mounts(turn, delivered.acknowledged, seen))
    turn.before = delivered
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
    enough = len(have) * WHOLE >= len(ready) * share
    # A pod's clock may be ahead; what has happened has happened by now.
    latest = min(max([written_at, *map(to_milliseconds, have.values())]), turn.now)
    return Acknowledged(
        pods=len(have), of=len(ready), waiting_for=missing[:_NAMED], at=latest if enough else None
    )


def _note_stale_mounts(turn: Turn, before: Acknowledged, seen: Acknowledged) -> Acknowledged:
    """Said once for each delivery: without a restart such a pod goes on with what it started with."""
    pods = turn.seen.pods
    if pods is None or pods.unavailable:
        return seen.but(never_refreshed=before.never_refreshed)
    stale = sorted(pods.never_refreshed)
    if stale and not before.never_refreshed:
        turn.warn(
            "MountNeverRefreshed",
            f"{_listed(stale)} mount{'s' * (len(stale) == 1)} the ConfigMap by subPath, which kubelet never refreshes: "
            "mount it as a directory, and restart the pods",
        )
    return seen.but(never_refreshed=stale[:_NAMED])


def _listed(pods: Sequence[str]) -> str:
    more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
    return f"pod{'s' if len(pods) > 1 else ''} {', '.join(pods[:3])}{more}"


def assumes(turn: Turn) -> bool:
    """Whether nobody is asked what is loaded: a payload counts as loaded some time after its write."""
    return turn.spec is not None and turn.spec.delivery.acknowledge.mode is AcknowledgeMode.NONE


def nobody_to_load_it(turn: Turn) -> str:
    """That a payload counts as loaded because there was no pod for it, as a phrase; empty if there was one."""
    delivered = turn.status.delivered
    if delivered is None or turn.spec is None or assumes(turn):
        return ""
    loaded = delivered.acknowledged
    if (
        loaded.of or loaded.at is None or loaded.at != delivered.written_at
    ):  # as it is where nobody was waited for
        return ""
    if turn.spec.delivery.pod_selector is not None:
        return "no ready pod matched delivery.podSelector, so none was waited for"
    return (
        "no ready pod mounted its ConfigMap, so none was waited for; if they read it otherwise, name them by "
        "delivery.podSelector"
    )


def overdue(turn: Turn) -> bool:
    """Whether pods have had their time to load the payload; asks to be woken when that is."""
    delivered = turn.status.delivered
    if delivered is None or turn.spec is None or assumes(turn):
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
    if turn.spec is not None and assumes(turn):
        after = turn.spec.delivery.acknowledge.assume_loaded_after
        return f"it counts as loaded {after} after it was written: delivery.acknowledge.mode is None"
    if turn.seen.pods and turn.seen.pods.unavailable:
        return f"what the pods have loaded cannot be read: {turn.seen.pods.unavailable}"
    seen = delivered.acknowledged
    if not seen.of:
        return "waiting for the pods' word on what they have loaded"
    if seen.never_refreshed and set(seen.waiting_for) <= set(seen.never_refreshed):
        stale = _listed(seen.never_refreshed)
        return (
            f"{stale}: the ConfigMap is mounted by subPath, which is never refreshed: mount it as a directory"
        )
    names = ", ".join(seen.waiting_for[:3])
    more = f" and {seen.of - seen.pods - 3} more" if seen.of - seen.pods > 3 else ""
    return f"{seen.pods} of {seen.of} pods have loaded it, waiting for {names}{more}"


def seconds(span: timedelta) -> float:
    """A length of time in seconds, to the millisecond, as status keeps it."""
    return round(span.total_seconds(), 3)
