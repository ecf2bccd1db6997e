"""Apply: first what a status will refer to, then the status, then the ConfigMap, then the nudge.

Whatever dies in between is repaired by the next turn: the payload is a pure function of spec and status.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from promptrollout.cluster.errors import AlreadyExists, ClusterError, Conflict, Fenced, NotFound
from promptrollout.cluster.mergepatch import merge_patch
from promptrollout.cluster.objects import ConfigMapContent, ConfigMapObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.cluster.values import Json
from promptrollout.controller.children import documents_in, payload_content, revision_content
from promptrollout.controller.failing import message_of
from promptrollout.controller.heralding import Herald
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.parsed import Parsed
from promptrollout.controller.telemetry import Telemetry
from promptrollout.delivery import render
from promptrollout.revision import Revision, seal
from promptrollout.rollout import Decision, Note, in_trial
from promptrollout.rollout.payload import config_map_name, payload_of

log = logging.getLogger(__name__)
_OLD_DEFINITION = (
    "its CustomResourceDefinition is older than this operator. Apply the crds of this operator's release"
)


class RevisionNotKeptError(Exception):
    """The ConfigMap of a revision cannot be made, for the ClusterError that is the cause; nothing else was written."""


class Applier:
    """Writes what was decided."""

    def __init__(
        self, cluster: Cluster, clock: Callable[[], datetime], telemetry: Telemetry, herald: Herald
    ) -> None:
        self._cluster = cluster
        self._herald = herald
        self._clock = clock
        self._telemetry = telemetry

    async def apply(
        self, entry: Entry, parsed: Parsed, children: Children, decision: Decision, *, keep: bool = True
    ) -> bool:
        """Make the cluster what the decision says; whether the payload was written.

        Without `keep` no revision gets a ConfigMap of its own: the decision must bring no new one.

        Raises:
            RevisionNotKeptError: and nothing was written.
            Conflict: the rollout has changed since it was observed; nothing of the decision counts.
            ClusterError: a write failed; the next turn does it again.
        """
        if keep:
            try:
                await self._keep_revisions(entry, parsed, children, decision)
            except (Conflict, NotFound, Fenced):
                raise
            except ClusterError as error:
                raise RevisionNotKeptError(str(error)) from error
        before, wanted = entry.seen, decision.status.to_wire()
        if entry.trouble:  # until a whole turn has gone well
            wanted = {**wanted, **message_of(entry.trouble)}
        entry.wrote(await self._cluster.patch_status(before, wanted))
        if entry.seen.resource_version != before.resource_version:
            self._say_dropped(entry, wanted)
        for note in decision.notes:
            self._tell(entry, note, before.status)
        return await self._write_payload(entry, parsed, children, decision)

    def _tell(self, entry: Entry, note: Note, before: Json) -> None:
        self._herald.tell(entry.seen, note, before)
        self._telemetry.decisions.labels(note.reason).inc()
        log.info("%s: %s: %s", entry.seen.key, note.reason, note.message)

    def _say_dropped(self, entry: Entry, wanted: Json) -> None:
        """An API server with an older definition drops what it does not know, and says nothing."""
        missing = merge_patch(entry.seen.status, wanted)
        dropped = ", ".join(sorted(f"status.{name}" for name, value in missing.items() if value is not None))
        if dropped and dropped != entry.dropped:
            said = f"the API server did not keep {dropped}: {_OLD_DEFINITION}"
            self._herald.tell(entry.seen, Note("Warning", "StatusDropped", said))
            log.error("%s: %s", entry.seen.key, said)
        entry.dropped = dropped

    async def _keep_revisions(
        self, entry: Entry, parsed: Parsed, children: Children, decision: Decision
    ) -> None:
        """Every live revision has its immutable ConfigMap before a status names it; a deleted one comes back."""
        for wanted in parsed.revisions if not parsed.problems else ():
            children.documents.setdefault(wanted.short, dict(wanted.document))
        live = _live(decision)
        if not parsed.problems:
            # Sealed at once: where it came from may not have it tomorrow.
            live |= {seen.revision for seen in parsed.sources.values() if seen.revision}
        for short in live:
            if short not in children.revisions and short in children.documents:
                revision = seal(children.documents[short])
                children.revisions[short] = await self._create_revision(entry, revision)

    async def _create_revision(self, entry: Entry, revision: Revision) -> ConfigMapObject:
        content = revision_content(entry.seen, revision)
        try:
            return await self._cluster.create_configmap(content)
        except AlreadyExists:
            return await self._adopt(entry, content, revision)

    async def _adopt(self, entry: Entry, content: ConfigMapContent, revision: Revision) -> ConfigMapObject:
        """One of that name is there: ours and whole is fine, ours and broken is made anew, another's is an error."""
        found = await self._cluster.get_configmap(content.key)
        if found is None:
            return await self._cluster.create_configmap(content)
        if not found.controlled_by(entry.seen.uid):
            raise ClusterError(
                f"create ConfigMap {content.key}", "one of that name belongs to another; delete it"
            )
        if found.immutable and revision.short in documents_in(found.data):
            return found
        await self._cluster.delete_configmap(found)
        return await self._cluster.create_configmap(content)

    async def _write_payload(
        self, entry: Entry, parsed: Parsed, children: Children, decision: Decision
    ) -> bool:
        key, delivered = entry.seen.key, decision.status.delivered
        if parsed.spec is None or delivered is None or _blocked(entry, children):
            return False
        payload = payload_of(str(key), parsed.spec, decision.status)
        if payload is None or any(short not in children.documents for short in payload.revisions):
            return False
        data = render(payload, children.documents, flagd=parsed.spec.delivery.flagd)
        content = payload_content(entry.seen, config_map_name(key.name, parsed.spec), data)
        before = children.payload
        if before is None:
            what = "was deleted"
            children.payload = await self._cluster.create_configmap(content)
        elif before.immutable:
            # Nothing could be taken back by it any more.
            what = "had been made immutable (pods that saw it so take no change before they are restarted)"
            await self._cluster.delete_configmap(before)
            children.payload = None
            children.payload = await self._cluster.create_configmap(content)
        else:
            what = "had been changed"
            children.payload = await self._cluster.update_configmap(before, content)
            if children.payload.resource_version == before.resource_version:
                return False
        repaired = entry.written is not None and entry.written[0] == delivered.sequence
        entry.written = (delivered.sequence, self._clock())
        if repaired or (before is not None and before.immutable):
            said = f"ConfigMap {content.key} {what} and is restored"
            self._herald.tell(entry.seen, Note("Warning", "PayloadRepaired", said))
        return True

    async def trim_history(self, parsed: Parsed, children: Children, decision: Decision) -> None:
        """Delete revision ConfigMaps that neither are served nor stand in the history any more.

        Raises:
            ClusterError: that is refused; nothing else needs it.
        """
        if parsed.spec is None or parsed.wanted is None:
            return
        keep = {entry.revision for entry in decision.status.history} | _live(decision)
        keep |= {revision.short for revision in parsed.revisions}
        for short in sorted(children.revisions.keys() - keep):
            await self._cluster.delete_configmap(children.revisions[short])
            del children.revisions[short]
            children.documents.pop(short, None)


def _live(decision: Decision) -> set[str]:
    """What pods may be told, and what gates are asked about before that."""
    delivered = decision.status.delivered
    tried = {arm.revision for arm in in_trial(decision.status)}
    if delivered is None:
        return tried
    return tried | {arm.revision for arm in delivered.arms} | {pin.revision for pin in delivered.pins}


def _blocked(entry: Entry, children: Children) -> bool:
    return children.payload is not None and not children.payload.controlled_by(entry.seen.uid)
