"""The node's copies of the ConfigMaps its pods mount, each kept by a watch of its own (kubelet's strategy `Watch`)."""

from __future__ import annotations

import asyncio
import base64

from e2e.objects import KubeObject
from e2e.workload.watching import Api, Event, Listing


class _Copy:
    """One ConfigMap as its watch last saw it."""

    def __init__(self) -> None:
        self.listed = asyncio.Event()
        self.object: KubeObject | None = None

    async def keep(self, api: Api, namespace: str, name: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        async for change in api.follow(path, fieldSelector=f"metadata.name={name}"):
            match change:
                case Listing(objects):
                    self.object = objects[0] if objects else None
                case Event("DELETED", _):
                    self.object = None
                case Event(_, seen):
                    self.object = seen
            self.listed.set()


class ConfigMaps:
    """A read is from the copy, which can be a little behind the server. A ConfigMap once asked for is followed on."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._copies: dict[tuple[str, str], _Copy] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Its files, None when there is no such ConfigMap."""
        key = (namespace, name)
        if key not in self._copies:
            self._copies[key] = _Copy()
            self._tasks.add(asyncio.create_task(self._copies[key].keep(self._api, namespace, name)))
        copy = self._copies[key]
        await copy.listed.wait()
        return files_of(copy.object) if copy.object is not None else None


def files_of(config_map: KubeObject) -> dict[str, bytes]:
    """`data` as UTF-8, `binaryData` decoded."""
    text = {key: value.encode() for key, value in config_map.texts("data").items()}
    binary = {key: base64.b64decode(value) for key, value in config_map.texts("binaryData").items()}
    return {**text, **binary}
