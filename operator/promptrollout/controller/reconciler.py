"""The wheel: observe -> decide -> apply, for one rollout at a time."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version

from promptrollout.api.parse import read_status
from promptrollout.api.spec import DeliveryMode
from promptrollout.api.status import RolloutStatus
from promptrollout.cluster.errors import Conflict, NamespaceTerminating, NotFound
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.controller.acknowledging import Acknowledgements, Awaited
from promptrollout.controller.applying import Applier, RevisionNotKeptError
from promptrollout.controller.failing import Failures
from promptrollout.controller.gates import runs_of
from promptrollout.controller.heralding import Herald
from promptrollout.controller.keeping import Job, Keeper
from promptrollout.controller.memory import Children, Entry, Memory, newer
from promptrollout.controller.observing import observe, read_children
from promptrollout.controller.parsed import Known, Parsed
from promptrollout.controller.references import References
from promptrollout.controller.resolving import Resolver
from promptrollout.controller.ruling import Ruled, Ruler
from promptrollout.controller.sampler import Followed, Sampler
from promptrollout.controller.telemetry import Telemetry
from promptrollout.delivery import seal_payload
from promptrollout.gates import GateKind, GateRunner, GatesConfig
from promptrollout.notify import NotificationsConfig
from promptrollout.registries import PromptRegistry
from promptrollout.rollout import (
    Comparison,
    Decision,
    KeptEvidence,
    Note,
    Observations,
    PodsSeen,
    checkpoint_of,
    decide,
)
from promptrollout.rollout.grounds import evidence_names
from promptrollout.rollout.payload import config_map_name, payload_of
from promptrollout.sources.protocol import MetricSource

log = logging.getLogger(__name__)

#: Others may write now and then. Whoever loses so often has a rival, another operator say, and had better slow down.
_OUTDATED_IN_A_ROW = 10


@dataclass(frozen=True, slots=True)
class Tuning:
    """How patient the shell is, in seconds."""

    default_mode: DeliveryMode = DeliveryMode.NUDGE
    acknowledge_poll: float = 2.0
    nudge_again: float = 30.0
    settle: float = 1.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What the operator's configuration names, by the names that rollouts may use."""

    sources: Mapping[str, MetricSource]
    registries: Mapping[str, PromptRegistry] = field(default_factory=dict)
    gates: GatesConfig = field(default_factory=GatesConfig)
    gate_kinds: Mapping[str, GateKind] = field(default_factory=dict)
    notifications: NotificationsConfig = field(default_factory=NotificationsConfig)


class Reconciler:
    """Owns what is known of all rollouts, and turns the wheel for one at a time.

    Args:
        enqueue: puts a key on the work queue, to be handled at once.
    """

    def __init__(
        self,
        cluster: Cluster,
        outside: Outside,
        enqueue: Callable[[ObjectKey], None],
        telemetry: Telemetry,
        tuning: Tuning,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.memory = Memory()
        self._cluster = cluster
        sources = outside.sources
        known = Known(frozenset(sources), frozenset(outside.registries), outside.gates)
        self.gates = GateRunner(outside.gate_kinds, self._enqueue_known)
        self._references = References(cluster, outside.registries, enqueue)
        self._resolver = Resolver(self._references)
        self._ruler = Ruler(cluster, References(cluster, {}, enqueue), self._resolver, known)
        self._enqueue = enqueue
        self._clock = clock
        self._tuning = tuning
        self.herald = Herald(cluster, outside.notifications, telemetry.notification, clock)
        self._applier = Applier(cluster, clock, telemetry, self.herald)
        self._failures = Failures(cluster, self.herald)
        self._keeper = Keeper(cluster, self.herald.tell, self._evidence_kept, version("promptrollout"))
        self.sampler = Sampler(sources, self._compared, clock, tuning.settle)
        self.acknowledgements = Acknowledgements(
            cluster,
            sources,
            self._acknowledged,
            clock,
            default_mode=tuning.default_mode,
            again=tuning.nudge_again,
        )

    # What the watches say.

    def rollout_changed(self, seen: RolloutObject) -> None:
        """A rollout was created or changed; the operator's own echoes are not news."""
        if self.memory.take(seen):
            self._enqueue(seen.key)

    def rollout_gone(self, key: ObjectKey) -> None:
        """A rollout was deleted; its ConfigMaps go by ownerReference."""
        self.memory.forget(key)
        self._resolver.leave(key)
        self._ruler.leave(key)
        self.sampler.leave(key)
        self.acknowledgements.leave(key)
        self._keeper.forget(key)
        self.herald.forget(key)
        self.gates.leave(key)

    def configmap_changed(self, seen: ConfigMapObject, *, gone: bool) -> None:
        """A ConfigMap of ours changed; unless that was our own write, the rollout's are read again."""
        owner = seen.controller
        key = ObjectKey(seen.key.namespace, owner.name if owner else "")
        entry = self.memory.entries.get(key)
        if entry is None or entry.children is None:
            return
        known = [entry.children.payload, *entry.children.revisions.values()]
        mine = next((c for c in known if c is not None and c.key == seen.key), None)
        if mine is None and gone:
            return
        if mine is not None and not gone and not newer(seen.resource_version, mine.resource_version):
            return
        entry.children = None
        self._enqueue(key)

    # What the analysis and the pods say.

    def _compared(self, key: ObjectKey, comparison: Comparison) -> None:
        if entry := self.memory.entries.get(key):
            entry.compared(comparison)
            self._enqueue(key)

    def _acknowledged(self, key: ObjectKey, pods: PodsSeen) -> None:
        if entry := self.memory.entries.get(key):
            entry.pods = pods
            self._enqueue(key)

    def _evidence_kept(self, key: ObjectKey, kept: KeptEvidence) -> None:
        if entry := self.memory.entries.get(key):
            entry.kept = (*entry.kept, kept)
            self._enqueue(key)

    def _enqueue_known(self, key: ObjectKey) -> None:
        if key in self.memory.entries:
            self._enqueue(key)

    # The wheel.

    async def handle(self, key: ObjectKey) -> datetime | None:
        """One turn for one rollout; when to turn again at the latest.

        Raises:
            ClusterError: the cluster could not be read or written; turn again later.
        """
        entry = self.memory.entries.get(key)
        if entry is None or entry.seen.deleted_at is not None:
            self.rollout_gone(key)
            return None
        try:
            try:
                wake_at = await self._turn(entry)
            except NamespaceTerminating:
                return None
            except (Conflict, NotFound):
                wake_at = await self._look_again(entry)
                entry.outdated += 1
                if wake_at is not None and entry.outdated > _OUTDATED_IN_A_ROW:
                    raise
                return wake_at
        except Exception as error:
            entry.children = None  # a write may have come through all the same: look before the next
            await self._failures.failed(entry, error)
            raise
        entry.outdated = 0
        return self._clock() if self._failures.over(entry) else wake_at

    async def _turn(self, entry: Entry) -> datetime | None:
        began, now = entry.seen, self._clock()
        reading = read_status(began.status)
        if reading.lost:
            # What cannot be read might be what is served: to decide without it could take it away.
            said = f"nothing is decided, what is served stays: {'; '.join(map(str, reading.lost))}"
            self.herald.tell(entry.seen, Note("Warning", "StatusUnreadable", said))
            log.error("%s: %s", entry.seen.key, said)
            return None
        status = reading.status
        ruled, children = await self._understood(entry, status, now)
        if entry.seen is not began:
            # What was understood is the version before: a decision on that would be told as one on this.
            return now
        parsed, answered = ruled.parsed, self.gates.answers(entry.seen.key)
        self.herald.heed(entry.seen, parsed.spec)
        observed_now = observe(entry, parsed, children, status, now)
        seen = replace(observed_now, gates=answered, policy=ruled.policy)
        try:
            return await self._carry_out(entry, parsed, children, (status, seen, now))
        except RevisionNotKeptError as error:
            # What is wanted cannot be had now; but neither harm nor a command may wait for that.
            why = f"what is wanted cannot be kept: {error}"
            without = replace(parsed, wanted=None, unresolved=why)
            told = (status, replace(seen, wanted="", unresolved=why), now)
            await self._carry_out(entry, without, children, told, keep=False)
            raise error.__cause__ or error from None

    async def _carry_out(
        self,
        entry: Entry,
        parsed: Parsed,
        children: Children,
        known: tuple[RolloutStatus, Observations, datetime],
        *,
        keep: bool = True,
    ) -> datetime | None:
        """Decide and apply; when to turn again at the latest."""
        status, seen, now = known
        decision = decide(parsed.spec, status, seen, now)
        observed = entry.seen.resource_version
        try:
            written = await self._applier.apply(entry, parsed, children, decision, keep=keep)
            if seen.blocked:
                entry.children = None  # what is in the way is not ours, so no watch tells when it is gone
            await self._follow(entry, parsed, children, decision, written=written)
            await self._applier.trim_history(parsed, children, decision)
        finally:
            # Last, so that nothing waits for it; but always when the status has it, whatever failed after that.
            if entry.seen.resource_version != observed:
                self._keep_evidence(entry, status, seen, decision)
        return decision.wake_at

    async def _understood(self, entry: Entry, status: RolloutStatus, now: datetime) -> tuple[Ruled, Children]:
        """The spec with its prompt and the policy's rules that count now, and the rollout's ConfigMaps."""
        started = await self._ruler.started(entry, status)
        if entry.children is None:
            entry.children = await read_children(self._cluster, entry, started)
        children = entry.children
        parsed = await self._resolver.resolved(entry, started, children, status)
        ruled = await self._ruler.ruled(entry, parsed, children, status, now)
        if started.spec is None:
            # Without a spec it is not known which ConfigMap pods mount: it is looked for when it is.
            entry.children = None
            if ruled.parsed.spec is not None:
                children = entry.children = await read_children(self._cluster, entry, ruled.parsed)
        return ruled, children

    def _keep_evidence(
        self, entry: Entry, before: RolloutStatus, seen: Observations, decision: Decision
    ) -> None:
        stable = before.stable.revision if before.stable else ""
        for said in seen.comparisons:
            pair = (said.arm, said.against)
            records = tuple(one for one in decision.decided if (one.arm, one.against) == pair)
            if records:
                self._keeper.keep(Job(entry.seen, stable, records, said))
        answered = frozenset(kept.name for kept in seen.kept)
        entry.kept = tuple(kept for kept in entry.kept if kept.name not in answered)
        self._keeper.answered(entry.seen.key, answered)
        named = evidence_names(decision.status)
        if (evidence_names(before) | answered) - named:
            self._keeper.keep(Job(entry.seen, named=named))

    async def _look_again(self, entry: Entry) -> datetime | None:
        """What was observed is out of date: read it all again, and decide anew."""
        key = entry.seen.key
        fresh = await self._cluster.get_rollout(key)
        if fresh is None:
            self.rollout_gone(key)
            return None
        self.memory.take(fresh)
        entry.children = None
        return self._clock()

    async def _follow(
        self, entry: Entry, parsed: Parsed, children: Children, decision: Decision, *, written: bool
    ) -> None:
        """Have the sampler and the pods' words follow what was decided."""
        key, spec = entry.seen.key, parsed.spec
        if spec and decision.gates is not None:
            self.gates.follow(key, runs_of(entry, spec, children, decision))
        planned = parsed.planned_for(shadow=any(each.shadow for each in decision.sampling))
        # By a spec that is invalid nothing is compared anew, unless a restart has left nothing that is.
        stands = bool(parsed.problems) and self.sampler.follows(key)
        if decision.sampling and spec and planned and not stands:
            followed = [Followed(each, checkpoint_of(decision.status, each)) for each in decision.sampling]
            self.sampler.follow(key, spec.analysis.source, followed, planned)
        elif decision.status.candidate is None:
            self.sampler.leave(key)
        if not decision.awaiting_pods:
            self.acknowledgements.rest(key)
            return
        payload = payload_of(str(key), spec, decision.status) if spec else None
        if spec is None or payload is None or any(r not in children.documents for r in payload.revisions):
            return
        sealed = seal_payload(payload, children.documents)
        name = config_map_name(key.name, spec)
        awaited = Awaited(key, spec.analysis.source, name, spec.delivery, sealed)
        await self.acknowledgements.follow(awaited, written=written)

    async def run_background(self) -> None:
        """Sample and ask for acknowledgements, for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.sampler.run(), name="sampler")
                tasks.create_task(self._keeper.run(), name="evidence")
                tasks.create_task(
                    self.acknowledgements.run(self._tuning.acknowledge_poll), name="acknowledgements"
                )
        finally:
            await self.gates.close()
            await self._references.close()
            await self._ruler.close()
