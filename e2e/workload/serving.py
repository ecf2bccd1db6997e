"""A serving pod: a small chat service that uses the product's Python SDK as any application would.

POST /chat {unit, pin, shop, question} -> {answer, revision, arm, pin}; 502 with revision, arm and pin when the model
failed.
GET /metrics, /healthz. Settings come from the pod's environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from e2e.objects import KubeObject
from e2e.workload.judge import helpfulness
from promptrollout_sdk import Assignment, PromptRollout

DEFAULT_PROMPT = "You are a support agent. Answer briefly: {{question}}"
JUDGED = "helpfulness"


@dataclass(frozen=True)
class Settings:
    """From the environment: PORT, MODEL_URL, PROMPT_DIR (under CONTAINER_SANDBOX_MOUNT_POINT, where volumes are), and

    PROMPT_WATCH, `namespace/ConfigMap` to watch instead of the directory; empty: the directory.
    """

    port: int
    model_url: str
    prompts: Path
    watched: str

    @classmethod
    def from_environment(cls) -> Settings:
        root = Path(os.environ.get("CONTAINER_SANDBOX_MOUNT_POINT", "/"))
        prompts = root / os.environ["PROMPT_DIR"].lstrip("/")
        return cls(
            int(os.environ["PORT"]),
            os.environ["MODEL_URL"].rstrip("/"),
            prompts,
            os.environ.get("PROMPT_WATCH", ""),
        )


class ModelFailedError(RuntimeError):
    """The model gave no answer; counted as the prompt's error because it leaves `with a.request()`."""


class ChatService:
    """Answers with the prompt that the rollout assigns to the conversation, and judges each answer."""

    def __init__(self, rollout: PromptRollout, model_url: str, http: aiohttp.ClientSession) -> None:
        self._rollout = rollout
        self._completions = f"{model_url}/v1/chat/completions"
        self._http = http

    async def chat(self, request: web.Request) -> web.Response:
        question = KubeObject(await request.json())
        assignment = self._rollout.assign(
            unit=question.text("unit") or None, pin=question.text("pin") or None
        )
        try:
            answer = await self._answer(assignment, question)
        except (ModelFailedError, aiohttp.ClientError, TimeoutError) as error:
            return web.json_response({"error": str(error), **_identity(assignment)}, status=502)
        assignment.score(JUDGED, helpfulness(answer))

        async def run(candidate: Assignment, /, *, shadow: bool) -> None:  # noqa: ARG001 - there are no tools to spare
            candidate.score(JUDGED, helpfulness(await self._answer(candidate, question)))

        assignment.shadow(run)
        return web.json_response({"answer": answer, **_identity(assignment)})

    async def _answer(self, assignment: Assignment, question: KubeObject) -> str:
        messages = assignment.render(shop=question.text("shop"), question=question.text("question"))
        body = {
            "model": assignment.model,
            "messages": messages,
            "user": assignment.unit,
            **assignment.parameters,
        }
        with assignment.request() as r:
            async with self._http.post(self._completions, json=body) as response:
                completion = KubeObject(await response.json())
                if response.status != 200:
                    raise ModelFailedError(completion.text("error.message") or f"HTTP {response.status}")
            r.tokens(
                input=int(completion.number("usage.prompt_tokens")),
                output=int(completion.number("usage.completion_tokens")),
            )
            return completion.items("choices")[0].text("message.content")

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")


def _identity(assignment: Assignment) -> dict[str, str]:
    return {"revision": assignment.revision, "arm": assignment.arm, "pin": assignment.pin}


def _rollout(settings: Settings) -> PromptRollout:
    if settings.watched:
        namespace, _, name = settings.watched.partition("/")
        return PromptRollout.watch(namespace, name, default=DEFAULT_PROMPT, scores=[JUDGED])
    return PromptRollout.from_directory(settings.prompts, default=DEFAULT_PROMPT, scores=[JUDGED])


async def application(settings: Settings) -> web.Application:
    rollout = _rollout(settings)
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30), timeout=aiohttp.ClientTimeout(total=8)
    )
    service = ChatService(rollout, settings.model_url, http)
    served = web.Application()
    served.router.add_post("/chat", service.chat)
    served.router.add_get("/metrics", service.metrics)
    served.router.add_get("/healthz", service.healthz)

    async def close(_application: web.Application) -> None:
        await http.close()

    served.on_cleanup.append(close)
    return served


def main() -> None:
    settings = Settings.from_environment()
    web.run_app(
        application(settings),
        host="127.0.0.1",
        port=settings.port,
        access_log=None,
        print=None,
        shutdown_timeout=1.0,
    )


if __name__ == "__main__":
    main()
