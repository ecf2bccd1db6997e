"""The one door to Kubernetes: what the controller may ask of a cluster, free of any client's types."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from promptrollout.cluster.errors import ClusterError
from promptrollout.cluster.objects import (
    ConfigMapContent,
    ConfigMapObject,
    EventType,
    LabelSelector,
    ObjectKey,
    ObjectRef,
    PodView,
    PolicyKey,
    PolicyObject,
    RolloutObject,
)
from promptrollout.cluster.values import Json


@dataclass(frozen=True, slots=True)
class NudgeReport:
    """What became of a nudge.

    Attributes:
        nudged: pods whose annotation is written.
        gone: pods that were deleted meanwhile; nothing to worry about.
        failed: pods that could not be written, and why; kubelet's own pace reaches them within 90 s.
    """

    nudged: tuple[ObjectKey, ...] = ()
    gone: tuple[ObjectKey, ...] = ()
    failed: Mapping[ObjectKey, ClusterError] | None = None

    @property
    def complete(self) -> bool:
        """Whether every pod that still exists was reached."""
        return not self.failed


class Cluster(Protocol):
    """Reads and writes of the operator.

    Every method has a deadline of its own and raises a `ClusterError`: `Unavailable` when no usable answer came in
    time (transient faults have been retried by then), `Forbidden` when a right is missing, others as said below.
    """

    async def get_rollout(self, key: ObjectKey) -> RolloutObject | None:
        """The rollout as stored now, None if there is none."""
        ...

    def list_rollouts(self) -> AsyncIterator[RolloutObject]:
        """All rollouts of the watched namespaces, read in chunks.

        An object that exists throughout is seen at least once; one created or deleted meanwhile may or may not be.
        """
        ...

    async def patch_status(self, observed: RolloutObject, status: Json) -> RolloutObject:
        """Make `status` the whole status of the very version that was observed; nothing is sent if it is already.

        Keys of the observed status that `status` lacks are removed; a None in `status` means absent.

        Returns:
            The object as stored afterwards, with its new resourceVersion; `observed` itself if nothing was written.

        Raises:
            Conflict: the rollout has changed since (spec, status or metadata).
            NotFound: it is deleted.
            Invalid: the status breaks the CRD's schema or is too big.
            NotJsonError: the status holds what JSON cannot (NaN, say), with the path.
        """
        ...

    async def get_policy(self, key: PolicyKey) -> PolicyObject | None:
        """The policy as stored now, None if there is none, or no such kind."""
        ...

    def watch_policy(self, key: PolicyKey) -> AsyncIterator[PolicyObject | None]:
        """One policy as it is now, and then after each change, as `watch_configmap`.

        Raises:
            NotFound: the kind's CustomResourceDefinition is not there.
        """
        ...

    async def get_configmap(self, key: ObjectKey) -> ConfigMapObject | None:
        """The ConfigMap as stored now, None if there is none."""
        ...

    def list_configmaps(
        self, namespace: str, labels: Mapping[str, str], *, contents: bool = True
    ) -> AsyncIterator[ConfigMapObject]:
        """The ConfigMaps of a namespace that carry all these labels, read in chunks.

        Without `contents` only their metadata travels; then `data`, `binary_keys` and `immutable` say nothing.
        """
        ...

    def watch_configmap(self, key: ObjectKey) -> AsyncIterator[ConfigMapObject | None]:
        """One ConfigMap as it is now, and then after each change, for ever; None while there is none of that name.

        Costs a connection, and nothing for any other ConfigMap. What it told stands when it raises; begin anew then.
        """
        ...

    async def create_configmap(self, content: ConfigMapContent) -> ConfigMapObject:
        """Create it.

        Raises:
            AlreadyExists: one of that name is there; get it and look at `controlled_by` before touching it.
            NamespaceTerminating: the namespace is being deleted.
            Invalid: too big (1 MiB in all), or a key that is not allowed.
        """
        ...

    async def update_configmap(self, observed: ConfigMapObject, content: ConfigMapContent) -> ConfigMapObject:
        """Make the very version that was observed what it shall be; nothing is sent if it is already.

        Raises:
            Conflict: it has changed since, or another of that name has taken its place.
            NotFound: it is deleted.
            Invalid: too big, or the stored one is immutable (delete and create it then).
        """
        ...

    async def delete_configmap(self, observed: ConfigMapObject) -> None:
        """Delete this one (by uid) and no namesake; done already is fine."""
        ...

    async def pods(
        self, namespace: str, selector: LabelSelector | None = None, *, mounting: str | None = None
    ) -> tuple[PodView, ...]:
        """The pods of a namespace that are selected and mount that ConfigMap, by name.

        Args:
            namespace: where.
            selector: by labels; None: all.
            mounting: the name of a ConfigMap; None: whether or not any is mounted.
        """
        ...

    async def nudge(self, pods: Iterable[PodView], value: str) -> NudgeReport:
        """Set the nudge annotation of many pods at once, so that kubelet copies the ConfigMap now.

        A pod that carries `value` already is not reached by setting it again: a repeated nudge needs another value.
        A failure at one pod does not keep the others waiting; this raises nothing but cancellation.
        """
        ...

    def emit(self, regarding: ObjectRef, kind: EventType, reason: str, message: str) -> None:
        """Queue an Event about an object. Returns at once and never raises; repeats are counted, floods are cut."""
        ...
