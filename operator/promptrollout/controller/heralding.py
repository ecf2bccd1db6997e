"""Tells people what happens: an Event for each thing, and a notification to the channels that want it.

It never waits and never raises: what becomes of a notification is the dispatcher's affair, in tasks of its own.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from promptrollout.api.notify import Notify
from promptrollout.api.reasons import ABOUT_CHANNELS, REASONS, TOLD
from promptrollout.api.spec import RolloutSpec
from promptrollout.cluster.objects import ObjectKey, ObjectRef, RolloutObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.cluster.values import Json, mapping_at, text_at
from promptrollout.controller.logs import without_secrets
from promptrollout.notify import ALL, Hooks, Notification, NotificationsConfig, Result, dispatcher_of
from promptrollout.rollout import Note

log = logging.getLogger(__name__)

_VERDICTS = {
    "Harmed": "worse than stable",
    "NonInferior": "no worse than stable, within the margins",
    "Inconclusive": "not decided yet",
    "NoData": "no data yet",
}


@dataclass(frozen=True, slots=True)
class _Heeded:
    """A rollout as its last turn had it, and whom it wants to be told."""

    ref: ObjectRef
    wishes: Sequence[Notify] | None


class Herald:
    """Tells Events and channels.

    Args:
        config: the channels.
        result: told what becomes of each notification, with the channel's name.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: NotificationsConfig,
        result: Callable[[str, Result], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._clock = clock
        self._heeded: dict[ObjectKey, _Heeded] = {}
        self.dispatcher = dispatcher_of(config, Hooks(result, self._failed))

    def heed(self, seen: RolloutObject, spec: RolloutSpec | None) -> None:
        """Remember whom a rollout wants to be told; what of that there is not is said once."""
        old = self._heeded.get(seen.key)
        before = old.wishes if old else None
        wishes = spec.notify if spec is not None else before  # what cannot be read says what it said before
        self._heeded[seen.key] = _Heeded(seen.ref, wishes)
        if wishes and (old is None or old.wishes != wishes):
            for said in self._unknown(seen.key.namespace, wishes):
                self.tell(seen, Note("Warning", "NotificationUnknown", said))

    def forget(self, key: ObjectKey) -> None:
        """The rollout is gone."""
        self._heeded.pop(key, None)

    def tell(self, seen: RolloutObject, note: Note, before: Json | None = None) -> None:
        """An Event, and word to the channels that want it; `before` is the status before this happened."""
        self._cluster.emit(seen.ref, note.type, note.reason, note.message)
        if note.reason in ABOUT_CHANNELS or not self._config.channels:
            return
        try:
            for name in self._listening(seen.key, note.reason):
                self.dispatcher.post(name, self._notification(seen, note, before or {}))
        except Exception:  # no notification is worth a decision
            log.exception("%s: %s could not be put to the channels", seen.key, note.reason)

    def _listening(self, key: ObjectKey, reason: str) -> Iterator[str]:
        heeded = self._heeded.get(key)
        wishes = heeded.wishes if heeded else None
        if wishes is None:
            wishes = [Notify(channel=name) for name in self._config.default_channels]
        for wish in wishes:
            channel = self._config.channels.get(wish.channel)
            if channel is None or not _open_to(channel.namespaces, key.namespace):
                continue
            wanted = next((each for each in (wish.reasons, channel.reasons) if each is not None), TOLD)
            if ALL in wanted or reason in wanted:
                yield wish.channel

    def _notification(self, seen: RolloutObject, note: Note, before: Json) -> Notification:
        status = seen.status
        about = f"{seen.uid}|{seen.resource_version}|{note.reason}|{note.message}"
        return Notification(
            id=hashlib.sha256(about.encode()).hexdigest()[:32],
            at=self._clock(),
            namespace=seen.key.namespace,
            rollout=seen.key.name,
            type=note.type,
            reason=note.reason,
            message=without_secrets(note.message),
            phase=text_at(status, "phase"),
            step=text_at(status, "step"),
            weight=text_at(status, "weight"),
            stable=text_at(status, "stableRevision"),
            candidate=text_at(status, "candidateRevision") or text_at(before, "candidateRevision"),
            verdict=_verdict(status) or _verdict(before),
        )

    def _unknown(self, namespace: str, wishes: Sequence[Notify]) -> Iterator[str]:
        there = [n for n, channel in self._config.channels.items() if _open_to(channel.namespaces, namespace)]
        known = ", ".join(sorted(there)) or "none"
        for number, wish in enumerate(wishes):
            path = f"spec.notify[{number}]"
            if wish.channel not in there:
                yield (
                    f"{path}.channel: {wish.channel!r} is not configured for namespace {namespace}; use one of: "
                    f"{known}. Channels are named in the operator's configuration; nothing else waits for this"
                )
            for reason in wish.reasons or ():
                if reason != ALL and reason not in REASONS:
                    yield f"{path}.reasons: {reason!r} is no reason of an Event; docs/events.md lists them"

    def _failed(self, channel: str, told: Notification, why: str) -> None:
        heeded = self._heeded.get(ObjectKey(told.namespace, told.rollout))
        if heeded is not None:
            said = (
                f"channel {channel} was not told of {told.reason}: {why}. Have the operator's administrator "
                "look at the channel; the rollout goes on"
            )
            note = Note("Warning", "NotificationFailed", said)
            self._cluster.emit(heeded.ref, note.type, note.reason, note.message)


def _open_to(namespaces: Sequence[str], namespace: str) -> bool:
    return not namespaces or namespace in namespaces


def _verdict(status: Json) -> str:
    if not text_at(status, "candidateRevision"):
        return ""
    verdict = text_at(mapping_at(status, "analysis"), "verdict")
    return _VERDICTS.get(verdict, verdict)
