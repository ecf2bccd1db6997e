"""Webhooks against a real HTTP server on loopback: signed, named, repeated, never redirected."""

import asyncio
import base64
import hashlib
import hmac
import json

import pytest
from aiohttp import web

from promptrollout.gates.config import WebhookConfig
from promptrollout.gates.protocol import GateError
from promptrollout.gates.webhook import WebhookKind
from promptrollout.remote.signing import key_of, signature

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
GATE = {"webhook": {"name": "risk"}}


class Service:
    """Gives the prepared answers in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def handle(self, request):
        self.asked.append((dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return await answer(request)
        status, body, *headers = answer
        return web.Response(status=status, text=body, headers=headers[0] if headers else {})


@pytest.fixture
async def service(tmp_path):
    """Starts a service with these answers; gives it, and the kind that asks it."""
    runners, kinds = [], []

    async def start(*answers, **changes):
        told = Service(*answers)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", told.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        port = site._server.sockets[0].getsockname()[1]
        secret = tmp_path / "secret"
        secret.write_text(SECRET)
        config = WebhookConfig.model_validate(
            {"url": f"http://127.0.0.1:{port}/gate", "secretFile": secret, **changes}
        )
        kinds.append(WebhookKind({"risk": config}, pause=(0.01, 0.02)))
        return told, kinds[-1]

    yield start
    for kind in kinds:
        await kind.close()
    for runner in runners:
        await runner.cleanup()


async def test_what_it_says_of_passed_is_the_answer(service, run_of):
    told, kind = await service((200, json.dumps({"passed": True, "score": 0.9, "report": "fine"})))
    answer = await kind.run(run_of(GATE), lambda _: None)
    assert (answer.result, answer.score, answer.report) == ("Passed", "0.9", "fine")
    body = json.loads(told.asked[0][1])
    assert (body["rollout"], body["namespace"], body["gate"]) == ("support", "shop", "check")
    assert body["arms"]["candidate"] == {"revision": "bbbb000000", "document": {"text": "new"}}
    assert body["stable"]["document"] == {"text": "old"}


async def test_each_request_is_signed_as_standard_webhooks_has_it(service, run_of):
    told, kind = await service((200, '{"passed": true}'))
    await kind.run(run_of(GATE), lambda _: None)
    headers, body = told.asked[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(b"0123456789abcdef01234567", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


async def test_a_repetition_has_the_same_id_so_that_a_service_does_nothing_twice(service, run_of):
    told, kind = await service((503, ""), (429, "", {"Retry-After": "0"}), (200, '{"passed": true}'))
    said = []
    answer = await kind.run(run_of(GATE), said.append)
    assert answer.result == "Passed"
    assert {h["Idempotency-Key"] for h, _ in told.asked} == {"0123456789"}
    assert len(told.asked) == 3
    assert len({body for _, body in told.asked}) == 1
    assert "HTTP 503" in said[0].message


async def test_accepted_means_that_it_has_yet_to_decide(service, run_of):
    _told, kind = await service(
        (202, "", {"Retry-After": "0"}), (200, '{"passed": false, "report": "too risky"}')
    )
    answer = await kind.run(run_of(GATE), lambda _: None)
    assert (answer.result, answer.report) == ("Failed", "too risky")
    assert "too risky" in answer.message


async def test_a_service_that_hangs_is_asked_again_after_its_timeout(service, run_of):
    async def hang(_):
        await asyncio.sleep(5)

    told, kind = await service(hang, (200, '{"passed": true}'), timeout=0.2)
    assert (await kind.run(run_of(GATE), lambda _: None)).result == "Passed"
    assert len(told.asked) >= 2  # on a busy machine the second may be late too


async def test_an_unreachable_service_is_tried_until_the_gate_gives_up(service, run_of, tmp_path):
    secret = tmp_path / "s"
    secret.write_text("x")
    config = WebhookConfig.model_validate({"url": "http://127.0.0.1:9/", "secretFile": secret})
    kind, said = WebhookKind({"risk": config}, pause=(0.01, 0.02)), []
    thrice = asyncio.Event()

    def says(answer):
        said.append(answer)
        if len(said) == 3:
            thrice.set()

    asking = asyncio.create_task(kind.run(run_of(GATE), says))
    await asyncio.wait_for(thrice.wait(), 30)
    assert not asking.done()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await kind.close()
    assert "no answer" in said[-1].message


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_refusal_is_no_reason_to_go_on_asking(service, run_of, status):
    told, kind = await service((status, "no"))
    with pytest.raises(GateError, match=f"HTTP {status}"):
        await kind.run(run_of(GATE), lambda _: None)
    assert len(told.asked) == 1


async def test_a_redirect_is_not_followed(service, run_of):
    told, kind = await service((302, "", {"Location": "/elsewhere"}))
    with pytest.raises(GateError, match="HTTP 302"):
        await kind.run(run_of(GATE), lambda _: None)
    assert len(told.asked) == 1


async def test_a_score_decides_by_the_threshold(service, run_of):
    _, kind = await service((200, '{"score": 0.7}'))
    answer = await kind.run(run_of({"webhook": {"name": "risk", "threshold": "0.8"}}), lambda _: None)
    assert (answer.result, answer.message) == ("Failed", "score 0.7 is below 0.8")


@pytest.mark.parametrize(
    "body", ["", "ok", "[1]", "{}", '{"score": 0.9}', '{"passed": "yes"}', '{"score": NaN}']
)
async def test_an_answer_that_says_neither_is_a_failure(service, run_of, body):
    _, kind = await service((200, body))
    assert (await kind.run(run_of(GATE), lambda _: None)).result == "Failed"


async def test_an_answer_may_come_in_pieces(service, run_of):
    async def slowly(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in ('{"report": "', "x" * 3000, '", "passed": true}'):
            await answer.write(piece.encode())
            await asyncio.sleep(0.02)
        return answer

    _, kind = await service(slowly)
    assert (await kind.run(run_of(GATE), lambda _: None)).result == "Passed"


async def test_who_asks_for_no_pause_is_not_asked_without_end(service, run_of):
    told, kind = await service((202, "", {"Retry-After": "0"}))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kind.run(run_of(GATE), lambda _: None), 0.3)
    assert len(told.asked) <= 31, "not sooner than after the first pause of a back-off, here 0.01 s"


async def test_prompts_are_left_out_where_the_configuration_says_so(service, run_of):
    told, kind = await service((200, '{"passed": true}'), documents=False)
    await kind.run(run_of(GATE), lambda _: None)
    assert json.loads(told.asked[0][1])["arms"] == {"candidate": {"revision": "bbbb000000"}}


async def test_a_webhook_that_is_not_configured_is_never_guessed(run_of):
    with pytest.raises(GateError, match="not in the operator's configuration"):
        await WebhookKind({}).run(run_of(GATE), lambda _: None)


def test_the_example_of_the_standard_is_signed_alike():
    # The test vector of the specification's reference libraries (standard-webhooks, python/tests).
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
