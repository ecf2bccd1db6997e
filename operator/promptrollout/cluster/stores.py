"""Leases, Events and access reviews on a real API server."""

from collections.abc import Mapping

from promptrollout.cluster.access import Question
from promptrollout.cluster.errors import NotFound
from promptrollout.cluster.events import micro_time
from promptrollout.cluster.lease import LeaseRecord
from promptrollout.cluster.objects import ObjectKey
from promptrollout.cluster.transport import FIELD_MANAGER, Method, Request, Transport, api_path
from promptrollout.cluster.values import Json, flag_at, mapping_at, moment_at, number_at, text_at

EVENT_DEADLINE_S = 15.0


class KubeLeases:
    """Leases as leader election needs them; its requests wait behind no others."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get_lease(self, key: ObjectKey, deadline: float) -> LeaseRecord | None:
        """The lease as stored now, None if there is none."""
        try:
            return _parse_lease(await self._send("GET", key, None, deadline))
        except NotFound:
            return None

    async def create_lease(self, key: ObjectKey, record: LeaseRecord, deadline: float) -> LeaseRecord:
        """Create it; raises AlreadyExists."""
        body: dict[str, object] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": key.namespace, "name": key.name},
            "spec": _lease_spec(record),
        }
        return _parse_lease(await self._send("POST", key, body, deadline))

    async def update_lease(self, key: ObjectKey, record: LeaseRecord, deadline: float) -> LeaseRecord:
        """Change the version that `record.version` names; raises Conflict or NotFound."""
        body: dict[str, object] = {
            "metadata": {"resourceVersion": record.version},
            "spec": _lease_spec(record),
        }
        return _parse_lease(await self._send("PATCH", key, body, deadline))

    async def _send(self, method: Method, key: ObjectKey, body: Json | None, deadline: float) -> Json:
        name = "" if method == "POST" else key.name
        path = api_path("coordination.k8s.io/v1", key.namespace, "leases", name)
        query = {} if method == "GET" else {"fieldManager": FIELD_MANAGER}
        action = f"{method.lower()} leases.coordination.k8s.io {key}"
        request = Request(method, path, action, query, body, urgent=True, deadline=deadline, retries=False)
        return await self._transport.send(request)


def _lease_spec(record: LeaseRecord) -> dict[str, object]:
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration,
        "leaseTransitions": record.transitions,
        "acquireTime": micro_time(record.acquired_at) if record.acquired_at else None,
        "renewTime": micro_time(record.renewed_at) if record.renewed_at else None,
    }


def _parse_lease(raw: Json) -> LeaseRecord:
    spec = mapping_at(raw, "spec")
    return LeaseRecord(
        holder=text_at(spec, "holderIdentity"),
        duration=number_at(spec, "leaseDurationSeconds"),
        transitions=number_at(spec, "leaseTransitions"),
        acquired_at=moment_at(spec, "acquireTime"),
        renewed_at=moment_at(spec, "renewTime"),
        version=text_at(mapping_at(raw, "metadata"), "resourceVersion"),
    )


class KubeEvents:
    """Where Events are written."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create_event(self, key: ObjectKey, body: Mapping[str, object]) -> None:
        """Create one."""
        await self._send("POST", key, "", body)

    async def patch_event(self, key: ObjectKey, patch: Mapping[str, object]) -> None:
        """Patch one."""
        await self._send("PATCH", key, key.name, patch)

    async def _send(self, method: Method, key: ObjectKey, name: str, body: Json) -> None:
        path = api_path("events.k8s.io/v1", key.namespace, "events", name)
        action = f"{method.lower()} events.events.k8s.io {key}"
        query = {"fieldManager": FIELD_MANAGER}
        await self._transport.send(Request(method, path, action, query, body, deadline=EVENT_DEADLINE_S))


class KubeAccess:
    """Asks the API server about the account's own rights."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def may(self, question: Question) -> bool:
        """Whether it is allowed."""
        resource, _, subresource = question.resource.partition("/")
        attributes: dict[str, object] = {
            "verb": question.verb,
            "group": question.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": question.namespace,
            "name": question.name,
        }
        body: dict[str, object] = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        path = api_path("authorization.k8s.io/v1", "", "selfsubjectaccessreviews")
        request = Request("POST", path, "ask for the operator's rights", body=body)
        return flag_at(mapping_at(await self._transport.send(request), "status"), "allowed")
