"""One run from its first item to its last push."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from examples.batch import feed
from examples.batch.gateway import Gateway
from examples.batch.model import Extractor
from examples.batch.results import Results
from examples.batch.work import AGREEMENT, INVALID, Summary, Worker
from examples.kit import serving
from promptrollout_sdk import Contract, PromptRollout

log = logging.getLogger(__name__)

#: What to extract by while no prompt has been delivered.
DEFAULT = "Extract the attributes of the product as one JSON object and nothing else: {{description}}"
#: How long the groups of earlier runs are kept: far longer than Prometheus or the operator are ever away.
KEPT_S = 86_400.0
_TRIES, _PAUSE_S = 5, 2.0


@dataclass(frozen=True)
class Settings:
    """`gateway`: its URL, empty to push nothing; `run`: this run's name, another for each."""

    prompts: str
    model_url: str
    gateway: str
    run: str
    results: Path | None
    at_once: int
    push_every: float


class NotPushedError(RuntimeError):
    """The items are done, but nobody can be told what came of them."""


async def work(settings: Settings, items: Iterable[feed.Item]) -> Summary:
    """All items. NotPushedError when the last push failed."""
    registry = CollectorRegistry()  # of its own: what else a process exports is no matter of the rollout
    rollout = PromptRollout.from_directory(
        settings.prompts,
        DEFAULT,
        registry=registry,
        events=[INVALID],
        scores=[AGREEMENT],
        contract=Contract(variables=("description",)),
    )
    results, model = Results(settings.results), Extractor(serving.model_client(settings.model_url))
    gateway = Gateway(settings.gateway, settings.run, registry) if settings.gateway else None
    worker = Worker(rollout, model, results.add)
    try:
        async with _pushed(gateway, settings.push_every):
            await worker.run(feed.without(items, results.done), settings.at_once)
    finally:
        results.close()
        rollout.close()
        await model.close()
    return worker.summary


@contextlib.asynccontextmanager
async def _pushed(gateway: Gateway | None, every: float) -> AsyncIterator[None]:
    """Push now and then, and all of it at the end, also of a run that fails; then tidy up after earlier runs.

    Not only at the end: the smaller the windows that are compared, the sooner there is a verdict, and a prompt that
    does harm is taken back in the middle of a run.
    """
    if gateway is None:
        yield
        return
    pushing = asyncio.create_task(_push_regularly(gateway, every))
    try:
        yield
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await _push_at_last(gateway)


async def _push_regularly(gateway: Gateway, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        await asyncio.to_thread(gateway.push)


async def _push_at_last(gateway: Gateway) -> None:
    for _ in range(_TRIES):
        if await asyncio.to_thread(gateway.push):
            break
        await asyncio.sleep(_PAUSE_S)
    else:
        raise NotPushedError("the Pushgateway cannot be reached, so the rollout learns nothing of this run")
    try:
        await asyncio.to_thread(gateway.tidy, time.time() - KEPT_S)
    except OSError as error:  # the next run tidies up
        log.warning("groups of earlier runs stay in the Pushgateway: %s", error)
