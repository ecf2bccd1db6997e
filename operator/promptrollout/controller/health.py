"""/healthz, /readyz and /metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Probes:
    """What the endpoints ask; each answers what is wrong, empty if nothing is.

    Attributes:
        alive: whether the process does its work; if not, it is to be restarted.
        ready: whether it has taken up its work.
        metrics: the page for Prometheus.
    """

    alive: Callable[[], str]
    ready: Callable[[], str]
    metrics: Callable[[], bytes]


class HealthServer:
    """Serves the probes on one port and the metrics on another (which may be the same)."""

    def __init__(self, probes: Probes, address: str, *, health_port: int, metrics_port: int) -> None:
        self._probes = probes
        self._address = address
        self._ports = {health_port, metrics_port}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: a port is taken.
        """
        app = web.Application()
        app.router.add_get("/healthz", lambda _: _answer(self._probes.alive()))
        app.router.add_get("/readyz", lambda _: _answer(self._probes.ready()))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        for port in sorted(self._ports):
            await web.TCPSite(self._runner, self._address, port).start()

    async def stop(self) -> None:
        """Close both ports."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._probes.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _answer(problem: str) -> web.Response:
    return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")
