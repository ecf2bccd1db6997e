"""Observe: everything one decision may depend on, gathered from memory and, where that is empty, from the cluster."""

from datetime import datetime

from promptrollout.api.base import COMMAND_ANNOTATION, COMMANDED_BY_ANNOTATION
from promptrollout.api.problem import Problem
from promptrollout.api.resource import KIND
from promptrollout.api.status import PromptChanges, RolloutStatus
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.controller.children import KIND_LABEL, ROLLOUT_LABEL, documents_in
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.outlook import outlook
from promptrollout.controller.parsed import OWN, Parsed
from promptrollout.delivery import (
    WHOLE,
    ArmWeight,
    Payload,
    PayloadError,
    PayloadTooLargeError,
    parse,
    render,
)
from promptrollout.revision import changes_between
from promptrollout.rollout import Command, Observations
from promptrollout.rollout.payload import config_map_name, pinned_of


async def read_children(cluster: Cluster, entry: Entry, parsed: Parsed) -> Children:
    """The rollout's ConfigMaps: the payload by its name, revisions by label and owner."""
    key, uid = entry.seen.key, entry.seen.uid
    children = Children()
    if parsed.spec is not None:
        name = config_map_name(key.name, parsed.spec)
        children.payload = await cluster.get_configmap(ObjectKey(key.namespace, name))
    if children.payload is not None and children.payload.controlled_by(uid):
        children.documents |= documents_in(children.payload.data)
    mine = {ROLLOUT_LABEL: key.name, KIND_LABEL: "revision"}
    async for found in cluster.list_configmaps(key.namespace, mine):
        if not found.controlled_by(uid) or not found.immutable:
            continue
        documents = documents_in(found.data)
        children.documents |= documents
        children.revisions |= dict.fromkeys(documents, found)
    return children


def observe(
    entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus, now: datetime
) -> Observations:
    """What `decide` is told, but for the answers of gates."""
    seen = entry.seen
    entry.written = entry.written or _found_written(children, now)
    command = seen.annotations.get(COMMAND_ANNOTATION)
    return Observations(
        uid=seen.uid,
        generation=seen.generation,
        wanted=parsed.wanted.short if parsed.wanted and not parsed.problems else "",
        problems=parsed.problems or _too_large(entry, parsed, children, status),
        blocked=_blocked(entry, parsed, children, status),
        unresolved=parsed.unresolved,
        source=parsed.sources.get(OWN),
        arm_sources={arm: seen for arm, seen in parsed.sources.items() if arm != OWN},
        changes=_changes(parsed, children, status),
        written=entry.written,
        pods=entry.pods,
        arms={name: revision.short for name, revision in parsed.arms.items()},
        comparisons=tuple(entry.comparisons.values()),
        command=Command.parse(command, commander(seen)) if command else None,
        kept=entry.kept,
        decidable=outlook(entry, parsed),
        texts=frozenset(children.documents),
    )


def commander(seen: RolloutObject) -> str:
    """Who gave the command, as far as it can be known: the API server does not write down who changed an object."""
    client = seen.managers.get(COMMAND_ANNOTATION, "")
    using = f"client {client}" if client else "an unnamed client"
    name = seen.annotations.get(COMMANDED_BY_ANNOTATION, "").strip()
    return f"{name} ({using})" if name else using


def _found_written(children: Children, now: datetime) -> tuple[int, datetime] | None:
    """After a restart: what the ConfigMap says of itself; when it was written is known as `now` at the latest."""
    if children.payload is None:
        return None
    try:
        return parse(children.payload.data).sequence, now
    except PayloadError:
        return None


def _too_large(
    entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus
) -> tuple[Problem, ...]:
    """Old, new and what is drained must fit into one ConfigMap, or the new one cannot be delivered at all."""
    if parsed.spec is None or parsed.wanted is None or status.stable is None:
        return ()
    stable, wanted = status.stable.revision, {each.short: each.document for each in parsed.revisions}
    documents = {**children.documents, **wanted}
    drained = pinned_of(status.delivered) if status.delivered else ()
    pinned = tuple(pin for pin in drained if pin.revision in documents)
    arms = [ArmWeight(short, short, 0) for short in wanted if short != stable]
    if not arms or stable not in documents:
        return ()
    payload = Payload(
        str(entry.seen.key),
        1,
        1,
        parsed.spec.assignment.unit,
        "0" * 16,
        (*arms, ArmWeight("stable", stable, WHOLE)),
        pinned,
    )
    try:
        render(payload, documents, flagd=parsed.spec.delivery.flagd)
    except PayloadTooLargeError as error:
        wait = f", or wait until the last is drained at {max(pin.until for pin in pinned)}" if pinned else ""
        return (Problem("spec.prompt", f"old and new together are {error}", f"shorten the prompt{wait}"),)
    return ()


def _changes(parsed: Parsed, children: Children, status: RolloutStatus) -> PromptChanges | None:
    """What a prompt that is about to become the candidate changes against stable."""
    if parsed.wanted is None or status.stable is None:
        return None
    stable, candidate, wanted = status.stable.revision, status.candidate, parsed.wanted.short
    if stable == wanted or stable not in children.documents or (candidate and candidate.revision == wanted):
        return None
    found = changes_between(children.documents[stable], parsed.wanted.document)
    return PromptChanges(
        variables_added=list(found.variables.added),
        variables_dropped=list(found.variables.removed),
        settings=list(found.settings),
    )


def _foreign(payload: ConfigMapObject, rollout: str) -> str:
    """Whose the ConfigMap is that pods should mount, and what to do."""
    owner = payload.controller
    other = owner is not None and owner.kind == KIND
    if owner and other and owner.name == rollout:
        return (
            f"ConfigMap {payload.key} is still that of an earlier rollout of this name, so it is not touched: "
            "it goes with that one, as a rule within seconds; if it stays, delete it"
        )
    anew = "create this rollout anew with another spec.delivery.configMapName (it cannot be changed)"
    whose = f"it belongs to {owner.kind} {owner.name}" if owner else "it has no owner"
    cure = f"{anew}, since two cannot share one" if other else f"delete it, or {anew}"
    return f"ConfigMap {payload.key} is not this rollout's own ({whose}), so it is not touched: {cure}"


def _blocked(entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus) -> str:
    payload = children.payload
    if payload is not None and not payload.controlled_by(entry.seen.uid):
        return _foreign(payload, entry.seen.key.name)
    if status.delivered is None:
        return ""
    live = {arm.revision for arm in status.delivered.arms} | {pin.revision for pin in status.delivered.pins}
    known = set(children.documents)
    if parsed.wanted is not None:
        known |= {revision.short for revision in parsed.revisions}
    lost = sorted(live - known)
    if not lost:
        return ""
    return (
        f"the text of revision {', '.join(lost)} is lost: neither its ConfigMap {entry.seen.key.name}-rev-{lost[0]} "
        "nor the delivered copy exists. Weights stand. Restore that ConfigMap from a backup, or write that prompt "
        "into spec.prompt again"
    )
