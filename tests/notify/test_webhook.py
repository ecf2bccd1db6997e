"""The signed webhook against a real HTTP server on loopback."""

import asyncio
import base64
import json

import pytest

from promptrollout.notify import KINDS, NotifierError
from promptrollout.notify.config import ChannelConfig
from promptrollout.notify.templates import compiled
from tests.notify.documented import verify

KEY = b"0123456789abcdef01234567"


@pytest.fixture
async def channel(service, tmp_path):
    opened = []

    def make(**changes):
        (tmp_path / "secret").write_text("whsec_" + base64.b64encode(KEY).decode())
        url = f"http://127.0.0.1:{service.port}/hook"
        given = {"type": "webhook", "url": url, "secretFile": tmp_path / "secret", **changes}
        opened.append(KINDS["webhook"].open(ChannelConfig.model_validate(given)))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
def letter(told):
    return compiled(None, None).letter(told())


async def test_it_is_told_everything_and_can_verify_who_told_it(channel, service, letter):
    await channel(bearerTokenFile=None).send(letter)
    ((_, path, headers, body),) = service.asked
    assert path == "/hook"
    secret = "whsec_" + base64.b64encode(KEY).decode()
    now = int(headers["webhook-timestamp"])
    assert verify(secret, headers, body, now)
    assert not verify(secret, headers, body + b" ", now)
    assert not verify(secret, headers, body, now + 301)
    told = json.loads(body)
    assert told["type"] == "promptrollout.RolledBack"
    assert {"namespace": "shop", "rollout": "support", "verdict": "worse than stable"}.items() <= told[
        "data"
    ].items()
    assert told["data"]["title"] == "shop/support: RolledBack"


async def test_a_repetition_has_the_same_id(channel, service, letter):
    one = channel()
    await one.send(letter)
    await one.send(letter)
    assert {headers["webhook-id"] for _, _, headers, _ in service.asked} == {"id-1"}


async def test_secrets_are_read_at_each_message(channel, service, letter, tmp_path):
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "url").write_text(f"http://127.0.0.1:{service.port}/one?key=a\n")
    one = channel(url="", urlFile=tmp_path / "url", bearerTokenFile=tmp_path / "token")
    await one.send(letter)
    (tmp_path / "token").write_text("second")
    (tmp_path / "url").write_text(f"http://127.0.0.1:{service.port}/two")
    await one.send(letter)
    said = [(path, headers["Authorization"]) for _, path, headers, _ in service.asked]
    assert said == [("/one?key=a", "Bearer first"), ("/two", "Bearer second")]


@pytest.mark.parametrize(
    ("status", "headers", "final", "after"),
    [
        (302, {"Location": "/elsewhere"}, True, None),
        (401, {}, True, None),
        (404, {}, True, None),
        (429, {"Retry-After": "7"}, False, 7.0),
        (503, {"Retry-After": "soon"}, False, None),
    ],
)
async def test_what_it_answers_decides_whether_to_try_again(
    channel, service, letter, status, headers, final, after
):
    service.answers[0] = (status, "no", headers)
    with pytest.raises(NotifierError, match=rf"^HTTP {status}$") as error:
        await channel().send(letter)
    assert (error.value.final, error.value.after) == (final, after)
    assert len(service.asked) == 1


async def test_no_answer_is_said_without_the_url(channel, service, letter, tmp_path):
    async def hang(_):
        await asyncio.sleep(2)

    service.answers[0] = hang
    with pytest.raises(NotifierError, match=r"^no answer \(\w*Timeout\w*\)$"):
        await channel(timeout=0.1).send(letter)
    (tmp_path / "url").write_text("http://127.0.0.1:9/hunter2")
    with pytest.raises(NotifierError, match="no answer") as error:
        await channel(url="", urlFile=tmp_path / "url").send(letter)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "must be http"), ("ftp://hunter2", "must be http"), ("http://a:hunter2@b", "no credentials")],
)
async def test_a_url_that_is_none_is_said_at_start(channel, tmp_path, content, said):
    (tmp_path / "url").write_text(content)
    problem = await channel(url="", urlFile=tmp_path / "url").check()
    assert said in problem
    assert "hunter2" not in problem


async def test_a_secret_that_is_not_there_or_is_none_is_said_at_start(channel, tmp_path, service):
    one = channel()
    assert await one.check() == ""
    (tmp_path / "secret").write_text("whsec_%%%")
    assert "base64" in await one.check()
    (tmp_path / "secret").unlink()
    assert "secret cannot be read: No such file" in await one.check()
    assert service.asked == []
