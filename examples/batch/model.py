"""The model behind an OpenAI-compatible API; the client's own retries are part of the one request."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAIError

from examples.batch.work import ModelError
from promptrollout_sdk import Assignment, Request


class Extractor:
    """Asks for one item's attributes."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def __call__(self, assignment: Assignment, description: str, r: Request) -> str:
        """The answer to one description. ModelError after all tries."""
        try:
            completion = await self._client.chat.completions.create(
                model=assignment.model or "simulated",
                messages=assignment.render(description=description),  # type: ignore[arg-type] # as the API takes them
                **assignment.parameters,
            )
        except OpenAIError as error:
            raise ModelError(str(error)) from error
        if completion.usage:
            r.tokens(input=completion.usage.prompt_tokens, output=completion.usage.completion_tokens)
        return completion.choices[0].message.content or ""

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()
