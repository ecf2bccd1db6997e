"""Keeping evidence: an immutable ConfigMap for what was decided, written after all that the decision changes.

The order: status, payload, nudge, then evidence, then (in the next turn) the status names it. So a rollback never
waits for its evidence, and no reference dangles. Should the process end in between, the decision stands and
its record says no evidence.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from promptrollout.analysis import assess
from promptrollout.analysis.keeping import DECISION, About, Decided, Files, figures, keep
from promptrollout.analysis.ledger import Ledger
from promptrollout.api.base import to_rfc3339
from promptrollout.api.status import DecisionRecord
from promptrollout.cluster.errors import AlreadyExists, ClusterError, NamespaceTerminating
from promptrollout.cluster.objects import ConfigMapContent, ObjectKey, RolloutObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.controller.children import EVIDENCE_KIND, KIND_LABEL, ROLLOUT_LABEL, evidence_content
from promptrollout.rollout import Comparison, KeptEvidence, Note

log = logging.getLogger(__name__)

#: Characters of a rollout's name in its evidence's, so that that stays within 253.
_NAME = 230
#: Seconds before each further try of a write that failed; the client's own retries are over by then.
_AGAIN_S = (5.0, 30.0, 120.0)


@dataclass(frozen=True, slots=True)
class Job:
    """Evidence to write (records and a comparison), or to trim.

    Attributes:
        named: what the status names: it stays.
        tries: how often it has failed.
    """

    owner: RolloutObject
    stable: str = ""
    records: tuple[DecisionRecord, ...] = ()
    comparison: Comparison | None = None
    named: frozenset[str] | None = None
    tries: int = 0


@dataclass(slots=True)
class _Told:
    """What is known of one rollout's evidence: earlier decisions of the trial, and what the status may yet name."""

    trial: tuple[str, int] = ("", 0)
    decisions: dict[tuple[str, str], list[Decided]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)


class Keeper:
    """Writes evidence in the background, one ConfigMap at a time.

    Args:
        tell: called when evidence could not be kept.
        kept: called with a rollout's key when evidence of it has been written.
        version: the operator's.
    """

    def __init__(
        self,
        cluster: Cluster,
        tell: Callable[[RolloutObject, Note], None],
        kept: Callable[[ObjectKey, KeptEvidence], None],
        version: str,
    ) -> None:
        self._cluster = cluster
        self._tell = tell
        self._kept = kept
        self._version = version
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._told: dict[ObjectKey, _Told] = {}

    def keep(self, job: Job) -> None:
        """Write the evidence of these decisions, or trim what nothing names any more. Returns at once."""
        self._jobs.put_nowait(job)

    def answered(self, key: ObjectKey, names: frozenset[str]) -> None:
        """The status has been told of these: from now on they stay only if it names them."""
        if told := self._told.get(key):
            told.waiting -= names

    def forget(self, key: ObjectKey) -> None:
        """The rollout is gone; its ConfigMaps go by ownerReference."""
        self._told.pop(key, None)

    async def run(self) -> None:
        """Work for ever."""
        while True:
            job = await self._jobs.get()
            try:
                await (self._trim(job) if job.named is not None else self._write(job))
            except NamespaceTerminating:
                continue
            except ClusterError as error:
                self._failed(job, error)
            except Exception as error:  # one rollout's evidence must not stop that of the others
                log.exception("%s: evidence cannot be kept", job.owner.key)
                self._failed(replace(job, tries=len(_AGAIN_S)), error)

    def _failed(self, job: Job, error: Exception) -> None:
        """Try again later; when that is in vain, say so."""
        what = "evidence is not kept" if job.records else "old evidence is not deleted"
        log.warning("%s: %s: %s", job.owner.key, what, error)
        if job.tries < len(_AGAIN_S):
            again = replace(job, tries=job.tries + 1)
            asyncio.get_running_loop().call_later(_AGAIN_S[job.tries], self._jobs.put_nowait, again)
        elif job.records:
            said = f"what {job.records[-1].kind} rested on could not be kept: {error}"
            self._tell(job.owner, Note("Warning", "EvidenceNotKept", said))

    async def _write(self, job: Job) -> None:
        seen = job.comparison
        if seen is None or seen.ledger is None or not job.records:
            return
        told = self._told.setdefault(job.owner.key, _Told())
        if told.trial != seen.trial:
            told.trial, told.decisions = seen.trial, {}
        made = [_decided(record, seen, seen.ledger) for record in job.records]
        pair, revision = (seen.arm, seen.against), job.records[-1].revision
        about = About(str(job.owner.key), revision, job.stable, seen.trial[1], self._version, *pair)
        earlier = [*told.decisions.get(pair, ()), *made[:-1]]
        # Off the loop: what is compressed here, nobody waits for.
        files = await asyncio.to_thread(keep, seen.ledger, about, made[-1], earlier)
        name = evidence_name(job.owner, job.records[-1])
        content = evidence_content(job.owner, name, files, f"{made[-1].kind}: {made[-1].message}"[:1000])
        told.decisions[pair] = [*earlier, made[-1]]
        told.waiting.add(name)
        await self._create(job.owner, content)
        self._kept(job.owner.key, KeptEvidence(revision, name, _covered(files), *pair))

    async def _create(self, owner: RolloutObject, content: ConfigMapContent) -> None:
        try:
            await self._cluster.create_configmap(content)
        except AlreadyExists:
            found = await self._cluster.get_configmap(content.key)
            if found is None or not found.controlled_by(owner.uid):
                raise

    async def _trim(self, job: Job) -> None:
        """Delete evidence that the status no longer names."""
        owner, named = job.owner, job.named or frozenset()
        told = self._told.setdefault(owner.key, _Told())
        spared = named | told.waiting
        labels = {ROLLOUT_LABEL: owner.key.name, KIND_LABEL: EVIDENCE_KIND}
        found = self._cluster.list_configmaps(owner.key.namespace, labels, contents=False)
        async for one in found:
            if one.controlled_by(owner.uid) and one.key.name not in spared:
                await self._cluster.delete_configmap(one)


def evidence_name(owner: RolloutObject, record: DecisionRecord) -> str:
    """The same name for the same decision: an evidence that is written again is no second one."""
    parts = (owner.uid, record.revision, record.arm, record.against, str(record.attempt), record.kind)
    text = "\x1f".join((*parts, to_rfc3339(record.at)))
    return f"{owner.key.name[:_NAME].rstrip('.-')}-ev-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _decided(record: DecisionRecord, seen: Comparison, ledger: Ledger) -> Decided:
    return Decided(
        kind=record.kind,
        reason=record.reason,
        at=to_rfc3339(record.at),
        through=ledger.now.last_end or 0.0,
        step=record.step,
        weight=record.weight,
        message=seen.harm_reason or seen.outlook,
        numbers=figures(assess(ledger.plan, ledger.now)),
    )


def _covered(files: Files) -> frozenset[datetime]:
    """When the decisions were taken whose evidence these files hold."""
    head = json.loads(files.data[DECISION])
    held = (*head["earlier"], head["decision"])
    return frozenset(datetime.fromisoformat(str(one["at"])) for one in held)
