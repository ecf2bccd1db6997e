"""What the API server's audit log says of an account: each right that it used, and what it was refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from e2e.objects import KubeObject

#: Who was refused by the authorizer, not by what else says 403: a namespace that is going takes nothing new.
_DECISION = "authorization.k8s.io/decision"


@dataclass(frozen=True)
class Right:
    """A verb on a kind of object; `name`, where only one object is meant."""

    group: str
    resource: str
    verb: str
    name: str = ""


@dataclass(frozen=True)
class Asked:
    """What an account asked for. Names are not among the rights that it used: see `names`."""

    used: frozenset[Right]
    refused: frozenset[Right]
    names: frozenset[str]


def asked(log: Path, namespace: str, service_account: str, since: int = 0) -> Asked:
    """All that this account has asked of resources that roles give rights on, from this byte of the log until now."""
    user = f"system:serviceaccount:{namespace}:{service_account}"
    used: set[Right] = set()
    refused: set[Right] = set()
    names: set[str] = set()
    for line in log.read_bytes()[since:].splitlines():
        event = KubeObject(json.loads(line))
        if event.text("user.username") != user or not event.text("objectRef.resource"):
            continue
        # Everyone may ask who they are and what they may do.
        if event.text("objectRef.apiGroup") == "authorization.k8s.io":
            continue
        kind = "/".join(filter(None, (event.text("objectRef.resource"), event.text("objectRef.subresource"))))
        right = Right(event.text("objectRef.apiGroup"), kind, event.text("verb"))
        denied = event.raw.get("annotations", {}).get(_DECISION) == "forbid"
        (refused if denied else used).add(right)
        names.add(event.text("objectRef.name"))
    return Asked(frozenset(used), frozenset(refused), frozenset(names))


def rights_in(roles: Iterable[KubeObject]) -> frozenset[Right]:
    """What the rules of these roles allow."""
    return frozenset(
        Right(group, resource, verb, name)
        for role in roles
        for rule in role.items("rules")
        for group in rule.raw["apiGroups"]
        for resource in rule.raw["resources"]
        for verb in rule.raw["verbs"]
        for name in rule.raw.get("resourceNames", [""])
    )
