"""/healthz, /readyz and /metrics.

/healthz fails when only a restart helps: nothing turns any more. /readyz fails when something outside is missing: a
right, the CRD, the API server. A metric source that is down fails neither: rollouts hold and say so, and a
restart would change nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: Answers what is wrong, empty if nothing is.
Check = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the endpoints ask.

    Attributes:
        alive: by name; if one fails, the process is to be restarted.
        ready: by name; if one fails, the process waits for something outside.
        metrics: the page for Prometheus.
    """

    alive: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)
    metrics: Callable[[], bytes] = bytes


class HealthServer:
    """Serves the probes on one port and the metrics on another, or all on one if they are equal; 0: not at all."""

    def __init__(self, probes: Probes, address: str, *, health_port: int, metrics_port: int) -> None:
        self._address = address
        self._routes: dict[int, list[web.RouteDef]] = {}
        self._routes.setdefault(health_port, []).extend(health_routes(probes))
        self._routes.setdefault(metrics_port, []).extend(metrics_routes(probes))
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: a port cannot be listened on.
        """
        for port, routes in self._routes.items():
            if port == 0:
                continue
            app = web.Application()
            app.add_routes(routes)
            runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
            self._runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, self._address, port).start()

    async def stop(self) -> None:
        """Close the ports."""
        while self._runners:
            await self._runners.pop().cleanup()


def health_routes(probes: Probes) -> list[web.RouteDef]:
    """/healthz and /readyz."""

    async def alive(_: web.Request) -> web.Response:
        return _answer(probes.alive)

    async def ready(_: web.Request) -> web.Response:
        return _answer(probes.ready)

    return [web.get("/healthz", alive), web.get("/readyz", ready)]


def metrics_routes(probes: Probes) -> list[web.RouteDef]:
    """/metrics."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=probes.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/metrics", metrics)]


def _answer(checks: Mapping[str, Check]) -> web.Response:
    """200 or 503, and a line for each check, as the API server's own endpoints have them."""
    problems = {name: _ask(check) for name, check in checks.items()}
    lines = [f"[-]{name}: {problem}" if problem else f"[+]{name} ok" for name, problem in problems.items()]
    failed = any(problems.values())
    return web.Response(
        status=503 if failed else 200, text="\n".join([*lines, "failed" if failed else "ok", ""])
    )


def _ask(check: Check) -> str:
    try:
        return check()
    except Exception as error:
        return f"the check itself failed: {error!r}"


class LoopLag:
    """How late the event loop runs what is due: what blocks it delays every rollout."""

    def __init__(self, every: float = 0.25, within: float = 30.0) -> None:
        """Looks every so many seconds, and remembers so many."""
        self._every = every
        self._lags: deque[float] = deque(maxlen=max(1, round(within / every)))

    @property
    def worst(self) -> float:
        """Seconds; the worst of the time that is remembered."""
        return max(self._lags, default=0.0)

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await asyncio.sleep(self._every)
            self._lags.append(max(0.0, loop.time() - due))
