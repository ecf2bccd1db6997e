"""Jobs, their pods, and the CronJobs that serve as templates, on a real API server."""

from collections.abc import Callable, Mapping, Sequence

from promptrollout.cluster.errors import Fenced, NotFound
from promptrollout.cluster.objects import LabelSelector, ObjectKey
from promptrollout.cluster.transport import FIELD_MANAGER, Method, Request, Transport, api_path
from promptrollout.cluster.values import Json, mapping_at, mappings_at, text_at

_BATCH = "batch/v1"
_JOB_LABEL = "batch.kubernetes.io/job-name"


class KubeJobs:
    """Reads and writes Jobs. `may_write` is asked before each write; False raises Fenced."""

    def __init__(self, transport: Transport, may_write: Callable[[], bool] = lambda: True) -> None:
        self._transport = transport
        self._may_write = may_write

    async def template(self, key: ObjectKey) -> Json | None:
        """The jobTemplate of that CronJob, None if there is none."""
        cron_job = await self._find(api_path(_BATCH, key.namespace, "cronjobs", key.name), f"cronjobs {key}")
        return None if cron_job is None else mapping_at(mapping_at(cron_job, "spec"), "jobTemplate")

    async def get(self, key: ObjectKey) -> Json | None:
        """The Job as stored now, None if there is none."""
        return await self._find(api_path(_BATCH, key.namespace, "jobs", key.name), f"jobs {key}")

    async def create(self, manifest: Json) -> Json:
        """Create it; raises AlreadyExists, Invalid."""
        metadata = mapping_at(manifest, "metadata")
        key = ObjectKey(text_at(metadata, "namespace"), text_at(metadata, "name"))
        return await self._write("POST", api_path(_BATCH, key.namespace, "jobs"), f"jobs {key}", manifest)

    async def delete(self, key: ObjectKey, uid: str) -> None:
        """Delete this one with its pods; done already is fine."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            path = api_path(_BATCH, key.namespace, "jobs", key.name)
            await self._write("DELETE", path, f"jobs {key}", options)
        except NotFound:
            return

    async def of(self, namespace: str, labels: Mapping[str, str]) -> Sequence[Json]:
        """The Jobs that carry these labels."""
        return await self._list(api_path(_BATCH, namespace, "jobs"), f"jobs {namespace}", labels)

    async def pods(self, key: ObjectKey) -> Sequence[Json]:
        """The pods of that Job."""
        return await self._list(api_path("v1", key.namespace, "pods"), f"pods {key}", {_JOB_LABEL: key.name})

    async def _find(self, path: str, what: str) -> Json | None:
        try:
            return await self._transport.send(Request("GET", path, f"get {what}"))
        except NotFound:
            return None

    async def _list(self, path: str, what: str, labels: Mapping[str, str]) -> Sequence[Json]:
        """In one page: they are few, being of one rollout or one Job."""
        query = {"labelSelector": LabelSelector(labels).query(), "limit": "500"}
        return mappings_at(await self._transport.send(Request("GET", path, f"list {what}", query)), "items")

    async def _write(self, method: Method, path: str, what: str, body: Json) -> Json:
        action = f"{'create' if method == 'POST' else 'delete'} {what}"
        if not self._may_write():
            raise Fenced(action, "this process does not lead (any more), so it writes nothing")
        return await self._transport.send(
            Request(method, path, action, {"fieldManager": FIELD_MANAGER}, body)
        )
