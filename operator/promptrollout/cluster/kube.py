"""The Cluster protocol on a real API server."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from kubernetes.aio.client import Configuration

from promptrollout.api.base import GROUP, PLURAL, VERSION
from promptrollout.api.policy import POLICY_PLURALS
from promptrollout.api.spec import PolicyKind
from promptrollout.cluster.errors import ClusterError, Expired, Fenced, Invalid, NotFound
from promptrollout.cluster.events import EventRecorder, Happening
from promptrollout.cluster.login import load_configuration
from promptrollout.cluster.mergepatch import merge_patch
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
from promptrollout.cluster.parsing import (
    NUDGE_ANNOTATION,
    configmap_changes,
    configmap_json,
    parse_configmap,
    parse_pod,
    parse_policy,
    parse_rollout,
)
from promptrollout.cluster.protocol import NudgeReport
from promptrollout.cluster.stores import KubeAccess, KubeEvents, KubeLeases
from promptrollout.cluster.transport import (
    FIELD_MANAGER,
    JSON,
    ONLY_METADATA,
    ONLY_METADATA_LIST,
    Limits,
    Method,
    Observer,
    Request,
    Transport,
    api_path,
)
from promptrollout.cluster.values import Json, mapping_at, mappings_at, text_at

NUDGE_DEADLINE_S = 10.0
#: Bytes of data that a ConfigMap holds.
CONFIGMAP_LIMIT = 1024 * 1024

_API = f"{GROUP}/{VERSION}"
_log = logging.getLogger(__name__)


class KubeCluster:
    """The Cluster protocol on a real API server; use as an async context manager, or `start` and `close`."""

    def __init__(
        self,
        transport: Transport,
        *,
        instance: str,
        namespaces: Sequence[str] = (),
        may_write: Callable[[], bool] = lambda: True,
        chunk_size: int = 250,
    ) -> None:
        """Prepares.

        Args:
            transport: from `connect`; closed with this.
            instance: who writes, in Events: the pod's name.
            namespaces: the watched namespaces; none means all.
            may_write: asked before each write; False raises Fenced (leadership is over, say).
            chunk_size: objects per page of a list; a page is parsed in one go.
        """
        self._transport = transport
        self._namespaces = tuple(namespaces) or ("",)
        self._may_write = may_write
        self._chunk_size = chunk_size
        self.events = EventRecorder(KubeEvents(transport), instance)
        self.leases = KubeLeases(transport)
        self.access = KubeAccess(transport)

    async def __aenter__(self) -> "KubeCluster":
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to write Events."""
        self.events.start()

    async def close(self) -> None:
        """Write the Events that wait, shortly, and close the connections."""
        await self.events.close()
        await self._transport.close()

    async def get_rollout(self, key: ObjectKey) -> RolloutObject | None:
        """See Cluster."""
        try:
            return _rollout(
                await self._read(api_path(_API, key.namespace, PLURAL, key.name), f"{PLURAL} {key}")
            )
        except NotFound:
            return None

    async def list_rollouts(self) -> AsyncIterator[RolloutObject]:
        """See Cluster."""
        for namespace in self._namespaces:
            async for raw in self._list(api_path(_API, namespace, PLURAL), PLURAL, {}):
                yield _rollout(raw)

    async def patch_status(self, observed: RolloutObject, status: Json) -> RolloutObject:
        """See Cluster."""
        changes = merge_patch(observed.status, status)
        if not changes:
            return observed
        key = observed.key
        body = {"metadata": {"resourceVersion": observed.resource_version}, "status": changes}
        path = api_path(_API, key.namespace, PLURAL, key.name, "status")
        return _rollout(await self._write("PATCH", path, f"{PLURAL}/status {key}", body))

    async def get_configmap(self, key: ObjectKey) -> ConfigMapObject | None:
        """See Cluster."""
        path = api_path("v1", key.namespace, "configmaps", key.name)
        try:
            return parse_configmap(await self._read(path, f"configmaps {key}"))
        except NotFound:
            return None

    async def list_configmaps(
        self, namespace: str, labels: Mapping[str, str], *, contents: bool = True
    ) -> AsyncIterator[ConfigMapObject]:
        """See Cluster."""
        query = {"labelSelector": LabelSelector(labels).query()} if labels else {}
        accept = JSON if contents else ONLY_METADATA_LIST
        async for raw in self._list(api_path("v1", namespace, "configmaps"), "configmaps", query, accept):
            yield parse_configmap(raw)

    async def watch_configmap(self, key: ObjectKey) -> AsyncIterator[ConfigMapObject | None]:
        """See Cluster."""
        path = api_path("v1", key.namespace, "configmaps")
        async with aclosing(self._watch_one(path, key.name, f"configmaps {key}")) as changes:
            async for raw in changes:
                yield parse_configmap(raw) if raw is not None else None

    async def get_policy(self, key: PolicyKey) -> PolicyObject | None:
        """See Cluster."""
        path = api_path(_API, key.namespace, POLICY_PLURALS[PolicyKind(key.kind)], key.name)
        try:
            return parse_policy(key, await self._read(path, str(key)))
        except NotFound:
            return None

    async def watch_policy(self, key: PolicyKey) -> AsyncIterator[PolicyObject | None]:
        """See Cluster."""
        path = api_path(_API, key.namespace, POLICY_PLURALS[PolicyKind(key.kind)])
        async with aclosing(self._watch_one(path, key.name, str(key))) as changes:
            async for raw in changes:
                yield parse_policy(key, raw) if raw is not None else None

    async def _watch_one(self, path: str, name: str, what: str) -> AsyncGenerator[Json | None, None]:
        """As kubelet watches what its pods mount: by name, which the API server has an index for."""
        query = {"fieldSelector": f"metadata.name={name}"}
        while True:
            listed = await self._read(path, what, query)
            yield next(iter(mappings_at(listed, "items")), None)
            ask = {**query, "resourceVersion": text_at(mapping_at(listed, "metadata"), "resourceVersion")}
            request = Request("GET", path, f"watch {what}", ask)
            # Not all at once: watches that began together must not be renewed together.
            async with aclosing(self._transport.watch(request, _jitter.uniform(240.0, 480.0))) as events:
                async for event in events:
                    kind, raw = text_at(event, "type"), mapping_at(event, "object")
                    if kind not in _CHANGES:  # an ERROR, 410 say: what was missed is listed anew
                        break
                    yield raw if kind != "DELETED" else None
            await asyncio.sleep(1.0)  # a server that ends watches at once is not to be hammered

    async def create_configmap(self, content: ConfigMapContent) -> ConfigMapObject:
        """See Cluster."""
        _check_size(f"create configmaps {content.key}", content)
        path = api_path("v1", content.key.namespace, "configmaps")
        return parse_configmap(
            await self._write("POST", path, f"configmaps {content.key}", configmap_json(content))
        )

    async def update_configmap(self, observed: ConfigMapObject, content: ConfigMapContent) -> ConfigMapObject:
        """See Cluster."""
        changes = configmap_changes(observed, content)
        if not changes:
            return observed
        key = observed.key
        _check_size(f"patch configmaps {key}", content)
        lock = {"uid": observed.uid, "resourceVersion": observed.resource_version}
        body = changes | {"metadata": {**mapping_at(changes, "metadata"), **lock}}
        path = api_path("v1", key.namespace, "configmaps", key.name)
        return parse_configmap(await self._write("PATCH", path, f"configmaps {key}", body))

    async def delete_configmap(self, observed: ConfigMapObject) -> None:
        """See Cluster."""
        key = observed.key
        body: dict[str, object] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": observed.uid},
        }
        path = api_path("v1", key.namespace, "configmaps", key.name)
        try:
            await self._write("DELETE", path, f"configmaps {key}", body)
        except NotFound:
            _log.debug("configmap %s was deleted already", key)

    async def pods(
        self, namespace: str, selector: LabelSelector | None = None, *, mounting: str | None = None
    ) -> tuple[PodView, ...]:
        """See Cluster."""
        labels = selector.query() if selector else ""
        query = {"labelSelector": labels} if labels else {}
        found = [parse_pod(raw) async for raw in self._list(api_path("v1", namespace, "pods"), "pods", query)]
        wanted = [pod for pod in found if mounting is None or pod.mounting(mounting)]
        return tuple(sorted(wanted, key=lambda pod: pod.key))

    async def nudge(self, pods: Iterable[PodView], value: str) -> NudgeReport:
        """See Cluster."""
        targets = [pod.key for pod in pods]
        results = await asyncio.gather(*(self._nudge(key, value) for key in targets))
        by_pod = dict(zip(targets, results, strict=True))
        return NudgeReport(
            nudged=tuple(key for key, error in by_pod.items() if error is None),
            gone=tuple(key for key, error in by_pod.items() if isinstance(error, NotFound)),
            failed={
                key: error
                for key, error in by_pod.items()
                if error is not None and not isinstance(error, NotFound)
            },
        )

    async def _nudge(self, key: ObjectKey, value: str) -> ClusterError | None:
        body = {"metadata": {"annotations": {NUDGE_ANNOTATION: value}}}
        path = api_path("v1", key.namespace, "pods", key.name)
        try:
            await self._write("PATCH", path, f"pods {key}", body, lean=True, deadline=NUDGE_DEADLINE_S)
        except ClusterError as error:
            return error
        return None

    def emit(self, regarding: ObjectRef, kind: EventType, reason: str, message: str) -> None:
        """See Cluster."""
        self.events.emit(Happening(regarding, kind, reason, message))

    async def _read(
        self, path: str, what: str, query: Mapping[str, str] | None = None, accept: str = JSON
    ) -> Json:
        verb = "list" if query is not None else "get"
        return await self._transport.send(Request("GET", path, f"{verb} {what}", query or {}, accept=accept))

    async def _write(
        self,
        method: Method,
        path: str,
        what: str,
        body: Json,
        *,
        lean: bool = False,
        deadline: float | None = None,
    ) -> Json:
        action = f"{_VERBS[method]} {what}"
        if not self._may_write():
            raise Fenced(action, "this process does not lead (any more), so it writes nothing")
        request = Request(method, path, action, {"fieldManager": FIELD_MANAGER}, body, deadline=deadline)
        return await self._transport.send(request if not lean else _lean(request))

    async def _list(
        self, path: str, what: str, query: Mapping[str, str], accept: str = JSON
    ) -> AsyncIterator[Json]:
        """The items of a list, page by page; goes on after a page's token has expired."""
        token = ""
        while True:
            page_query = dict(query) | {"limit": str(self._chunk_size)}
            if token:
                page_query["continue"] = token
            try:
                page = await self._read(path, what, page_query, accept)
            except Expired as expired:
                token = expired.resume
                continue
            for item in mappings_at(page, "items"):
                yield item
            token = text_at(mapping_at(page, "metadata"), "continue")
            if not token:
                return


_CHANGES = ("ADDED", "MODIFIED", "DELETED")
_jitter = random.SystemRandom()
_VERBS: Mapping[Method, str] = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


def _check_size(action: str, content: ConfigMapContent) -> None:
    """Refuses what the server would: its limit is on the values alone, in UTF-8 (MaxSecretSize of its core API)."""
    sizes = {key: len(text.encode()) for key, text in content.data.items()}
    sizes |= {key: len(value) for key, value in content.binary.items()}
    if sum(sizes.values()) > CONFIGMAP_LIMIT:
        parts = ", ".join(f"{key} {size:,}" for key, size in sorted(sizes.items()))
        total = (
            f"{sum(sizes.values()):,} bytes in all, more than the {CONFIGMAP_LIMIT:,} that a ConfigMap holds"
        )
        raise Invalid(action, f"too large: {total} ({parts})")


def _lean(request: Request) -> Request:
    """Asks for the object's metadata only in return: a pod is big, and nobody reads it."""
    return replace(request, accept=ONLY_METADATA)


def _rollout(raw: Json) -> RolloutObject:
    return parse_rollout({"apiVersion": _API, "kind": "PromptRollout"} | dict(raw))


async def connect(
    kubeconfig: Path | None = None,
    context: str | None = None,
    *,
    limits: Limits | None = None,
    observer: Observer | None = None,
) -> Transport:
    """A transport to the cluster that `load_configuration` finds.

    Raises:
        LoginError: there are no credentials.
    """

    async def login() -> Configuration:
        return await load_configuration(kubeconfig, context)

    return Transport(await login(), limits=limits, login=login, observer=observer)
