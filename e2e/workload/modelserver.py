"""A small OpenAI-compatible chat server whose errors, quality and latency depend on the system prompt (profiles.py)."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from aiohttp import web

from e2e.objects import KubeObject
from e2e.workload.judge import compose
from e2e.workload.profiles import Profile, draw, profile_of

_PIECES = 4


class ModelServer:
    """Answers /v1/chat/completions, whole or as server-sent events. Known prompts' profiles are kept."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._profiles: dict[str, Profile] = {}
        self._served = 0

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 22)
        application.router.add_post("/v1/chat/completions", self.complete)
        application.router.add_get("/v1/models", self.models)
        application.router.add_get("/healthz", self.healthz)
        return application

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "simulated", "object": "model"}]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        try:
            body = KubeObject(json.loads(await request.read()))
            messages = [(item.text("role"), item.text("content")) for item in body.items("messages")]
            profile = self._profile("\n".join(text for role, text in messages if role == "system"))
        except ValueError as error:
            return _refusal(400, "invalid_request_error", str(error))
        if not messages:
            return _refusal(400, "invalid_request_error", "messages: at least one is needed")
        outcome = draw(profile, self._seed, json.dumps(messages), body.text("user"))
        await asyncio.sleep(outcome.latency_s)
        if outcome.fails:
            return _refusal(500, "server_error", "the model failed on this request")
        self._served += 1
        answer = compose(outcome.elements)
        identity = {
            "id": f"chatcmpl-{self._served}",
            "model": body.text("model") or "simulated",
            "created": 0,
        }
        usage = _usage(" ".join(text for _, text in messages), answer)
        if body.raw.get("stream") is True:
            return await _stream(request, identity, answer, usage)
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        return web.json_response(
            {**identity, "object": "chat.completion", "choices": [choice], "usage": usage}
        )

    def _profile(self, system_prompt: str) -> Profile:
        if system_prompt not in self._profiles:
            self._profiles[system_prompt] = profile_of(system_prompt)
        return self._profiles[system_prompt]


async def _stream(
    request: web.Request, identity: dict[str, Any], answer: str, usage: dict[str, int]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    size = -(-len(answer) // _PIECES)
    pieces = [{"content": answer[start : start + size]} for start in range(0, len(answer), size)]
    chunk = {**identity, "object": "chat.completion.chunk"}
    for delta in [{"role": "assistant"}, *pieces]:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        await response.write(f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode())
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    await response.write(f"data: {json.dumps({**chunk, 'choices': [last], 'usage': usage})}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _usage(prompt: str, answer: str) -> dict[str, int]:
    """Words stand for tokens."""
    asked, said = len(prompt.split()), len(answer.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _refusal(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind}}, status=status)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", default="1")
    arguments = parser.parse_args()
    application = ModelServer(arguments.seed).application()
    web.run_app(application, host="127.0.0.1", port=arguments.port, access_log=None, print=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
