"""Does the operator's account have the rights it needs? Asked at start, answered in words with the rule to add.

A missing right otherwise shows as a watch that is silently retried, which looks like a hang. The table here is also
what the chart's roles are tested against: every right in it is granted, and nothing else.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from promptrollout.api.base import GROUP
from promptrollout.api.policy import POLICY_PLURALS
from promptrollout.api.spec import DeliveryMode, PolicyKind


class Scope(StrEnum):
    """Where a right is needed."""

    WATCHED = "watched namespaces"
    OWN = "the operator's own namespace"
    CLUSTER = "the cluster"


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on one resource.

    Attributes:
        resource: with its subresource: `promptrollouts/status`.
        why: what does not work without it, completing "needed to ...".
        name: the one object it is needed for, empty for any.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    scope: Scope = Scope.WATCHED
    name: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """May this account do that? One SelfSubjectAccessReview. An empty namespace means all of them."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A right that the account lacks."""

    permission: Permission
    verbs: tuple[str, ...]
    namespace: str

    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        if self.permission.scope is Scope.CLUSTER:
            where = "in the cluster"
        what = f"{self.permission.resource}.{self.permission.group}".rstrip(".")
        named = f" {self.permission.name}" if self.permission.name else ""
        return (
            f"the operator may not {', '.join(self.verbs)} {what}{named} {where}, needed to {self.permission.why}. "
            f"Add to its {'Role' if self.namespace else 'ClusterRole'}: {self.rule()}"
        )

    def rule(self) -> str:
        """The rule to add, as one line of YAML."""
        names = f", resourceNames: [{self.permission.name}]" if self.permission.name else ""
        return (
            f'- {{apiGroups: ["{self.permission.group}"], resources: ["{self.permission.resource}"], '
            f"verbs: [{', '.join(self.verbs)}]{names}}}"
        )


def needed(
    mode: DeliveryMode, *, lease: str | None = None, jobs: bool = False, cluster_policies: bool = True
) -> tuple[Permission, ...]:
    """The rights that the operator needs, and no more.

    Args:
        mode: the default delivery mode; a rollout that asks for Nudge where the operator's default is another goes on
            at kubelet's pace, and says so.
        jobs: whether gates may run Jobs.
        cluster_policies: whether rollouts may name ClusterPromptRolloutPolicies.
        lease: the name of the leader election's Lease, None without leader election.
    """
    read = ("get", "list", "watch")
    rights = [
        Permission(GROUP, "promptrollouts", read, "know which rollouts are wanted"),
        Permission(GROUP, "promptrollouts/status", ("patch",), "record what was decided"),
        Permission(GROUP, POLICY_PLURALS[PolicyKind.NAMESPACED], read, _POLICIES),
        Permission(
            "",
            "configmaps",
            (*read, "create", "patch", "delete"),
            "deliver prompts and keep their revisions",
        ),
        Permission("", "pods", ("list",), "know which pods have to load a prompt"),
        Permission("events.k8s.io", "events", ("create", "patch"), "tell what happens as Events"),
    ]
    if cluster_policies:
        kind = POLICY_PLURALS[PolicyKind.CLUSTER]
        rights.append(Permission(GROUP, kind, read, _POLICIES, Scope.CLUSTER))
    if mode is DeliveryMode.NUDGE:
        rights.append(
            Permission("", "pods", ("patch",), "have kubelet copy a changed prompt at once (mode Nudge)")
        )
    if jobs:
        why = "run gates that are Jobs"
        rights.append(Permission("batch", "jobs", ("get", "list", "create", "delete"), why))
        rights.append(Permission("batch", "cronjobs", ("get",), f"{why}, from the templates that they name"))
    if lease:
        why = "have one operator lead at a time"
        rights.append(Permission("coordination.k8s.io", "leases", ("create",), why, Scope.OWN))
        rights.append(Permission("coordination.k8s.io", "leases", ("get", "patch"), why, Scope.OWN, lease))
    return tuple(rights)


_POLICIES = "know the rules that rollouts share"


class AccessReviewer(Protocol):
    """Asks the API server about the account's own rights."""

    async def may(self, question: Question) -> bool:
        """Whether it is allowed; raises ClusterError."""
        ...


async def missing_permissions(
    reviewer: AccessReviewer,
    permissions: Iterable[Permission],
    *,
    namespaces: Sequence[str] = (),
    own_namespace: str = "",
) -> tuple[Missing, ...]:
    """The rights among `permissions` that the account lacks, in their order.

    Args:
        reviewer: who asks.
        permissions: from `needed`.
        namespaces: the watched namespaces; none means all.
        own_namespace: where the operator itself lives.

    Raises:
        ClusterError: the API server could not be asked.
    """
    places = {
        Scope.WATCHED: tuple(namespaces) or ("",),
        Scope.OWN: (own_namespace,),
        Scope.CLUSTER: ("",),
    }
    asked = [
        (permission, namespace, verb)
        for permission in permissions
        for namespace in places[permission.scope]
        for verb in permission.verbs
    ]
    answers = await asyncio.gather(
        *(
            reviewer.may(Question(verb, permission.group, permission.resource, namespace, permission.name))
            for permission, namespace, verb in asked
        )
    )
    lacking: defaultdict[tuple[Permission, str], list[str]] = defaultdict(list)
    for (permission, namespace, verb), allowed in zip(asked, answers, strict=True):
        if not allowed:
            lacking[permission, namespace].append(verb)
    return tuple(
        Missing(permission, tuple(verbs), namespace) for (permission, namespace), verbs in lacking.items()
    )
