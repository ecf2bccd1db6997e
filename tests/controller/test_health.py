import asyncio
import socket
import time

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from e2e.processes.supervisor import free_port
from promptrollout.controller.health import HealthServer, LoopLag, Probes, health_routes, metrics_routes
from tests.controller.conftest import until


def fine():
    return ""


async def ask(routes, path):
    app = web.Application()
    app.add_routes(routes)
    async with TestClient(TestServer(app)) as client, client.get(path) as answer:
        return answer.status, await answer.text()


async def test_each_check_is_shown_and_all_must_be_fine():
    assert await ask(health_routes(Probes(alive={"loop": fine, "workers": fine})), "/healthz") == (
        200,
        "[+]loop ok\n[+]workers ok\nok\n",
    )
    assert await ask(health_routes(Probes(alive={"loop": fine, "workers": lambda: "stuck"})), "/healthz") == (
        503,
        "[+]loop ok\n[-]workers: stuck\nfailed\n",
    )


async def test_alive_and_ready_are_told_apart():
    probes = Probes(alive={"loop": fine}, ready={"rights": lambda: "may not list pods"})
    assert (await ask(health_routes(probes), "/healthz"))[0] == 200
    assert (await ask(health_routes(probes), "/readyz"))[0] == 503


async def test_a_check_that_breaks_counts_as_failed():
    def broken():
        raise KeyError("x")

    status, text = await ask(health_routes(Probes(alive={"loop": broken})), "/healthz")
    assert (status, "[-]loop: the check itself failed: KeyError('x')" in text) == (503, True)


async def test_metrics_are_served_as_prometheus_reads_them():
    assert await ask(metrics_routes(Probes(metrics=lambda: b"up 1\n")), "/metrics") == (200, "up 1\n")


async def get(port, path):
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status


async def test_health_and_metrics_are_served_on_their_own_ports_until_stopped():
    health, metrics = free_port(), free_port()
    server = HealthServer(Probes(), "127.0.0.1", health_port=health, metrics_port=metrics)
    await server.start()
    assert [await get(health, "/healthz"), await get(health, "/metrics")] == [200, 404]
    assert [await get(metrics, "/metrics"), await get(metrics, "/healthz")] == [200, 404]
    await server.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(health, "/healthz")


async def test_one_port_can_serve_both_and_port_0_is_not_served():
    port = free_port()
    both = HealthServer(Probes(), "127.0.0.1", health_port=port, metrics_port=port)
    await both.start()
    assert [await get(port, "/healthz"), await get(port, "/metrics")] == [200, 200]
    await both.stop()
    one = HealthServer(Probes(), "127.0.0.1", health_port=port, metrics_port=0)
    await one.start()
    assert await get(port, "/metrics") == 404
    await one.stop()


async def test_a_port_that_is_taken_is_an_error_and_nothing_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = free_port()
        server = HealthServer(Probes(), "127.0.0.1", health_port=free, metrics_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"):
            await server.start()
        await server.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(free, "/healthz")


async def test_what_blocks_the_event_loop_is_seen_and_forgotten_after_a_while():
    lag = LoopLag(every=0.01, within=0.2)
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # noqa: ASYNC251 - the very thing to be seen
    await asyncio.sleep(0.02)
    assert lag.worst >= 0.25
    await until(lambda: lag.worst < 0.25, "the block to be forgotten")
    task.cancel()
