"""What every service here has: options that a pod's environment may set too, a model client, /metrics, /healthz."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import uvicorn
from openai import AsyncOpenAI
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def option(
    parser: argparse.ArgumentParser,
    name: str,
    default: str,
    what: str,
    kind: Callable[[str], object] = str,
) -> None:
    """`--model-url`, which MODEL_URL in the environment sets too, as a Deployment does it."""
    variable = name.lstrip("-").replace("-", "_").upper()
    text = f"{what} (environment: {variable}; default: {default or 'none'})"
    parser.add_argument(name, default=os.environ.get(variable) or default, type=kind, help=text)


def listening_options(parser: argparse.ArgumentParser, port: int) -> None:
    """`--host` and `--port`."""
    option(parser, "--host", "127.0.0.1", "address to listen on")
    option(parser, "--port", str(port), "port to listen on", int)


def model_client(url: str) -> AsyncOpenAI:
    """OpenAI's own client; the simulated model wants no key."""
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=20.0)


def application(
    routes: Sequence[Route],
    close: Callable[[], Awaitable[None]] | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> Starlette:
    """The ASGI application of these routes, of /metrics for Prometheus and /healthz for the probe.

    `close` is called at the end.
    """

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    @asynccontextmanager
    async def life(_application: Starlette) -> AsyncIterator[None]:
        yield
        if close is not None:
            await close()

    return Starlette(
        routes=[*routes, Route("/metrics", metrics), Route("/healthz", healthz)],
        exception_handlers={ClientDisconnect: _gone},
        lifespan=life,
    )


def run(application: Starlette, host: str, port: int) -> None:
    """Serve until TERM."""
    uvicorn.run(application, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)


async def _gone(_request: Request, _error: Exception) -> Response:
    """Who left before the question was read gets what nobody reads."""
    return Response(status_code=499)
