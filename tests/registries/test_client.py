"""A registry that misbehaves: bounded, without a secret in what is said, and never taken for an absence."""

import asyncio
import json

import pytest
from aiohttp import web

from promptrollout.registries import RegistryConfig, RegistryReference, RegistryUnavailableError
from promptrollout.registries.mlflow import MlflowRegistry

REFERENCE = RegistryReference("prompts", "support", version="1")
FOUND = {"model_version": {"version": "1", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}}
FOUND["model_version"]["tags"].append({"key": "mlflow.prompt.text", "value": "Hello"})


@pytest.fixture
async def serve():
    """Answer with a handler, on loopback; a function that gives a registry there."""
    runners, registries = [], []

    async def start(handler, **config):
        application = web.Application()
        application.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        registries.append(
            MlflowRegistry("prompts", RegistryConfig(url=f"http://127.0.0.1:{port}/base/", **config))
        )
        return registries[-1]

    yield start
    for registry in registries:
        await registry.close()
    for runner in runners:
        await runner.cleanup()


def answering(status, text, **headers):
    async def handler(request):
        return web.Response(status=status, text=text, headers=headers, content_type="application/json")

    return handler


async def refused(registry):
    with pytest.raises(RegistryUnavailableError) as said:
        await registry.fetch(REFERENCE)
    return str(said.value)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (500, "{}", "HTTP 500"),
        (502, "<html>", "HTTP 502 without a JSON object"),
        (200, "<html>a login page</html>", "HTTP 200 without a JSON object"),
        (200, "[]", "without a JSON object"),
        (200, "[" * 100_000, "without a JSON object"),
        (200, "{}", "no answer of MLflow's"),
        (404, '{"detail": "Not Found"}', "look at its url"),
        (401, "{}", "look at its credentials"),
        (403, "{}", "look at its credentials"),
        (429, "{}", "HTTP 429"),
    ],
)
async def test_an_answer_that_is_none_leaves_everything_as_it_is(serve, status, text, said):
    assert said in await refused(await serve(answering(status, text)))


async def test_a_redirect_is_not_followed(serve):
    elsewhere = {"Location": "http://127.0.0.1:1/"}
    assert "HTTP 302" in await refused(await serve(answering(302, "{}", **elsewhere)))


async def test_a_registry_that_hangs_is_given_up_in_time(serve):
    async def hangs(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    assert "within 0.3 s" in await refused(await serve(hangs, timeout=0.3))


async def test_no_more_is_read_than_a_prompt_can_be(serve):
    assert "more than 1,000 bytes" in await refused(
        await serve(answering(200, json.dumps({"x": "y" * 5000})), max_bytes=1000)
    )


async def test_credentials_are_read_anew_at_each_request_and_never_said(serve, tmp_path):
    token, seen = tmp_path / "token", []

    async def handler(request):
        seen.append(request.headers.get("Authorization"))
        return web.json_response(FOUND, status=401 if len(seen) > 2 else 200)

    registry = await serve(handler, bearer_token_file=token)
    assert "cannot be read" in await refused(registry)
    for secret in ("first-secret", "second-secret"):
        token.write_text(secret + "\n")
        assert (await registry.fetch(REFERENCE)).document["text"] == "Hello"
    assert "secret" not in await refused(registry)
    assert seen == ["Bearer first-secret", "Bearer second-secret", "Bearer second-secret"]


async def test_a_password_may_come_from_the_environment(serve, monkeypatch):
    seen = []

    async def handler(request):
        seen.append(request.headers.get("Authorization"))
        return web.json_response(FOUND)

    registry = await serve(handler, username="operator", password_env="MLFLOW_PASSWORD")
    assert "the variable MLFLOW_PASSWORD does not hold" in await refused(registry)
    monkeypatch.setenv("MLFLOW_PASSWORD", "käse")
    await registry.fetch(REFERENCE)
    assert seen == ["Basic b3BlcmF0b3I6a8Okc2U="]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"url": "ftp://x"}, "url: must be http"),
        ({"url": "http://me:secret@x"}, "no credentials in it"),
        ({"url": "http://x?y"}, "no query"),
        ({"url": "http://x", "username": "me"}, "both or neither"),
        ({"url": "http://x", "bearer_token_env": "A", "username": "me", "password_env": "B"}, "only one"),
        ({"url": "http://x", "poll_interval": 0.1}, "at least 1 s"),
        ({"url": "http://x", "timeout": 0}, "timeout: must be more than 0"),
    ],
)
def test_a_configuration_that_cannot_be_is_said(config, said):
    with pytest.raises(ValueError, match=said):
        RegistryConfig(**config)
