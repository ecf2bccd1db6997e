"""Kubernetes objects as the operator sees them: frozen, typed, and free of any client's types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from promptrollout.cluster.values import Json

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Namespace and name; kind and group go without saying where it is used."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object among all of a cluster, and in time: what an Event is about."""

    api_version: str
    kind: str
    key: ObjectKey
    uid: str
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """An ownerReference: with the owner goes the object.

    `controller`: whether that owner manages the object; there is one such at most.
    """

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = True


@dataclass(frozen=True, slots=True)
class RolloutObject:
    """A PromptRollout as stored.

    Attributes:
        spec: as written by the author, after the schema's defaults and pruning.
        status: as last written by the operator; empty if never.
        generation: grows with each change of `spec`, and with nothing else.
        resource_version: what a write must name so that it changes this very version.
        deleted_at: set when deletion has begun.
        managers: who last set each annotation, as that client calls itself (managedFields).
    """

    key: ObjectKey
    uid: str
    generation: int
    resource_version: str
    spec: Json
    status: Json
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    api_version: str = ""
    kind: str = ""
    managers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> ObjectRef:
        """What an Event about this object refers to."""
        return ObjectRef(self.api_version, self.kind, self.key, self.uid, self.resource_version)

    @property
    def as_owner(self) -> Owner:
        """The ownerReference that children of this object carry."""
        return Owner(self.api_version, self.kind, self.key.name, self.uid)


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """A policy by its kind (PromptRolloutPolicy or the cluster's) and name; of the cluster's, namespace is empty."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class PolicyObject:
    """A policy as stored; `spec` as written by its author."""

    key: PolicyKey
    uid: str
    generation: int
    spec: Json
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ConfigMapContent:
    """What a ConfigMap of ours shall be.

    Attributes:
        data: the whole data; what is not here shall not be there.
        binary: binaryData, for ConfigMaps that are created and never changed.
        labels, annotations: shall be there; others' are left alone.
        owner: the controlling owner.
        immutable: whether the server shall refuse any later change of `data`.
    """

    key: ObjectKey
    data: Mapping[str, str]
    owner: Owner
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    immutable: bool = False
    binary: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigMapObject:
    """A ConfigMap as stored. `binary_keys` are the keys under binaryData, which only evidence has."""

    key: ObjectKey
    uid: str
    resource_version: str
    data: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[Owner, ...] = ()
    immutable: bool = False
    binary_keys: tuple[str, ...] = ()
    deleted_at: datetime | None = None

    @property
    def controller(self) -> Owner | None:
        """The owner that manages it, None if nobody claims to."""
        return next((owner for owner in self.owners if owner.controller), None)

    def controlled_by(self, uid: str) -> bool:
        """Whether the object with that uid manages it; a namesake of a deleted rollout has another uid."""
        controller = self.controller
        return controller is not None and controller.uid == uid


@dataclass(frozen=True, slots=True)
class ConfigMapMount:
    """A ConfigMap mounted into a container.

    Attributes:
        sub_path: the file or folder mounted alone, None for the whole directory. Such a mount is never refreshed.
        projected: whether it comes through a projected volume beside other sources.
    """

    config_map: str
    container: str
    path: str
    sub_path: str | None = None
    projected: bool = False

    @property
    def refreshes(self) -> bool:
        """Whether kubelet ever updates the files (not with subPath)."""
        return self.sub_path is None


@dataclass(frozen=True, slots=True)
class PodView:
    """What matters of a pod.

    Attributes:
        ip: empty until it has one.
        ready: condition Ready is True.
        terminating: deletion has begun; it serves only what it is still serving.
        finished: all its containers have ended for good (phase Succeeded or Failed).
        mounts: where ConfigMaps are mounted, init containers included.
        nudge: the value of the nudge annotation, empty if none.
    """

    key: ObjectKey
    uid: str
    ip: str = ""
    ready: bool = False
    terminating: bool = False
    finished: bool = False
    mounts: tuple[ConfigMapMount, ...] = ()
    nudge: str = ""

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.key.name

    def mounting(self, config_map: str) -> tuple[ConfigMapMount, ...]:
        """Where that ConfigMap is mounted in this pod."""
        return tuple(mount for mount in self.mounts if mount.config_map == config_map)


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One requirement on a label. `operator`: In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Which objects are meant, by their labels; an empty one means all, as everywhere in Kubernetes."""

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[LabelRequirement, ...] = ()

    def query(self) -> str:
        """The selector as the API's `labelSelector` parameter.

        Raises:
            ValueError: an operator that does not exist, or values where there must be none, or none where some must.
        """
        terms = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        return ",".join([*terms, *(_term(requirement) for requirement in self.match_expressions)])


def _term(requirement: LabelRequirement) -> str:
    key, operator, values = requirement.key, requirement.operator, requirement.values
    if operator in {"In", "NotIn"}:
        if not values:
            raise ValueError(f"label {key}: {operator} needs at least one value")
        return f"{key} {'in' if operator == 'In' else 'notin'} ({','.join(values)})"
    if operator in {"Exists", "DoesNotExist"}:
        if values:
            raise ValueError(f"label {key}: {operator} takes no values, {', '.join(values)} given")
        return key if operator == "Exists" else f"!{key}"
    raise ValueError(f"label {key}: operator {operator!r} is none of In, NotIn, Exists, DoesNotExist")
