"""The node agent's access to the API server: calls on raw JSON, and a list-and-watch that never gives up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from e2e.objects import KubeObject

log = logging.getLogger(__name__)

RETRY_S = 0.5
WATCH_S = 300
MERGE_PATCH = "application/merge-patch+json"


class ApiError(RuntimeError):
    """The API server's refusal; `status` is the HTTP code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


#: What a call may raise when the server refuses, is away or does not answer.
FAILURES = (ApiError, aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True)
class Listing:
    """All objects of a collection at one moment; what is not in it is gone."""

    objects: tuple[KubeObject, ...]


@dataclass(frozen=True)
class Event:
    """A change: ADDED, MODIFIED or DELETED."""

    kind: str
    object: KubeObject


class Api:
    """One user's connection. Paths are the server's, `/api/v1/pods` say."""

    def __init__(self, api_client: client.ApiClient) -> None:
        self._client = api_client

    @classmethod
    async def connect(cls, kubeconfig: Path) -> Api:
        settings = client.Configuration()
        load = config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call] # untyped there
        await load
        return cls(client.ApiClient(settings))

    async def close(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call] # untyped there
        await asyncio.sleep(
            0.1
        )  # TLS connections close in the loop's next turns (aiohttp, "graceful shutdown")

    async def get(self, path: str, **query: str) -> KubeObject:
        return await self._json("GET", path, query)

    async def post(self, path: str, body: Mapping[str, Any]) -> KubeObject:
        return await self._json("POST", path, {}, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> KubeObject:
        return await self._json("PUT", path, {}, body)

    async def merge(self, path: str, body: Mapping[str, Any]) -> KubeObject:
        """A JSON merge patch (RFC 7396)."""
        return await self._json("PATCH", path, {}, body, MERGE_PATCH)

    async def delete(self, path: str, options: Mapping[str, Any]) -> None:
        await self._json("DELETE", path, {}, options)

    async def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> KubeObject:
        response = await self._send(method, path, query, body, content_type, timeout=10.0)
        text = await response.text()
        if response.status >= 400:
            raise ApiError(response.status, text[:500])
        return KubeObject(json.loads(text))

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content_type: str,
        *,
        timeout: float,  # noqa: ASYNC109 - handed to the client
    ) -> aiohttp.ClientResponse:
        serialized = await self._client.param_serialize(
            method=method,
            resource_path=path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(*serialized, _request_timeout=timeout, _preload_content=False)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def follow(self, path: str, **selectors: str) -> AsyncGenerator[Listing | Event, None]:
        """List, then watch; on any failure list again. Never ends by itself."""
        while True:
            try:
                listing = await self.get(path, **selectors)
                yield Listing(tuple(listing.items("items")))
                version = listing.text("metadata.resourceVersion")
                async with contextlib.aclosing(self._watch(path, version, selectors)) as events:
                    async for event in events:
                        yield event
            except FAILURES as error:
                log.warning("watch of %s %s: %s; listing again", path, selectors, error)
            await asyncio.sleep(RETRY_S)

    async def _watch(
        self, path: str, version: str, selectors: Mapping[str, str]
    ) -> AsyncGenerator[Event, None]:
        query = {**selectors, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
        response = await self._send("GET", path, query, None, "application/json", timeout=WATCH_S + 10.0)
        try:
            if response.status >= 400:
                raise ApiError(response.status, (await response.text())[:500])
            async for line in response.content:
                change = KubeObject(json.loads(line))
                subject = KubeObject(change.mapping("object"))
                if change.text("type") == "ERROR":
                    raise ApiError(int(subject.number("code")), subject.text("message"))
                yield Event(change.text("type"), subject)
        finally:
            response.close()
