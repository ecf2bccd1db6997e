"""The operator's process: settings, connections, the wheel and the watch, and a clean end."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from promptrollout.cluster.access import missing_permissions, needed
from promptrollout.cluster.errors import ClusterError
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.login import LoginError
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller import feed, logs
from promptrollout.controller.health import HealthServer, Probes
from promptrollout.controller.queue import Turn, WorkQueue
from promptrollout.controller.reconciler import Reconciler, Tuning
from promptrollout.controller.settings import Settings, SettingsError, load
from promptrollout.controller.telemetry import Telemetry
from promptrollout.sources.prometheus import PrometheusSource

log = logging.getLogger(__name__)

#: Keys due and nobody working on them for so long: the workers are stuck, and the liveness probe fails.
_STUCK_SECONDS = 60.0


class Operator:
    """All that runs in one process."""

    def __init__(self, settings: Settings, cluster: KubeCluster) -> None:
        self.settings = settings
        self.cluster = cluster
        self.telemetry = Telemetry()
        self.sources = {name: PrometheusSource(config) for name, config in settings.sources.items()}
        self.queue: WorkQueue[ObjectKey] = WorkQueue(on_turn=self._report, expected=(ClusterError,))
        tuning = Tuning(
            settings.delivery_mode, settings.acknowledge_poll, settings.nudge_again, settings.settle
        )
        self.reconciler = Reconciler(cluster, self.sources, self.queue.add, self.telemetry, tuning)
        self.stop = asyncio.Event()
        self.watching = asyncio.Event()
        self.telemetry.observe(queue_depth=lambda: self.queue.scheduled, queue_lag=lambda: self.queue.lag)

    async def run(self) -> int:
        """Work until SIGTERM or until a part dies; the process' exit status."""
        settings = self.settings
        probes = Probes(self._alive, self._ready, self._metrics)
        server = HealthServer(
            probes,
            settings.bind_address,
            health_port=settings.health_port,
            metrics_port=settings.metrics_port,
        )
        await server.start()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            for source in self.sources.values():
                stack.push_async_callback(source.close)
            return await self._work()

    async def _work(self) -> int:
        """Everything that runs for ever, side by side; the first to end ends the process."""
        # The wheel is created before kopf: kopf.operator cancels tasks that are created after it.
        parts = [
            asyncio.create_task(self.queue.run(self._handle, self.settings.workers), name="workers"),
            asyncio.create_task(self.reconciler.run_background(), name="sampling"),
            asyncio.create_task(self._resync(), name="resync"),
        ]
        watch = asyncio.create_task(
            feed.watch(self.reconciler, self.settings.namespaces, ready=self.watching, stop=self.stop),
            name="watch",
        )
        ending = asyncio.create_task(self._await_end(), name="signals")
        done, _ = await asyncio.wait({*parts, watch, ending}, return_when=asyncio.FIRST_COMPLETED)
        asked = self.stop.is_set()
        for part in done - {ending}:
            error = part.exception()
            log.error("%s ended: %s", part.get_name(), error or "without being asked to", exc_info=error)
        await self._end(parts, watch, ending)
        return 0 if asked and done <= {ending, watch} else 1

    async def _await_end(self) -> None:
        """Kopf sets its own signal handlers when it starts; ours replace them, and outlive its end."""
        await self.watching.wait()
        log.info("watching %s", ", ".join(self.settings.namespaces) or "all namespaces")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        await self.stop.wait()
        log.info("stopping")

    async def _end(self, parts: list[asyncio.Task[None]], *others: asyncio.Task[None]) -> None:
        """Begin nothing new, let turns in hand end, then let go."""
        self.stop.set()
        self.queue.stop()
        await asyncio.wait({parts[0]}, timeout=10.0)
        tasks = [*parts, *others]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, key: ObjectKey) -> float | None:
        at = await self.reconciler.handle(key)
        return None if at is None else max((at - datetime.now(UTC)).total_seconds(), 0.0)

    async def _resync(self) -> None:
        """Lists everything now and then: a watch can lose events, deletions above all."""
        while True:
            await asyncio.sleep(self.settings.resync_interval)
            try:
                seen = {rollout.key: rollout async for rollout in self.cluster.list_rollouts()}
            except ClusterError as error:
                log.warning("the rollouts cannot be listed now: %s", error)
                continue
            for key in list(self.reconciler.memory.entries):
                if key not in seen:
                    self.reconciler.rollout_gone(key)
                else:
                    self.queue.add(key)
            for rollout in seen.values():
                self.reconciler.rollout_changed(rollout)

    def _report(self, turn: Turn[ObjectKey]) -> None:
        self.telemetry.reconciles.labels("error" if turn.error else "ok").inc()
        self.telemetry.reconcile_seconds.observe(turn.seconds)
        self.telemetry.queue_wait_seconds.observe(turn.lag)

    def _alive(self) -> str:
        stalled = self.queue.stalled
        return f"no rollout has been worked on for {stalled:.0f} s" if stalled > _STUCK_SECONDS else ""

    def _ready(self) -> str:
        return "" if self.watching.is_set() else "the watch has not begun"

    def _metrics(self) -> bytes:
        phases = (str(e.seen.status.get("phase", "Pending")) for e in self.reconciler.memory.entries.values())
        return self.telemetry.show(phases, self.reconciler.sampler.active)


async def run(settings: Settings) -> int:
    """Connect, check the rights, and work; the process' exit status."""
    if settings.kubeconfig:
        os.environ["KUBECONFIG"] = str(settings.kubeconfig)
    try:
        transport = await connect(settings.kubeconfig)
    except LoginError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is the whole story
        return 2
    instance = os.environ.get("POD_NAME", socket.gethostname())
    async with KubeCluster(transport, instance=instance, namespaces=settings.namespaces) as cluster:
        try:
            missing = await missing_permissions(
                cluster.access, needed(settings.delivery_mode), namespaces=settings.namespaces
            )
        except ClusterError as error:
            log.error("the API server cannot be asked for the operator's rights: %s", error)  # noqa: TRY400 - as above
            return 1
        for right in missing:
            log.error("%s", right)
        if missing:
            return 2
        return await Operator(settings, cluster).run()


def main(arguments: Sequence[str] | None = None) -> None:
    """Console entry: exits 0 after SIGTERM, 1 when a part died, 2 for what only a person can mend."""
    try:
        settings = load(sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        sys.stderr.write(f"prompt-rollout-operator: {error}\n")
        sys.exit(2)
    logs.configure(settings.log_level, settings.log_format)
    sys.exit(asyncio.run(run(settings)))
