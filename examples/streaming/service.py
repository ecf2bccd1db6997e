"""The service: POST /chat {conversation, message, pin} -> server-sent events {"text": …}, at the end {"pin": …}."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from openai import AsyncOpenAI, OpenAIError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from examples.kit import serving
from promptrollout_sdk import Assignment, PromptRollout

#: Somebody left before the answer was complete: counted by name, compared by the manifest's metric of that event.
ABANDONED = "abandoned"
#: What to answer with while no prompt has been delivered.
DEFAULT = {
    "messages": [
        {"role": "system", "content": "Answer in three short sentences."},
        {"role": "user", "content": "{{message}}"},
    ],
    "model": "simulated",
}


class Chat:
    """Streams answers with the prompt that the conversation was given."""

    def __init__(self, rollout: PromptRollout, model: AsyncOpenAI) -> None:
        self._rollout = rollout
        self._model = model

    async def chat(self, request: Request) -> Response:
        """One turn of a conversation."""
        asked = await request.json()
        a = self._rollout.assign(unit=asked.get("conversation"), pin=asked.get("pin"))
        return StreamingResponse(self._events(a, str(asked["message"])), media_type="text/event-stream")

    async def close(self) -> None:
        """Let go of connections, and of the directory."""
        self._rollout.close()
        await self._model.close()

    async def _events(self, a: Assignment, message: str) -> AsyncIterator[str]:
        try:
            async for text in self._answer(a, message):
                yield _event({"text": text})
        except OpenAIError as error:
            yield _event({"error": str(error)})
        yield _event({"pin": a.pin, "revision": a.revision})

    async def _answer(self, a: Assignment, message: str) -> AsyncIterator[str]:
        """The visible text. The SDK sees the first piece, the end, and whether anybody was there to hear it."""
        messages: Any = a.render(message=message)
        async with a.request() as r:
            try:
                async with await self._model.chat.completions.create(
                    model=a.model,
                    messages=messages,
                    stream=True,
                    stream_options={"include_usage": True},
                    **a.parameters,
                ) as stream:
                    async for chunk in stream:
                        if chunk.usage:
                            r.tokens(input=chunk.usage.prompt_tokens, output=chunk.usage.completion_tokens)
                        text = chunk.choices[0].delta.content if chunk.choices else None
                        if text:  # not what it only thinks: nobody sees that
                            r.first_token()
                            yield text
            except (asyncio.CancelledError, GeneratorExit):
                r.event(ABANDONED)
                raise


def _event(data: dict[str, str]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def application(prompts: str, model_url: str) -> Starlette:
    """The ASGI application."""
    rollout = PromptRollout.from_directory(prompts, default=DEFAULT, events=[ABANDONED])
    chat = Chat(rollout, serving.model_client(model_url))
    return serving.application([Route("/chat", chat.chat, methods=["POST"])], chat.close)
