"""The model behind an OpenAI-compatible API; the client's own retries are part of the one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openai import AsyncOpenAI, OpenAIError

from examples.agent.desk import Message, ModelError, Reply
from promptrollout_sdk import Assignment, Request


class ChatModel:
    """Asks for the next message."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def __call__(
        self,
        assignment: Assignment,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        r: Request,
    ) -> Reply:
        """The model's next message. ModelError after all tries."""
        more: dict[str, Any] = {"tools": list(tools)} if tools else {}
        try:
            completion = await self._client.chat.completions.create(
                model=assignment.model or "simulated",
                messages=list(messages),  # type: ignore[arg-type] # as the API takes them
                **more,
                **assignment.parameters,
            )
        except OpenAIError as error:
            raise ModelError(str(error)) from error
        if completion.usage:
            r.tokens(input=completion.usage.prompt_tokens, output=completion.usage.completion_tokens)
        return Reply(completion.choices[0].message.model_dump(exclude_none=True))

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()
