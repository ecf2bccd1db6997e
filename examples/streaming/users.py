"""Users who chat. They wait for the first word only so long, and stop reading when they have read enough."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator

import httpx2

from examples.kit.users import Addresses, crowd

QUESTIONS = (
    "Where is my parcel?",
    "How do I return these boots?",
    "Can I change the delivery address?",
    "Is the blue tent in stock?",
    "Which sleeping bag is right for winter?",
    "My card was declined, what now?",
)
#: Seconds that people wait for the first word, and words that they read: median and spread (log-normal).
PATIENCE_S = (5.0, 0.3)
READ_WORDS = (60.0, 0.25)
MORE = 0.5


async def come(urls: str, rate: float, seconds: float, seed: int) -> int:
    """Begin `rate` conversations a second, of two turns on average; how many were begun."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    addresses = Addresses(urls, chance)
    async with httpx2.AsyncClient(timeout=10.0) as http:

        async def visit(user: str) -> None:
            pin = None
            while True:
                body = {"conversation": user, "message": chance.choice(QUESTIONS), "pin": pin}
                pin = await _turn(http, addresses.url("/chat"), body, chance) or pin
                if chance.random() >= MORE:
                    return

        return await crowd(visit, rate, seconds, chance)


async def _turn(
    http: httpx2.AsyncClient, url: str, body: dict[str, str | None], chance: random.Random
) -> str | None:
    """One answer; the pin that came with it, None when the user did not stay to its end."""
    patience, left = _drawn(PATIENCE_S, chance), _drawn(READ_WORDS, chance)
    async with http.stream("POST", url, json=body) as response:
        events = _events(response)
        try:
            event = await asyncio.wait_for(anext(events), patience)
            while "text" in event:
                left -= len(event["text"].split())
                if left < 0:
                    return None
                event = await anext(events)
        except TimeoutError:
            return None
        return event.get("pin")


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, str]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def _drawn(of: tuple[float, float], chance: random.Random) -> float:
    median, spread = of
    return median * chance.lognormvariate(0.0, spread)
