"""Customers: each has an order, and wants to know where it is, or wants it cancelled, which takes two turns."""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import count

import httpx2

from examples.kit.users import Addresses, crowd

log = logging.getLogger(__name__)

#: How many may be there at once. Each conversation is many calls: a slow machine then has fewer, but ends them.
AT_ONCE = 12
#: How long a customer reads an answer, on average, in seconds.
_READS_S = 0.1
#: How many want to cancel.
_CANCEL = 0.8


async def come(urls: str, rate: float, seconds: float, orders: int, seed: int) -> int:
    """So many customers a second, one after the other with the orders A-1 to A-`orders`; how many came."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    addresses = Addresses(urls, chance)
    numbers = count(chance.randrange(orders))
    async with httpx2.AsyncClient(timeout=20.0) as http:

        async def visit(_user: str) -> None:
            order = f"A-{next(numbers) % orders + 1}"
            try:
                await talk(http, addresses.url(""), order, chance)
            except httpx2.HTTPError as error:
                log.warning("%s: %s %s", order, type(error).__name__, error)

        return await crowd(visit, rate, seconds, chance, AT_ONCE)


async def talk(http: httpx2.AsyncClient, url: str, order: str, chance: random.Random) -> None:
    """One customer's whole conversation. Whoever hears that it is too late to cancel asks where the order is."""
    cancel = chance.random() < _CANCEL
    opened = await http.post(f"{url}/conversations", json={"order": order, "cancel": cancel})
    if cancel and opened.status_code == 400:
        cancel = False
        opened = await http.post(f"{url}/conversations", json={"order": order})
    conversation = f"{url}/conversations/{opened.raise_for_status().json()['conversation']}"
    for text in (f"Please cancel {order}.", "Yes, go ahead.") if cancel else (f"Where is {order}?",):
        await http.post(f"{conversation}/turns", json={"text": text})
        await asyncio.sleep(chance.expovariate(1 / _READS_S))
    await http.delete(conversation)
