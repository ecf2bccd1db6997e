"""What the operator keeps in memory of each rollout.

Nothing here is needed to be right after a restart: all of it is read again from the cluster, from status and
from Prometheus.
"""

from dataclasses import dataclass, field
from datetime import datetime

from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.controller.parsed import Parsed
from promptrollout.rollout import Comparison, KeptEvidence, PodsSeen
from promptrollout.rollout.observations import DecidableSeen

Document = dict[str, object]


@dataclass(slots=True)
class Children:
    """The ConfigMaps of one rollout, as last seen.

    Attributes:
        payload: the one that pods mount; None if it is absent.
        revisions: the immutable ones, by short hash.
        documents: sealed prompts by short hash, from both.
    """

    payload: ConfigMapObject | None = None
    revisions: dict[str, ConfigMapObject] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One rollout.

    Attributes:
        seen: the newest version known, the operator's own writes included.
        parsed: what follows from its spec, the latest first; a second one under a policy's other rules.
        children: None until they have been read, or when one of them changed behind our back.
        dropped: what of the status the API server did not keep the last time, by field; empty as a rule.
        written: (sequence, moment) of the last payload known to be in the ConfigMap.
        pods: what was last seen of the pods.
        comparisons: the analysis' last word on each pair of arms, all of one trial.
        kept: evidence written lately, for the status to name.
        outlook: whether the trial can be decided, and what that was worked out from.
        failures, outdated: turns in a row that failed, and that had observed what was out of date by then.
        trouble: why turns fail, as people are told it; empty if they do not.
    """

    seen: RolloutObject
    parsed: tuple[Parsed, ...] = ()
    children: Children | None = None
    dropped: str = ""
    written: tuple[int, datetime] | None = None
    pods: PodsSeen | None = None
    comparisons: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    kept: tuple[KeptEvidence, ...] = ()
    outlook: tuple[object, DecidableSeen | None] = (None, None)
    failures: int = 0
    outdated: int = 0
    trouble: str = ""

    def wrote(self, stored: RolloutObject) -> None:
        """Keep what a write has made of it, unless a watch has told of an even newer version by now."""
        if not newer(self.seen.resource_version, stored.resource_version):
            self.seen = stored

    def compared(self, said: Comparison) -> None:
        """Keep this word; those on other trials are of no use any more."""
        kept = {pair: old for pair, old in self.comparisons.items() if old.trial == said.trial}
        self.comparisons = {**kept, (said.arm, said.against): said}


@dataclass(slots=True)
class Memory:
    """All rollouts, by key."""

    entries: dict[ObjectKey, Entry] = field(default_factory=dict)

    def take(self, seen: RolloutObject) -> bool:
        """Keep this version unless a newer one is known; whether it is news to the decision core.

        The operator's own status writes come back as events: their version is known already, so they are no news.
        """
        entry = self.entries.get(seen.key)
        if entry is None or entry.seen.uid != seen.uid:
            self.entries[seen.key] = Entry(seen)
            return True
        if not newer(seen.resource_version, entry.seen.resource_version):
            return False
        entry.seen = seen
        return True

    def forget(self, key: ObjectKey) -> None:
        """The rollout is gone."""
        self.entries.pop(key, None)


def newer(version: str, than: str) -> bool:
    """Whether a resource version is later than another.

    Resource versions of one resource are ordered numbers (Kubernetes KEP-5504); others count as newer.
    """
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
