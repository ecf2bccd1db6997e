"""A payload straight from the API server: one watch on one ConfigMap, with nothing but the standard library.

The pod's service account needs `get` and `watch` on that ConfigMap by name (list and watch of one name are allowed by
`resourceNames`, since the field selector names it). No nudge and no kubelet is involved.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from promptrollout_sdk.errors import PayloadError, log
from promptrollout_sdk.payload import Read

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = 10.0
_WATCH_SECONDS = 240  # then the server ends the watch; a connection that died unnoticed is not trusted longer
_BACKOFF = (0.5, 30.0)
_BACKOFF_AT_FIRST = 2.0  # while nothing was ever read, and the default answers
_MAX_BYTES = 4 * 1024 * 1024  # a ConfigMap of 1 MiB, as escaped JSON in an event


@dataclass(frozen=True, slots=True)
class Api:
    """Where the API server is and how to speak to it. The token is read anew each time: kubelet rotates it."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def in_cluster(cls) -> Api:
        """From the pod's service account. PayloadError outside of a pod."""
        host, port = (
            os.environ.get("KUBERNETES_SERVICE_HOST"),
            os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
        )
        if not host:
            raise PayloadError(
                "missing", "KUBERNETES_SERVICE_HOST is not set: this is no pod, use from_directory"
            )
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", _ACCOUNT / "token", _ACCOUNT / "ca.crt")

    def get(self, path: str, timeout: float) -> tuple[HTTPConnection, HTTPResponse]:
        """An open response; OSError or HTTPException when there is none."""
        target = urlsplit(self.url)
        host = target.hostname or ""
        connection: HTTPConnection
        if target.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca_file)
            connection = HTTPSConnection(host, target.port, timeout=timeout, context=context)
        else:
            connection = HTTPConnection(host, target.port, timeout=timeout)
        headers = {"Accept": "application/json", "User-Agent": "promptrollout-sdk"}
        if self.token_file:
            headers["Authorization"] = f"Bearer {self.token_file.read_text().strip()}"
        try:
            connection.request("GET", path, headers=headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise


class ApiSource:
    """The newest data of one ConfigMap. A thread of its own keeps it; `version` tells the rollout's poll of changes."""

    def __init__(self, namespace: str, config_map: str, api: Api) -> None:
        self._path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps"
        self._config_map = config_map
        self._where = f"ConfigMap {namespace}/{config_map}"
        self._api = api
        self._data: Mapping[str, str] | PayloadError = PayloadError(
            "missing", f"{self._where} was not read yet"
        )
        self._version = 0
        self._read = False
        self._stopped = threading.Event()
        self._owner = 0

    @property
    def name(self) -> str:
        """The ConfigMap's name."""
        return self._config_map

    def version(self) -> object:
        """Counts the changes seen. The first call reads once and starts the watch; a forked child starts its own."""
        if self._owner != os.getpid():
            start = "" if self._owner else self._list()
            self._owner = os.getpid()
            self._stopped = threading.Event()
            threading.Thread(
                target=self._run, args=(start,), name="promptrollout-api-watch", daemon=True
            ).start()
        return self._version

    def open(self) -> Read:
        """A reader of the newest data."""
        data = self._data
        if isinstance(data, PayloadError):
            raise data

        def read(file: str) -> bytes:
            if file not in data:
                raise PayloadError("missing", f"{self._where} has no {file}")
            return data[file].encode()

        return read

    def close(self) -> None:
        """End the watch."""
        self._stopped.set()

    def _run(self, resource_version: str) -> None:
        """Watch, read anew where the watch cannot go on, back off when the server is away."""
        delay = _BACKOFF[0]
        while not self._stopped.is_set():
            if not resource_version:
                if self._stopped.wait(delay * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                    return
                delay = min(delay * 2, _BACKOFF[1] if self._read else _BACKOFF_AT_FIRST)
                resource_version = self._list()
            else:
                resource_version, delay = self._watch(resource_version), _BACKOFF[0]

    def _list(self) -> str:
        """Read the ConfigMap; the version to watch from, empty when the server could not be asked."""
        try:
            connection, response = self._api.get(f"{self._path}/{quote(self._config_map, safe='')}", _TIMEOUT)
            try:
                body = json.loads(response.read(_MAX_BYTES))
            finally:
                connection.close()
            if response.status != 200:
                reason = "missing" if response.status == 404 else "unreadable"
                message = str(body.get("message", "")) if isinstance(body, dict) else ""
                self._set(PayloadError(reason, f"{self._where}: HTTP {response.status} {message}"))
                return ""
            self._set(_data_of(body))
            return str(body["metadata"]["resourceVersion"])
        except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
            self._set(PayloadError("unreadable", f"{self._where}: {type(error).__name__}: {error}"))
            return ""

    def _watch(self, resource_version: str) -> str:
        """Follow changes; the version to go on from, empty to read anew."""
        query = urlencode(
            {
                "watch": "true",
                "fieldSelector": f"metadata.name={self._config_map}",
                "resourceVersion": resource_version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": _WATCH_SECONDS,
            }
        )
        try:
            connection, response = self._api.get(f"{self._path}?{query}", _WATCH_SECONDS + _TIMEOUT)
            try:
                if response.status != 200:
                    return (
                        ""  # 410 Gone: too old to go on from; anything else is told by the read that follows
                    )
                for event in _events(response):
                    if self._stopped.is_set() or event.get("type") == "ERROR":
                        return ""
                    resource_version = str(event["object"]["metadata"]["resourceVersion"])
                    self._take(event)
            finally:
                connection.close()
        except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
            log.info("%s: the watch broke off (%s), reading anew", self._where, error)
            return ""
        return resource_version

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["type"] in ("ADDED", "MODIFIED"):
            self._set(_data_of(event["object"]))
        elif event["type"] == "DELETED":
            self._set(PayloadError("missing", f"{self._where} was deleted"))

    def _set(self, data: Mapping[str, str] | PayloadError) -> None:
        self._data = data
        self._read = self._read or not isinstance(data, PayloadError)
        self._version += 1


def _data_of(config_map: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in (config_map.get("data") or {}).items()}


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    while line := response.readline(_MAX_BYTES):
        if line.strip():
            yield json.loads(line)
