"""Requests against a server that misbehaves in every way an API server or what stands before it can."""

import asyncio
import json

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from promptrollout.cluster.errors import Conflict, Invalid, NotFound, Unauthorized, Unavailable
from promptrollout.cluster.transport import MERGE_PATCH, Limits, Request, Transport, api_path

QUICK = Limits(attempt=0.5, deadline=2.0, connect=0.5, backoff=0.001, backoff_cap=0.01)
GET = Request("GET", "/api/v1/pods", "list pods")
POST = Request("POST", "/api/v1/namespaces/shop/configmaps", "create configmaps shop/x", body={"a": 1})


class Server:
    """A real HTTP server on loopback that gives the scripted answers, the last one for ever."""

    def __init__(self):
        self.answers = [web.json_response({"ok": True})]
        self.requests = []
        self.at_once = 0
        self.most_at_once = 0
        self.arrived = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request):
        self.requests.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrived.release()
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return answer() if callable(answer) else answer

    def script(self, *answers):
        self.answers = list(answers)


def status(code, reason="", **headers):
    """A factory of an API server's refusal."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": f"refused: {reason}"}
    return lambda: web.json_response(body, status=code, headers={"Retry-After": "0"} | headers)


def fine():
    return web.json_response({"ok": True})


def without_hint(code):
    return lambda: web.Response(status=code, text="<html>bad gateway</html>", content_type="text/html")


@pytest.fixture
async def server():
    scripted = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", scripted.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.script(fine)
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    scripted.stop = runner.cleanup
    yield scripted
    scripted.gate.set()
    await runner.cleanup()


def configuration(server, credential="Bearer first"):
    config = Configuration(host=server.url)
    config.api_key["BearerToken"] = credential
    return config


@pytest.fixture
async def transport(server):
    async with Transport(configuration(server), limits=QUICK) as made:
        yield made


async def test_a_patch_is_a_merge_patch_with_our_token_and_a_json_body(server, transport):
    await transport.send(
        Request("PATCH", "/x", "patch x", {"fieldManager": "us", "dry": "a b"}, {"metadata": {"a": None}})
    )
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("PATCH", "/x?fieldManager=us&dry=a+b") or "dry=a%20b" in path
    assert headers["Content-Type"] == MERGE_PATCH
    assert headers["Authorization"] == "Bearer first"
    assert headers["User-Agent"] == "prompt-rollout"
    assert json.loads(body) == {"metadata": {"a": None}}


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_overload_and_faults_are_tried_again(server, transport, code):
    server.script(status(code), status(code), fine)
    assert await transport.send(GET) == {"ok": True}
    assert len(server.requests) == 3


async def test_the_wait_the_server_asks_for_is_kept(server, transport):
    server.script(status(429, **{"Retry-After": "1"}), fine)
    began = asyncio.get_running_loop().time()
    await transport.send(GET)
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_wait_beyond_the_deadline_is_not_begun(server, transport):
    server.script(status(429, **{"Retry-After": "60"}))
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable) as refused:
        await transport.send(GET)
    assert refused.value.retry_after == 60
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_a_server_that_never_answers_costs_the_deadline_and_no_more(server, transport):
    server.gate.clear()
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match="list pods"):
        await transport.send(GET)
    assert asyncio.get_running_loop().time() - began < 4.0
    assert len(server.requests) > 1


async def test_a_request_may_have_a_shorter_deadline(server, transport):
    server.gate.clear()
    with pytest.raises(Unavailable, match=r"within 0\.1 s"):
        await transport.send(Request("GET", "/x", "get lease", deadline=0.1, retries=False))


async def test_a_server_that_is_gone_is_unavailable_with_the_reason(server, transport):
    await server.stop()
    with pytest.raises(Unavailable, match="not reached"):
        await transport.send(Request("GET", "/x", "get lease", retries=False))


@pytest.mark.parametrize(("code", "kind"), [(404, NotFound), (409, Conflict), (422, Invalid)])
async def test_a_lasting_refusal_is_not_tried_again(server, transport, code, kind):
    server.script(status(code))
    with pytest.raises(kind, match="refused"):
        await transport.send(GET)
    assert len(server.requests) == 1


async def test_a_creation_whose_answer_may_be_lost_is_not_repeated(server, transport):
    server.script(without_hint(502), fine)
    with pytest.raises(Unavailable):
        await transport.send(POST)
    assert len(server.requests) == 1


async def test_a_creation_that_the_server_did_not_take_is_repeated(server, transport):
    server.script(status(429), fine)
    assert await transport.send(POST) == {"ok": True}


async def test_a_proxys_page_is_an_error_not_a_crash(server, transport):
    server.script(without_hint(200))
    with pytest.raises(Unavailable, match="not a JSON object"):
        await transport.send(Request("GET", "/x", "list pods", retries=False))


async def test_a_refused_token_is_renewed_once_for_all_requests(server):
    logins = []

    async def login():
        logins.append(1)
        await asyncio.sleep(0)
        return configuration(server, "Bearer second")

    def by_token():
        renewed = server.requests[-1][2]["Authorization"] == "Bearer second"
        return fine() if renewed else status(401)()

    server.script(by_token)
    async with Transport(configuration(server), limits=QUICK, login=login) as transport:
        answers = [await transport.send(GET), await transport.send(GET)]
    assert answers == [{"ok": True}] * 2
    assert len(logins) == 1


async def test_a_token_that_stays_refused_says_so(server):
    async def login():
        return configuration(server, "Bearer second")

    server.script(status(401))
    async with Transport(configuration(server), limits=QUICK, login=login) as transport:
        with pytest.raises(Unauthorized):
            await transport.send(GET)
    assert len(server.requests) == 2


async def test_no_more_requests_than_allowed_are_in_flight_but_an_urgent_one_passes(server):
    server.gate.clear()
    limits = Limits(attempt=5, deadline=5, concurrency=3)
    async with Transport(configuration(server), limits=limits) as transport:
        sent = [asyncio.create_task(transport.send(GET)) for _ in range(10)]
        for _ in range(3):
            await server.arrived.acquire()
        urgent = asyncio.create_task(transport.send(Request("GET", "/lease", "get lease", urgent=True)))
        await server.arrived.acquire()
        assert server.requests[-1][1] == "/lease"
        server.gate.set()
        await asyncio.gather(urgent, *sent)
    assert server.most_at_once == 4


async def test_every_request_is_observed_those_without_an_answer_too(server):
    seen = []
    async with Transport(configuration(server), limits=QUICK, observer=seen.append) as transport:
        server.script(status(503), fine)
        await transport.send(GET)
        await server.stop()
        with pytest.raises(Unavailable):
            await transport.send(Request("GET", "/x", "get lease", retries=False))
    assert [(outcome.action, outcome.code) for outcome in seen] == [
        ("list pods", 503),
        ("list pods", 200),
        ("get lease", 0),
    ]


def test_paths_quote_every_name():
    assert api_path("v1", "a/../b", "pods", "x?y") == "/api/v1/namespaces/a%2F..%2Fb/pods/x%3Fy"
    assert api_path("promptrollout.dev/v1alpha1", "", "promptrollouts") == (
        "/apis/promptrollout.dev/v1alpha1/promptrollouts"
    )
