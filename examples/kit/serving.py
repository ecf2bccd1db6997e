"""What every service of the examples has: options that a pod's environment may set too, /metrics and /healthz."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
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


def routes(registry: CollectorRegistry = REGISTRY) -> Sequence[Route]:
    """What Prometheus scrapes, and what the readiness probe asks for."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    return [Route("/metrics", metrics), Route("/healthz", healthz)]


def run(application: Starlette, host: str, port: int) -> None:
    """Serve until TERM."""
    uvicorn.run(application, host=host, port=port, log_level="warning", timeout_graceful_shutdown=1)
