"""The cluster as the plugin sees it: the operator's own transport, with the user's kubeconfig."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kubernetes.aio import config as kube_config

from promptrollout.api.base import COMMAND_ANNOTATION, GROUP, PLURAL, VERSION
from promptrollout.api.merging import merge
from promptrollout.api.parse import parse_status
from promptrollout.api.policy import POLICY_PLURALS
from promptrollout.api.spec import PolicyKind
from promptrollout.api.status import RolloutStatus
from promptrollout.cli.printing import CliError
from promptrollout.cluster.errors import ClusterError, Forbidden, NotFound, Unavailable
from promptrollout.cluster.kube import connect
from promptrollout.cluster.login import LoginError
from promptrollout.cluster.objects import PolicyKey
from promptrollout.cluster.transport import Limits, Request, Transport, api_path
from promptrollout.cluster.values import Json, mapping_at, mappings_at, text_at, texts_at
from promptrollout.rollout import rules_in_force

_API = f"{GROUP}/{VERSION}"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MANAGER = {"fieldManager": "kubectl-promptrollout"}
T = TypeVar("T")


@dataclass(frozen=True)
class Where:
    """Which cluster and namespace; None takes kubectl's."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None

    def resolved(self) -> str:
        """The namespace to work in: the option's, the context's, the pod's own, or `default`."""
        return self.namespace or self._of_context() or _own_namespace() or "default"

    def _of_context(self) -> str:
        file = str(self.kubeconfig) if self.kubeconfig else os.environ.get("KUBECONFIG") or None
        try:
            contexts, active = kube_config.list_kube_config_contexts(config_file=file)  # type: ignore[no-untyped-call] # untyped there
        except (kube_config.ConfigException, OSError, ValueError, TypeError):
            return ""
        chosen = next((c for c in contexts if c["name"] == self.context), None) if self.context else active
        return str((chosen or {}).get("context", {}).get("namespace") or "")


def _own_namespace() -> str:
    try:
        return _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Seen:
    """A rollout as stored."""

    raw: Json

    @property
    def name(self) -> str:
        """Its name."""
        return text_at(mapping_at(self.raw, "metadata"), "name")

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return text_at(mapping_at(self.raw, "metadata"), "namespace")

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def created(self) -> str:
        """When it was created, RFC 3339."""
        return text_at(mapping_at(self.raw, "metadata"), "creationTimestamp")

    @property
    def spec(self) -> Json:
        """The spec as written."""
        return mapping_at(self.raw, "spec")

    @property
    def spec_in_force(self) -> Json:
        """The spec with the policy's rules that are in force."""
        rules = rules_in_force(self.status)
        return merge(self.spec, rules).spec if rules else self.spec

    @property
    def status(self) -> RolloutStatus:
        """The status, as far as this version can read it."""
        return parse_status(mapping_at(self.raw, "status"))


class Cluster:
    """Reads and commands of the plugin."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self.namespace = namespace

    async def rollout(self, name: str) -> Seen:
        """One rollout; CliError if there is none."""
        path = api_path(_API, self.namespace, PLURAL, name)
        return Seen(await self._send(Request("GET", path, f"get {PLURAL} {self.namespace}/{name}")))

    async def rollouts(self, *, everywhere: bool = False) -> list[Seen]:
        """All rollouts of the namespace, or of all."""
        path = api_path(_API, "" if everywhere else self.namespace, PLURAL)
        found = await self._send(Request("GET", path, f"list {PLURAL}"))
        head = {"apiVersion": _API, "kind": "PromptRollout"}
        return [Seen(head | dict(item)) for item in mappings_at(found, "items")]

    async def config_map(self, name: str) -> Json:
        """A ConfigMap."""
        path = api_path("v1", self.namespace, "configmaps", name)
        return await self._send(Request("GET", path, f"get configmaps {self.namespace}/{name}"))

    async def policy(self, key: PolicyKey) -> Json:
        """A policy; one of a namespace that the key leaves open is looked for in this connection's."""
        kind = PolicyKind(key.kind)
        namespace = "" if kind is PolicyKind.CLUSTER else key.namespace or self.namespace
        path = api_path(_API, namespace, POLICY_PLURALS[kind], key.name)
        return await self._send(Request("GET", path, f"get {key}"))

    async def annotate(self, name: str, annotation: str, value: str) -> Seen:
        """Set one annotation of a rollout."""
        path = api_path(_API, self.namespace, PLURAL, name)
        body = {"metadata": {"annotations": {annotation: value}}}
        what = f"annotate {PLURAL} {self.namespace}/{name}"
        return Seen(await self._send(Request("PATCH", path, what, _MANAGER, body)))

    async def command(self, name: str, verb: str, mark: str) -> Seen:
        """Ask the operator for something, once: `mark` is the command's id."""
        return await self.annotate(name, COMMAND_ANNOTATION, f"{verb}:{mark}")

    async def _send(self, request: Request) -> Json:
        try:
            return await self._transport.send(request)
        except NotFound as error:
            raise CliError(_not_found(request, error)) from None
        except Forbidden as error:
            raise CliError(f"you may not {error.action}: {error.reason}") from None
        except Unavailable as error:
            raise CliError(f"the API server does not answer: {error.reason}") from None
        except ClusterError as error:
            raise CliError(str(error)) from None


def _not_found(request: Request, error: NotFound) -> str:
    what = request.action.partition(" ")[2]
    if "could not find the requested resource" in error.reason or request.action.startswith("list"):
        return f"the cluster knows no PromptRollouts: is the CustomResourceDefinition of {GROUP} installed?"
    return f"{what} not found"


def texts(raw: Json, field: str) -> Mapping[str, str]:
    """A map of strings of an object."""
    return texts_at(raw, field)


@asynccontextmanager
async def connected(where: Where) -> AsyncIterator[Cluster]:
    """A connection for one command."""
    try:
        limits = Limits(attempt=10.0, deadline=15.0, concurrency=4)
        transport = await connect(where.kubeconfig, where.context, limits=limits)
    except LoginError as error:
        raise CliError(str(error)) from None
    async with transport:
        yield Cluster(transport, where.resolved())


def run(where: Where, work: Callable[[Cluster], Awaitable[T]]) -> T:
    """Do some work with the cluster."""

    async def whole() -> T:
        async with connected(where) as cluster:
            return await work(cluster)

    return asyncio.run(whole())
