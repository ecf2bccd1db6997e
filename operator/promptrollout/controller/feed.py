"""kopf, and nothing else: what happens in the cluster is told to the intake, in order and without gaps.

Two hands work together. The watch is kopf's: it tells at once, writes nothing (no finalizer, annotation or Event), and
loses something now and then: what was deleted while a watch was broken (410 Gone) never comes as DELETED. The list is
ours: complete, but only every few minutes; it repairs what the watch lost, and tells a watch that has gone deaf.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import kopf

from promptrollout.api.base import GROUP, PLURAL, VERSION
from promptrollout.cluster.errors import ClusterError, NotFound
from promptrollout.cluster.login import load_configuration
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.cluster.parsing import parse_configmap, parse_rollout
from promptrollout.cluster.protocol import Cluster
from promptrollout.controller.children import EVIDENCE_KIND, KIND_LABEL, MANAGER
from promptrollout.controller.memory import newer
from promptrollout.controller.telemetry import Telemetry

#: How a watch may fail before the process gives up: that often within so many seconds.
_FAILURES: Final = 5
_FAILURES_WITHIN_S: Final = 600.0
#: How long a change may be in the list before it must have come through the watch too.
_DEAF_AFTER_S: Final = 30.0
_RETRY_S: Final = 2.0
_CONFIGMAPS: Final = "configmaps"
_PAYLOADS: Final = {**MANAGER, KIND_LABEL: "payload"}

log = logging.getLogger(__name__)

Login = Callable[[], Awaitable[kopf.ConnectionInfo]]


class Intake(Protocol):
    """Who wants to know. Calls are plain and quick: they note what they are told and return."""

    def rollout_changed(self, seen: RolloutObject) -> None:
        """A rollout was listed, created or changed."""

    def rollout_gone(self, key: ObjectKey) -> None:
        """A rollout was deleted."""

    def configmap_changed(self, seen: ConfigMapObject, *, gone: bool) -> None:
        """A ConfigMap of ours was listed, created, changed or deleted."""


class WatchLostError(Exception):
    """The watch fails again and again: the process had better start anew."""


@dataclass(slots=True)
class _Told:
    """What is known of an object: the newest version, and the newest that came through the watch."""

    uid: str
    version: str
    watched: str = ""


class Sieve:
    """Puts what watch and list say into one order, for each object on its own.

    kopf handles each uid by a task of its own, and a list is older than the events that came while it was read. So of
    two namesakes (one deleted, one created anew) the late word of the first must not be taken for the second's.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._rollouts: dict[ObjectKey, _Told] = {}
        self._payloads: dict[ObjectKey, ConfigMapObject] = {}
        self._buried: set[str] = set()

    def rollout(self, seen: RolloutObject, *, gone: bool = False, listed: bool = False) -> bool:
        """Tell the intake if it is news; whether it was."""
        told = self._rollouts.get(seen.key)
        same = told is not None and told.uid == seen.uid
        if gone:
            self._buried.add(seen.uid)
            return (same or told is None) and self._gone(seen.key)
        if seen.uid in self._buried or (told and not same and not newer(seen.resource_version, told.version)):
            return False
        if told is None or not same:
            if told is not None:
                self._gone(seen.key)
            told = self._rollouts[seen.key] = _Told(seen.uid, "")
        if not listed:
            told.watched = seen.resource_version
        if told.version and not newer(seen.resource_version, told.version):
            return False
        told.version = seen.resource_version
        self._intake.rollout_changed(seen)
        return True

    def configmap(self, seen: ConfigMapObject, *, gone: bool = False) -> None:
        """Tell the intake; payloads are kept in mind (without their content), for the list to miss them."""
        if seen.labels.get(KIND_LABEL) == _PAYLOADS[KIND_LABEL]:
            if not gone:
                self._payloads[seen.key] = replace(seen, data={})
            elif seen.key in self._payloads and self._payloads[seen.key].uid == seen.uid:
                del self._payloads[seen.key]
        self._intake.configmap_changed(seen, gone=gone)

    def begin_list(self) -> dict[ObjectKey, str]:
        """The uids that a list which begins now must have, unless they go meanwhile; it forgets older burials."""
        self._buried.clear()
        return {key: told.uid for key, told in self._rollouts.items()}

    def miss_rollouts(self, before: dict[ObjectKey, str], listed: Collection[ObjectKey]) -> int:
        """What was there before the list and is not in it is gone; how many of them nobody had told."""
        lost = [
            key
            for key, uid in before.items()
            if key not in listed and key in self._rollouts and self._rollouts[key].uid == uid
        ]
        return sum(self._gone(key) for key in lost)

    def miss_payloads(self, before: Collection[ConfigMapObject], listed: Collection[ObjectKey]) -> int:
        """As `miss_rollouts`, for payload ConfigMaps."""
        lost = [p for p in before if p.key not in listed and self._payloads.get(p.key) is p]
        for payload in lost:
            self.configmap(payload, gone=True)
        return len(lost)

    @property
    def payloads(self) -> list[ConfigMapObject]:
        """The payload ConfigMaps that are known."""
        return list(self._payloads.values())

    def unheard(self, listed: dict[ObjectKey, RolloutObject]) -> int:
        """How many of these the watch has not told, in this version or a newer one."""
        known = ((seen, self._rollouts.get(key)) for key, seen in listed.items())
        return sum(
            told is not None and told.uid == seen.uid and newer(seen.resource_version, told.watched)
            for seen, told in known
        )

    def _gone(self, key: ObjectKey) -> bool:
        self._rollouts.pop(key, None)
        self._intake.rollout_gone(key)
        return True


class Feed:
    """Watch and list, side by side, until stopped."""

    def __init__(
        self,
        intake: Intake,
        cluster: Cluster,
        login: Login,
        telemetry: Telemetry,
        *,
        namespaces: Sequence[str] = (),
        on_start: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepares.

        Args:
            intake: is told what happens.
            cluster: what is listed.
            login: kopf's credentials, asked again when the server has refused them.
            telemetry: events and repairs are counted there.
            namespaces: the watched ones; none means all.
            on_start: called each time kopf has started: it has taken over the process' signal handlers then.
        """
        self._sieve = Sieve(intake)
        self._cluster = cluster
        self._login = login
        self._telemetry = telemetry
        self._namespaces = tuple(namespaces)
        self._on_start = on_start
        self._stopping = False
        self._restart = asyncio.Event()
        self._watching = False
        self.problem = "the rollouts have not been listed yet"

    @property
    def ready(self) -> str:
        """What keeps the feed from being complete; empty if nothing does."""
        return self.problem or ("" if self._watching else "the watch has not begun")

    async def run(self, every: float) -> None:
        """Watch for ever, and list every so many seconds.

        Raises:
            WatchLostError: the watch failed too often.
        """
        await self._list_once()
        parts = [
            asyncio.create_task(self._list_for_ever(every), name="resync"),
            asyncio.create_task(self._watch_for_ever(), name="watch"),
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def stop(self) -> None:
        """Tell nothing more. The tasks of `run` are to be cancelled then."""
        self._stopping = True

    # The list.

    async def _list_once(self) -> None:
        """Waits for the API server and the CRD: without it kopf says nothing, and never watches."""
        said = ""
        while True:
            try:
                listed = await self.resync()
            except ClusterError as error:
                self.problem = _cure(error)
                if self.problem != said:
                    log.error("%s", self.problem)  # noqa: TRY400 - the message is the whole story
                said = self.problem
                await asyncio.sleep(_RETRY_S)
            else:
                log.info("%d rollouts are there", len(listed))
                return

    async def _list_for_ever(self, every: float) -> None:
        pause = min(every, _DEAF_AFTER_S)  # the first look at the watch comes early
        while True:
            await asyncio.sleep(pause)
            pause = every
            try:
                listed = await self.resync()
            except ClusterError as error:
                self.problem = _cure(error)
                log.warning("%s; what a watch has lost is repaired later", self.problem)
                pause = min(every, _DEAF_AFTER_S)
                continue
            await asyncio.sleep(_DEAF_AFTER_S)
            unheard = self._sieve.unheard(listed)
            if unheard and self._watching:
                log.error("the watch has not told %d changes that the list has: it is started anew", unheard)
                self._telemetry.repaired("watch", 1)
                self._restart.set()

    async def resync(self) -> dict[ObjectKey, RolloutObject]:
        """List all, and tell what is news. Returns the rollouts, without their content.

        Raises:
            ClusterError: the list is not complete; what it had so far is told, nothing is missed.
        """
        before, payloads = self._sieve.begin_list(), self._sieve.payloads
        listed: dict[ObjectKey, RolloutObject] = {}
        async for seen in self._cluster.list_rollouts():
            self._sieve.rollout(seen, listed=True)
            listed[seen.key] = replace(seen, spec={}, status={})
        lost = self._sieve.miss_rollouts(before, listed)
        found: set[ObjectKey] = set()
        for namespace in self._namespaces or ("",):
            async for payload in self._cluster.list_configmaps(namespace, _PAYLOADS):
                self._sieve.configmap(payload)
                found.add(payload.key)
        lost_payloads = self._sieve.miss_payloads(payloads, found)
        self._telemetry.repaired(PLURAL, lost)
        self._telemetry.repaired(_CONFIGMAPS, lost_payloads)
        if lost or lost_payloads:
            log.info("list: %d rollouts and %d ConfigMaps are gone unheard", lost, lost_payloads)
        self.problem = ""
        return listed

    # The watch.

    async def _watch_for_ever(self) -> None:
        failures: deque[float] = deque(maxlen=_FAILURES)
        loop = asyncio.get_running_loop()
        while True:
            try:
                error = await self._watch()
            except Exception as failure:
                error = failure
            if error is None:
                continue
            failures.append(loop.time())
            if len(failures) == _FAILURES and failures[-1] - failures[0] < _FAILURES_WITHIN_S:
                raise WatchLostError(f"the watch ended {_FAILURES} times in a row: {error}") from error
            log.error("the watch ended, and is started anew: %s", str(error) or type(error).__name__)
            await asyncio.sleep(_RETRY_S)
            # While the API server is away, starting kopf again and again helps nobody.
            await self._list_once()

    async def _watch(self) -> BaseException | None:
        """Run kopf until it fails (returns why) or until it is wanted anew (returns None)."""
        self._restart.clear()
        stop: asyncio.Event = asyncio.Event()
        sessions = _Sessions(self._login)
        tasks = await kopf.spawn_tasks(
            registry=self._handlers(sessions),
            settings=kopf_settings(),
            identity="prompt-rollout",  # type: ignore[arg-type] # a NewType of kopf's own; else it asks DNS and /etc/passwd
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=stop,
        )
        self._on_start()
        running = asyncio.create_task(kopf.run_tasks(tasks, ignored=_NotOfKopf()), name="kopf")
        wanted_anew = asyncio.create_task(self._restart.wait(), name="restart of the watch")
        self._watching = True
        try:
            await asyncio.wait({running, wanted_anew}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                return None
            error = None if running.cancelled() else running.exception()
            return error or RuntimeError("kopf has ended without being asked to")
        finally:
            self._watching = False
            stop.set()
            wanted_anew.cancel()
            if not running.done():
                await asyncio.wait({running}, timeout=5.0)
                running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await sessions.close()

    def _handlers(self, sessions: "_Sessions") -> kopf.OperatorRegistry:
        """One for each kind. They are coroutines: kopf runs plain functions in threads."""
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: object) -> kopf.AiohttpSession:
            return await sessions.open()

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def rollout(event: Any, **_: object) -> None:  # noqa: ANN401 - kopf's own event; parsed in the next line
            self._take(PLURAL, str(event["type"]))
            if not self._stopping:
                self._sieve.rollout(parse_rollout(event["object"]), gone=event["type"] == "DELETED")

        @kopf.on.event("", "v1", _CONFIGMAPS, registry=registry)
        async def configmap(event: Any, **_: object) -> None:  # noqa: ANN401 - as above
            self._take(_CONFIGMAPS, str(event["type"]))
            if not self._stopping:
                self._sieve.configmap(parse_configmap(event["object"]), gone=event["type"] == "DELETED")

        return registry

    def _take(self, resource: str, kind: str) -> None:
        self._telemetry.watch_event(resource, "LISTED" if kind == "None" else kind)


class _Sessions:
    """The connections that kopf uses. It does not close its own when it is cancelled, so they are ours.

    A new session counts as new credentials: one that the server refuses for a while (401) does not end kopf.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._open: list[aiohttp.ClientSession] = []

    async def open(self) -> kopf.AiohttpSession:
        """Log in; again, when the server has refused the credentials, and then not in haste."""
        if self._open:
            log.warning("the API server has refused the watch's credentials; logging in again")
            await asyncio.sleep(_RETRY_S)
        info = await self._login()
        connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context())
        session = aiohttp.ClientSession(
            connector=connector, headers=info.as_http_headers(), proxy=info.proxy_url
        )
        self._open.append(session)
        return kopf.AiohttpSession(server=info.server, aiohttp_session=session)

    async def close(self) -> None:
        """Close all."""
        for session in self._open:
            await session.close()


class _NotOfKopf(Collection[Any]):
    """All tasks but kopf's own. At its end kopf cancels what was created after it and is not in here: ours too."""

    _folder = str(Path(kopf.__file__).parent)

    def __contains__(self, task: object) -> bool:
        code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
        return code is None or not code.co_filename.startswith(self._folder)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _NoVersions(kopf.DiffBaseStorage):
    """Nothing here asks what has changed in an object. kopf's own storages copy the whole of it at each event."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002 - kopf's signature
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - kopf's signature
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Never asked to: there are no handlers of changes."""


def kopf_settings() -> kopf.OperatorSettings:
    """Quiet and bounded: operator-craft has what each of these costs otherwise."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8)
    settings.watching.chunk_size = 500
    # Evidence is large, and nobody changes it: it need not be told of.
    settings.watching.label_selectors["", "v1", _CONFIGMAPS] = ",".join(
        [*(f"{k}={v}" for k, v in MANAGER.items()), f"{KIND_LABEL}!={EVIDENCE_KIND}"]
    )
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = (
        None  # kopf's own would SIGKILL the process, whatever else it does
    )
    # Nothing is ever stored; should a later kopf want to, it would be under our name.
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = _NoVersions()
    return settings


def kopf_login(kubeconfig: Path | None) -> Login:
    """The credentials that the rest of the operator uses, as kopf asks for them."""

    async def login() -> kopf.ConnectionInfo:
        return kopf_connection(await load_configuration(kubeconfig))

    return login


def kopf_connection(configuration: Any) -> kopf.ConnectionInfo:  # noqa: ANN401 - the client's own, untyped there
    """The Kubernetes client's configuration (of `cluster.login`), as kopf takes it."""
    scheme, _, token = str(configuration.api_key.get("BearerToken") or "").strip().rpartition(" ")
    return kopf.ConnectionInfo(
        server=str(configuration.host),
        ca_path=configuration.ssl_ca_cert or None,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme.capitalize() or None,
        token=token or None,
        certificate_path=configuration.cert_file or None,
        private_key_path=configuration.key_file or None,
        proxy_url=configuration.proxy or None,
    )


def _cure(error: ClusterError) -> str:
    if isinstance(error, NotFound):
        return f"the CustomResourceDefinition {PLURAL}.{GROUP} is not there: apply crds/ of this release ({error})"
    return f"the rollouts cannot be listed: {error}"
