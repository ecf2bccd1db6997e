"""A chat service as the real ones look from outside: behind a proxy, by TLS, under its real name."""

import asyncio
import datetime
import json
import ssl
from collections import deque
from dataclasses import dataclass, field

import pytest
import trustme
from aiohttp import web

from promptrollout.notify import Notification

NOW = datetime.datetime(2026, 11, 24, 10, tzinfo=datetime.UTC)


@pytest.fixture
def told():
    def make(reason="RolledBack", message="revision 5e0c1f22aa is rolled back", **changes):
        return Notification(
            **{
                "id": "id-1",
                "at": datetime.datetime.now(datetime.UTC),
                "namespace": "shop",
                "rollout": "support",
                "type": "Warning",
                "reason": reason,
                "message": message,
                "phase": "RollingBack",
                "stable": "0c86d2c1d1",
                "candidate": "5e0c1f22aa",
                "verdict": "worse than stable",
                **changes,
            }
        )

    return make


@dataclass
class Service:
    """Gives the prepared answers in turn, the last one for ever, and keeps what it was sent."""

    answers: deque = field(default_factory=lambda: deque([(200, "ok")]))
    asked: list = field(default_factory=list)
    port: int = 0

    async def handle(self, request):
        self.asked.append((request.host, request.path_qs, dict(request.headers), await request.read()))
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return await answer(request)
        status, body, *headers = answer
        return web.Response(status=status, text=body, headers=headers[0] if headers else {})

    @property
    def bodies(self):
        return [json.loads(body) for *_, body in self.asked]


@pytest.fixture
async def service():
    """Plain HTTP on loopback."""
    told, app = Service(), web.Application()
    app.router.add_route("*", "/{path:.*}", told.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.port = site._server.sockets[0].getsockname()[1]
    yield told
    await runner.cleanup()


class Proxy:
    """Takes CONNECT for any host and is that host, with a certificate of the test's authority."""

    def __init__(self, service, context):
        self._service = service
        self._context = context
        self._open = set()

    async def start(self):
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._listener.sockets[0].getsockname()[1]

    async def stop(self):
        self._listener.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._open.add(asyncio.current_task())
        try:
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await writer.start_tls(self._context)
            behind_reader, behind = await asyncio.open_connection("127.0.0.1", self._service.port)
            try:
                await asyncio.gather(_pump(reader, behind), _pump(behind_reader, writer))
            finally:
                behind.transport.abort()
        except OSError:
            pass
        finally:
            self._open.discard(asyncio.current_task())
            writer.transport.abort()
            await asyncio.sleep(0)


async def _pump(source, target):
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
    else:
        target.close()


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
async def chat_service(service, authority, monkeypatch, tmp_path):
    """The service, but as every chat: what goes to hooks.slack.com by https comes to it. `ca` is its authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = ("hooks.slack.com", "discord.com", "prod-01.logic.azure.com", "api.telegram.org")
    authority.issue_cert(*names).configure_cert(context)
    service.ca = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(service.ca))
    proxy = Proxy(service, context)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{await proxy.start()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    yield service
    await proxy.stop()
