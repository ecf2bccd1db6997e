"""The HTTP side: /v1/chat/completions, whole or streamed, with tool calls, as OpenAI's clients expect it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.kit import serving
from examples.kit.model.answering import answer_from_passages
from examples.kit.model.chatting import chat
from examples.kit.model.conversation import Call, Conversation, Reply, Skill
from examples.kit.model.desk_work import tell, work_at_desk
from examples.kit.model.extracting import extract
from examples.kit.model.searching import search_words

#: The first that has a reply gives it.
SKILLS: Sequence[Skill] = (search_words, extract, work_at_desk, tell, answer_from_passages, chat)
_CHUNK = 8


@dataclass(frozen=True)
class Speed:
    """How fast it is. `first_s`: seconds until it begins; `token_s`: seconds for each token (here: word)."""

    first_s: float = 0.03
    token_s: float = 0.01


class Model:
    """Answers by its skills. The same messages get the same reply under the same `seed`."""

    def __init__(self, speed: Speed, seed: str = "1", skills: Sequence[Skill] = SKILLS) -> None:
        self._speed = speed
        self._seed = seed
        self._skills = skills
        self._served = 0

    def application(self) -> Starlette:
        """The ASGI application."""
        return serving.application([Route("/v1/chat/completions", self.complete, methods=["POST"])])

    async def complete(self, request: Request) -> Response:
        """One completion."""
        try:
            body = json.loads(await request.body())
            conversation = _conversation(body)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            return _refusal(400, f"the body is no chat completion request: {error}")
        reply = self._reply(conversation)
        identity = {"id": f"chatcmpl-{self._served}", "model": body.get("model") or "simulated", "created": 0}
        self._served += 1
        if reply.error:
            await asyncio.sleep(self._speed.first_s)
            return _refusal(500, reply.error)
        if body.get("stream"):
            events = self._stream(identity, conversation, reply)
            return StreamingResponse(events, media_type="text/event-stream")
        await asyncio.sleep(self._speed.first_s + self._speed.token_s * _tokens(reply))
        choice = {"index": 0, "message": _message(reply), "finish_reason": _finish(reply)}
        usage = _usage(conversation, reply)
        return JSONResponse({**identity, "object": "chat.completion", "choices": [choice], "usage": usage})

    def _reply(self, conversation: Conversation) -> Reply:
        text = json.dumps([self._seed, conversation.messages], sort_keys=True)
        chance = random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - a simulation
        replies = (skill(conversation, chance) for skill in self._skills)
        return next((reply for reply in replies if reply is not None), Reply(error="no skill fits"))

    async def _stream(
        self, identity: Mapping[str, Any], conversation: Conversation, reply: Reply
    ) -> AsyncIterator[str]:
        """Server-sent events, a few tokens each, at the pace of the model. Ends early when nobody listens."""
        chunk = {**identity, "object": "chat.completion.chunk"}

        def event(delta: Mapping[str, Any], finish: str | None = None, **more: object) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return f"data: {json.dumps({**chunk, 'choices': [choice], **more})}\n\n"

        await asyncio.sleep(self._speed.first_s)
        yield event({"role": "assistant"})
        # As vLLM and others stream what is thought: it is not for the user's eyes.
        for _ in range(0, reply.reasoning, _CHUNK):
            await asyncio.sleep(_CHUNK * self._speed.token_s)
            yield event({"reasoning_content": "hm " * _CHUNK})
        said = reply.text.split(" ") if reply.text else []
        for start in range(0, len(said), _CHUNK):
            piece = " ".join(said[start : start + _CHUNK])
            await asyncio.sleep(_CHUNK * self._speed.token_s)
            yield event({"content": piece if start + _CHUNK >= len(said) else f"{piece} "})
        if reply.calls:
            calls = _message(reply)["tool_calls"]
            yield event({"tool_calls": [{"index": number, **call} for number, call in enumerate(calls)]})
        yield event({}, _finish(reply), usage=_usage(conversation, reply))
        yield "data: [DONE]\n\n"


def _conversation(body: Mapping[str, Any]) -> Conversation:
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: at least one is needed")
    tools = [str(tool["function"]["name"]) for tool in body.get("tools") or []]
    return Conversation([dict(message) for message in messages], tools)


def _message(reply: Reply) -> dict[str, Any]:
    if not reply.calls:
        return {"role": "assistant", "content": reply.text}
    return {"role": "assistant", "content": None, "tool_calls": [_call(call) for call in reply.calls]}


def _call(call: Call) -> dict[str, Any]:
    arguments = json.dumps(call.arguments)
    digest = hashlib.sha256(f"{call.name}{arguments}".encode()).hexdigest()[:12]
    return {
        "id": f"call_{digest}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.calls else "stop"


def _tokens(reply: Reply) -> int:
    calls = sum(2 + len(json.dumps(call.arguments).split()) for call in reply.calls)
    return reply.reasoning + len(reply.text.split()) + calls


def _usage(conversation: Conversation, reply: Reply) -> dict[str, int]:
    asked, said = conversation.length, _tokens(reply)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _refusal(status: int, message: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind}}, status_code=status)
