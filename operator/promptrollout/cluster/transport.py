"""Requests to the API server: one long-lived client, deadlines, retries, typed errors.

It speaks paths and JSON instead of the client's generated classes: those validate every argument and build a model of
every answer, which costs more CPU than the request, and would bring untyped values into the house.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, cast
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from promptrollout.cluster.errors import Unauthorized, Unavailable, error_for
from promptrollout.cluster.values import Json

Method = Literal["GET", "POST", "PATCH", "DELETE"]
#: As whom the operator's fields appear in managedFields.
FIELD_MANAGER: Final = "prompt-rollout-operator"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON: Final = "application/json"
#: Asks the server to send back an object's metadata alone.
ONLY_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
ONLY_METADATA_LIST: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
)

_log = logging.getLogger(__name__)
_jitter = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much.

    Attributes:
        attempt: seconds that one request may take.
        deadline: seconds for a call in all, retries and waits included.
        connect: seconds to get a connection.
        concurrency: requests in flight at once; more wait their turn. Each takes a connection that is kept, and one
            with TLS costs about a quarter of a megabyte.
        watches: watches of single objects at once; each has a connection of its own.
        backoff, backoff_cap: seconds before the first retry, doubling up to the cap, with full jitter.
    """

    attempt: float = 10.0
    deadline: float = 30.0
    connect: float = 5.0
    concurrency: int = 16
    backoff: float = 0.1
    backoff_cap: float = 5.0
    watches: int = 256


@dataclass(frozen=True, slots=True)
class Request:
    """One call.

    Attributes:
        path: from the root, with every name already quoted.
        action: in words, for errors: `patch promptrollouts/status shop/support-answer`.
        urgent: does not wait behind other requests (leader election).
        deadline: seconds in all, when less than usual is to be waited.
        retries: whether transient failures are tried again within the deadline.
    """

    method: Method
    path: str
    action: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None
    accept: str = JSON
    urgent: bool = False
    deadline: float | None = None
    retries: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as it went, for the operator's own metrics. `code` is 0 when no answer came."""

    method: Method
    action: str
    code: int
    seconds: float


def api_path(group_version: str, namespace: str, resource: str, name: str = "", subresource: str = "") -> str:
    """A path of the API, every name quoted; an empty namespace means cluster-wide."""
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    parts = [root]
    if namespace:
        parts.append(f"namespaces/{quote(namespace, safe='')}")
    parts.append(resource)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


Observer = Callable[[Outcome], None]
Login = Callable[[], Awaitable[Configuration]]


class Transport:
    """Sends requests; use as an async context manager, or call `close`."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        limits: Limits | None = None,
        login: Login | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Prepares; connects with the first request.

        Args:
            configuration: from `load_configuration`.
            limits: deadlines and concurrency.
            login: gets new credentials once the server has refused the present ones (401).
            observer: told of every request.
        """
        self._limits = limits or Limits()
        # Room for the urgent, and for watches, which keep theirs.
        configuration.connection_pool_maxsize = self._limits.concurrency + 8 + self._limits.watches
        self._client = ApiClient(configuration)
        self._client.user_agent = "prompt-rollout"
        self._slots = asyncio.Semaphore(self._limits.concurrency)
        self._login = login
        self._relogin = asyncio.Lock()
        self._observer = observer

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()  # type: ignore[no-untyped-call] # untyped there

    async def send(self, request: Request) -> Json:
        """The answer's JSON object.

        Raises:
            ClusterError: see errors.py; `Unavailable` once the deadline is over.
        """
        limit = self._limits.deadline if request.deadline is None else request.deadline
        try:
            async with asyncio.timeout(limit):
                return await self._persist(request)
        except TimeoutError:
            raise Unavailable(request.action, f"no answer within {limit:g} s") from None

    async def watch(self, request: Request, seconds: float) -> AsyncGenerator[Json, None]:
        """The events of a watch, until the server ends it after about so many seconds.

        Raises:
            ClusterError: it could not begin, or broke; what was told until then stands.
        """
        query = {**request.query, "watch": "true", "timeoutSeconds": str(int(seconds))}
        # Longer than the server's own end: only a connection that is dead without a word runs into it.
        limits = aiohttp.ClientTimeout(total=None, connect=self._limits.connect, sock_read=seconds + 15.0)
        try:
            response = await self._open(replace(request, query=query), limits)
            async with response:
                try:
                    if response.status >= 400:
                        raise error_for(
                            request.action, response.status, _decode(await response.read()) or {}, None
                        )
                    pending = b""
                    async for piece in response.content.iter_any():
                        *lines, pending = (pending + piece).split(b"\n")
                        for line in lines:
                            if (event := _decode(line)) is not None:
                                yield event
                finally:
                    _hang_up(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = str(error) or type(error).__name__
            raise Unavailable(request.action, f"the watch broke: {text}") from error

    async def _persist(self, request: Request) -> Json:
        """Tries until there is an answer or a lasting error; the caller holds the deadline."""
        ends = asyncio.get_running_loop().time() + (request.deadline or self._limits.deadline)
        refused = False
        attempt = 0
        while True:
            credentials = self._credentials()
            try:
                return await self._attempt(request)
            except Unauthorized:
                if refused or not await self._renew(credentials):
                    raise
                refused = True
            except Unavailable as error:
                pause = self._pause(attempt, error)
                out_of_time = asyncio.get_running_loop().time() + pause >= ends
                if out_of_time or not request.retries or not _repeatable(request, error):
                    raise
                attempt += 1
                _log.debug("%s; again in %.2f s", error, pause)
                await asyncio.sleep(pause)

    def _pause(self, attempt: int, error: Unavailable) -> float:
        most = min(self._limits.backoff * 2.0**attempt, self._limits.backoff_cap)
        return max(_jitter.uniform(most / 2, most), error.retry_after or 0.0)

    async def _attempt(self, request: Request) -> Json:
        if request.urgent:
            return await self._exchange(request)
        async with self._slots:
            return await self._exchange(request)

    async def _exchange(self, request: Request) -> Json:
        started = time.perf_counter()
        code = 0
        try:
            code, headers, raw = await self._call(request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = str(error) or type(error).__name__
            raise Unavailable(request.action, f"API server not reached: {text}") from error
        finally:
            if self._observer is not None:
                seconds = time.perf_counter() - started
                self._observer(Outcome(request.method, request.action, code, seconds))
        answer = _decode(raw)
        if code >= 400:
            raise error_for(request.action, code, answer or {}, _seconds(headers.get("Retry-After")))
        if answer is None:
            raise Unavailable(request.action, f"HTTP {code}, but the answer is not a JSON object")
        return answer

    async def _call(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        limits = aiohttp.ClientTimeout(total=self._limits.attempt, connect=self._limits.connect)
        response = await self._open(request, limits)
        return response.status, response.headers, await response.read()

    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        content_type = MERGE_PATCH if request.method == "PATCH" else JSON
        parameters = await self._client.param_serialize(
            method=request.method,
            resource_path=request.path,
            query_params=list(request.query.items()),
            header_params={"Content-Type": content_type, "Accept": request.accept},
            body=request.body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(*parameters, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        return response

    def _credentials(self) -> object:
        return self._client.configuration.api_key.get("BearerToken")

    async def _renew(self, refused: object) -> bool:
        """Fetches credentials anew, once for all requests that were refused; False if that cannot help."""
        async with self._relogin:
            if self._credentials() != refused:
                return True
            if self._login is None:
                return False
            fresh = (await self._login()).api_key.get("BearerToken")
            if fresh is None or fresh == refused:
                return False
            self._client.configuration.api_key["BearerToken"] = fresh
            return True


def _repeatable(request: Request, error: Unavailable) -> bool:
    """Whether doing it twice does no harm.

    Patches of ours carry a resourceVersion or set one value, deletions name the uid. A POST whose answer was lost may
    have created something: it is repeated only when the server has said that it did not take the request.
    """
    return request.method != "POST" or error.retry_after is not None


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """End a connection that was not read to its end: a farewell by TLS may outlast the loop, and so may the socket."""
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.abort()


def _decode(raw: bytes) -> Json | None:
    try:
        value: object = json.loads(raw)
    except ValueError:
        return None
    return cast("Json", value) if isinstance(value, dict) else None


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; the API server never sends a date."""
    return float(header) if header is not None and header.isdigit() else None
