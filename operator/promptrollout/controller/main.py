"""The operator's process: settings, connections, rights, the wheel and the watch, and a clean end."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

from promptrollout.cluster.access import missing_permissions, needed
from promptrollout.cluster.errors import ClusterError
from promptrollout.cluster.jobs import KubeJobs
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.login import LoginError
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.cluster.stores import KubeLeases
from promptrollout.cluster.transport import Transport
from promptrollout.controller import logs
from promptrollout.controller.feed import Feed, kopf_login
from promptrollout.controller.health import HealthServer, LoopLag, Probes
from promptrollout.controller.leader import leader
from promptrollout.controller.queue import Tempo, WorkQueue
from promptrollout.controller.reconciler import Outside, Reconciler, Tuning
from promptrollout.controller.settings import PROGRAM, Settings, SettingsError, load
from promptrollout.controller.telemetry import Gauges, Telemetry
from promptrollout.gates import kinds_of
from promptrollout.registries import KINDS
from promptrollout.sources.prometheus import PrometheusSource

log = logging.getLogger(__name__)

#: Seconds that turns in hand have after SIGTERM; the chart's grace period is longer.
_DRAIN_S = 10.0
#: Seconds between two looks at rights that are missing.
_RIGHTS_S = 5.0
#: Keys are due, and yet no worker has taken or finished one for longer than any turn may take.
_STALLED_S = Tempo().deadline + 30.0
#: The event loop was blocked for so long, within the last half minute.
_BLOCKED_S = 10.0
#: Bytes that each of some twenty TLS connections sets aside for reading; asyncio's own is four times as much.
_TLS_BUFFER = 64 * 1024
#: No wake-up is further away: it is told by the wall clock, which can be set.
_LONGEST_SLEEP_S = 600.0


class Wheel:
    """The intake: the reconciler, and the queue forgets what is gone."""

    def __init__(self, reconciler: Reconciler, queue: WorkQueue[ObjectKey], telemetry: Telemetry) -> None:
        self._reconciler = reconciler
        self._queue = queue
        self._telemetry = telemetry

    def rollout_changed(self, seen: RolloutObject) -> None:
        """See Intake."""
        self._reconciler.rollout_changed(seen)

    def rollout_gone(self, key: ObjectKey) -> None:
        """See Intake."""
        self._reconciler.rollout_gone(key)
        self._queue.forget(key)

    def configmap_changed(self, seen: ConfigMapObject, *, gone: bool) -> None:
        """See Intake."""
        self._reconciler.configmap_changed(seen, gone=gone)

    async def turn(self, key: ObjectKey) -> float | None:
        """One turn for one rollout; the seconds after which it wants another at the latest."""
        entries = self._reconciler.memory.entries
        before = entries[key].seen.status if key in entries else {}
        try:
            at = await self._reconciler.handle(key)
        finally:
            if key in entries:
                self._telemetry.status_written(before, entries[key].seen.status)
        return None if at is None else seconds_until(at, datetime.now(UTC))


def seconds_until(at: datetime, now: datetime) -> float:
    """From the decision core's moments to the queue's delays; a millisecond later, so that the moment has come."""
    return min(max((at - now).total_seconds(), 0.0) + 0.001, _LONGEST_SLEEP_S)


class Operator:
    """All that runs in one process."""

    def __init__(self, settings: Settings, transport: Transport, telemetry: Telemetry) -> None:
        instance = os.environ.get("POD_NAME") or socket.gethostname()
        self._settings = settings
        self._telemetry = telemetry
        self._leader = leader(settings, KubeLeases(transport), instance)
        self._cluster = KubeCluster(
            transport,
            instance=instance,
            namespaces=settings.namespaces,
            may_write=lambda: self._leader.leading,
        )
        self._sources = {
            name: PrometheusSource(config, partial(telemetry.source_query, name))
            for name, config in settings.sources.items()
        }
        self._queue: WorkQueue[ObjectKey] = WorkQueue(on_turn=telemetry.turn, expected=(ClusterError,))
        tuning = Tuning(
            settings.delivery_mode, settings.acknowledge_poll, settings.nudge_again, settings.settle
        )
        registries = {name: KINDS[one.type](name, one) for name, one in settings.registries.items()}
        jobs = KubeJobs(transport, lambda: self._leader.leading)
        kinds = kinds_of(settings.gates, jobs)
        outside = Outside(self._sources, registries, settings.gates, kinds, settings.notifications)
        self._reconciler = Reconciler(self._cluster, outside, self._queue.add, telemetry, tuning)
        self._wheel = Wheel(self._reconciler, self._queue, telemetry)
        self._feed = Feed(
            self._wheel,
            self._cluster,
            kopf_login(settings.kubeconfig),
            telemetry,
            namespaces=settings.namespaces,
            on_start=self._take_signals,
        )
        self._lag = LoopLag()
        self._rights = "the operator's rights have not been checked yet"
        self._standing_by = False
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Work until SIGTERM, SIGINT or the death of a part; the process' exit status."""
        self._take_signals()
        server = HealthServer(
            self._probes(),
            self._settings.bind_address,
            health_port=self._settings.health_port,
            metrics_port=self._settings.metrics_port,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._cluster)
            for source in self._sources.values():
                stack.push_async_callback(source.close)
            stack.push_async_callback(self._leader.release)
            self._reconciler.herald.dispatcher.start()
            stack.push_async_callback(self._reconciler.herald.dispatcher.close)
            stack.push_async_callback(server.stop)
            try:
                await server.start()
            except OSError as error:
                log.error("cannot listen: %s", error.strerror or error)  # noqa: TRY400 - the whole story
                return 2
            return await self._work()

    async def _work(self) -> int:
        """First what everything needs; then all parts side by side, and the first to end ends the process."""
        stopped = asyncio.create_task(self._stop.wait(), name="signals")
        lag = asyncio.create_task(self._lag.run(), name="loop lag")
        preparing = asyncio.create_task(self._prepare(), name="preparation")
        parts = [preparing, lag]
        try:
            failed = await _first_failure(stopped, parts, {preparing})
            if not failed and not self._stop.is_set():
                workers = asyncio.create_task(
                    self._queue.run(self._wheel.turn, self._settings.workers), name="workers"
                )
                parts += [
                    workers,
                    asyncio.create_task(self._leader.hold(), name="lease"),
                    asyncio.create_task(self._reconciler.run_background(), name="sampling"),
                    asyncio.create_task(self._feed.run(self._settings.resync_interval), name="feed"),
                ]
                failed = await _first_failure(stopped, parts[1:])
                await self._drain(workers)
        finally:
            await _cancel([stopped, *parts])
        return 1 if failed else 0

    async def _prepare(self) -> None:
        """Wait for the rights and, with leader election, for the Lease."""
        await self._await_rights()
        self._standing_by = True
        await self._leader.acquire()
        self._standing_by = False

    async def _await_rights(self) -> None:
        """Say which rights are missing, and wait for them: a restart would not bring them either."""
        settings = self._settings
        rights = needed(
            settings.delivery_mode,
            lease=settings.lease_name if settings.leader_election else None,
            jobs=settings.gates.jobs.enabled,
            cluster_policies=settings.cluster_policies,
        )
        while True:
            said = self._rights
            try:
                missing = await missing_permissions(
                    self._cluster.access,
                    rights,
                    namespaces=settings.namespaces,
                    own_namespace=settings.lease_namespace,
                )
                self._rights = "; ".join(str(one) for one in missing)
            except ClusterError as error:
                self._rights = f"the API server cannot be asked for the operator's rights: {error}"
            if not self._rights:
                return
            if self._rights != said:
                log.error("not working yet: %s", self._rights)
            await asyncio.sleep(_RIGHTS_S)

    async def _drain(self, workers: asyncio.Task[None]) -> None:
        """Take in nothing new, and let turns in hand end."""
        log.info("stopping: %d turns in hand", self._queue.in_work)
        self._feed.stop()
        self._queue.stop()
        _, late = await asyncio.wait({workers}, timeout=_DRAIN_S)
        if late:
            log.warning("%d turns are not over after %g s and are cancelled", self._queue.in_work, _DRAIN_S)

    def _take_signals(self) -> None:
        """The first SIGTERM or SIGINT ends the work, the second the process. kopf takes both when it starts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("%s again: ending at once", number.name)
            logging.shutdown()
            os._exit(1)
        log.info("%s received", number.name)
        self._stop.set()

    # What is to be seen of it.

    def _probes(self) -> Probes:
        return Probes(
            alive={"workers": self._stalled, "loop": self._blocked, "lease": lambda: self._leader.problem},
            ready={
                "rights": lambda: self._rights,
                "feed": lambda: "" if self._standing_by else self._feed.ready,
            },
            metrics=lambda: self._telemetry.page(self._gauges()),
        )

    def _stalled(self) -> str:
        stalled = self._queue.stalled
        return f"rollouts are due, and none was worked on for {stalled:.0f} s" if stalled > _STALLED_S else ""

    def _blocked(self) -> str:
        worst = self._lag.worst
        return f"the event loop was blocked for {worst:.1f} s" if worst > _BLOCKED_S else ""

    def _gauges(self) -> Gauges:
        entries = self._reconciler.memory.entries.values()
        now = datetime.now(UTC)
        ages = (
            (now - said.through).total_seconds()
            for entry in entries
            if entry.seen.status.get("candidate")
            for said in entry.comparisons.values()
        )
        return Gauges(
            phases=Counter(str(entry.seen.status.get("phase", "Pending")) for entry in entries),
            queue_due=self._queue.depth,
            queue_scheduled=self._queue.scheduled,
            queue_lag=self._queue.lag,
            in_work=self._queue.in_work,
            failing=self._queue.failing,
            compared=self._reconciler.sampler.active,
            awaited=self._reconciler.acknowledgements.awaited,
            gates=self._reconciler.gates.running,
            notifications=self._reconciler.herald.dispatcher.waiting,
            sampling_age=max(ages, default=0.0),
            loop_lag=self._lag.worst,
            leading=self._leader.leading,
            ready=not (self._rights or self._feed.ready),
        )


async def _first_failure(
    stopped: asyncio.Task[bool],
    parts: Sequence[asyncio.Task[None]],
    finite: Collection[asyncio.Task[None]] = (),
) -> bool:
    """Wait for the stop, for a `finite` part to be through, or for another to end; whether one has failed."""
    done, _ = await asyncio.wait({stopped, *parts}, return_when=asyncio.FIRST_COMPLETED)
    failed = False
    for part in parts:
        if part not in done:
            continue
        error = asyncio.CancelledError() if part.cancelled() else part.exception()
        if error is None and part in finite:
            continue
        log.error("%s ended: %s", part.get_name(), error or "without being asked to", exc_info=error)
        failed = True
    return failed


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run(settings: Settings) -> int:
    """Connect and work; the process' exit status."""
    where = ", ".join(settings.namespaces) or "all namespaces"
    log.info("%s %s: watching %s", PROGRAM, version("promptrollout"), where)
    for name in settings.ignored:
        log.warning("%s names no setting and is ignored", name)
    if not settings.sources:
        log.warning(
            "no metric source is configured (--sources-file): rollouts with an analysis cannot progress"
        )
    telemetry = Telemetry()
    try:
        transport = await connect(settings.kubeconfig, observer=telemetry.api_request)
    except LoginError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is the whole story
        return 2
    return await Operator(settings, transport, telemetry).run()


def main(arguments: Sequence[str] | None = None) -> None:
    """Console entry; --help says what the exit status means."""
    try:
        settings = load(sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        sys.exit(2)
    logs.configure(settings.log_level, settings.log_format)
    _save_memory()
    sys.exit(asyncio.run(run(settings)))


def _save_memory() -> None:
    """Smaller buffers; and what has been imported stays for good, so the collector need not go through it each time."""
    SSLProtocol.max_size = _TLS_BUFFER
    gc.collect()
    gc.freeze()
