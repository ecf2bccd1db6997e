"""The service: POST /ask {user, question} -> {answer, pages, revision}."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
from openai import AsyncOpenAI, OpenAIError
from openai.types.chat import ChatCompletion
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.kit import serving
from examples.rag.retrieval import Index
from promptrollout_sdk import Assignment, Contract, PromptRollout

log = logging.getLogger(__name__)

#: A search that finds nothing: counted by name, compared by the manifest's metric of that event.
MISS = "retrieval_miss"
#: What to answer with while no prompt has been delivered.
DEFAULT = {
    "parts": {
        "search": {
            "messages": [
                {"role": "system", "content": "Write search words for the customer's question."},
                {"role": "user", "content": "{{question}}"},
            ]
        },
        "answer": {
            "messages": [
                {"role": "system", "content": "Answer the customer. Say only what the passages say."},
                {
                    "role": "user",
                    "content": "{{#passages}}\n[{{number}}] {{text}}\n{{/passages}}\nQuestion: {{question}}",
                },
            ]
        },
    },
    "model": "simulated",
}
#: A payload that lacks a part, or wants a variable that is not filled in here, is refused and so never gets traffic.
CONTRACT = Contract(parts=("search", "answer"), variables=("question", "passages"))


class Rag:
    """Search words, search, answer; a judge hears of each answer afterwards."""

    def __init__(self, rollout: PromptRollout, model: AsyncOpenAI, judge_url: str) -> None:
        self._rollout = rollout
        self._model = model
        self._index = Index()
        self._judge = httpx2.AsyncClient(base_url=judge_url, timeout=10.0) if judge_url else None

    async def ask(self, request: Request) -> Response:
        """One question."""
        asked = await request.json()
        question = str(asked["question"])
        a = self._rollout.assign(unit=asked.get("user"))
        try:
            async with a.request() as r:
                search = await self._complete(a, "search", question=question)
                found = self._index.search(_text(search), int(a.extra.get("passages", 3)))
                if not found:
                    r.event(MISS)
                passages = [{"number": one.number, "text": one.text} for one in found]
                answer = await self._complete(a, "answer", question=question, passages=passages)
                for usage in (search.usage, answer.usage):
                    if usage:
                        r.tokens(input=usage.prompt_tokens, output=usage.completion_tokens)
        except OpenAIError as error:
            return JSONResponse({"error": str(error), "revision": a.revision}, status_code=502)
        report: dict[str, object] = {
            "token": a.token,
            "answer": _text(answer),
            "passages": [one.text for one in found],
        }
        said = {"answer": _text(answer), "pages": [one.page for one in found], "revision": a.revision}
        return JSONResponse(said, background=BackgroundTask(self._report, report))

    async def close(self) -> None:
        """Let go of connections, and of the directory."""
        self._rollout.close()
        await self._model.close()
        if self._judge is not None:
            await self._judge.aclose()

    async def _complete(self, a: Assignment, part: str, **values: object) -> ChatCompletion:
        messages: Any = a.render(part=part, **values)
        completion: ChatCompletion = await self._model.chat.completions.create(
            model=a.model, messages=messages, **a.parameters
        )
        return completion

    async def _report(self, report: dict[str, object]) -> None:
        """After the answer was sent. A judge that is away costs scores, which their coverage shows; no answer."""
        if self._judge is None:
            return
        try:
            await self._judge.post("/answers", json=report)
        except httpx2.HTTPError as error:
            log.warning("the judge did not take an answer: %s", error)


def _text(completion: ChatCompletion) -> str:
    return completion.choices[0].message.content or ""


def application(prompts: str, model_url: str, judge_url: str) -> Starlette:
    """The ASGI application."""
    rollout = PromptRollout.from_directory(prompts, default=DEFAULT, events=[MISS], contract=CONTRACT)
    rag = Rag(rollout, serving.model_client(model_url), judge_url)
    return serving.application([Route("/ask", rag.ask, methods=["POST"])], rag.close)
