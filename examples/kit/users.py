"""A crowd of users: they come at random moments, whatever the service does (an open loop), and bring work with them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

#: More visits at once are turned away: a slow machine then sees fewer users, but sees to those it has.
AT_ONCE = 100
LEAVE_WITHIN_S = 10.0


class Addresses:
    """The base URLs of a service, separated by commas; one is chosen at random for each request."""

    def __init__(self, urls: str, chance: random.Random) -> None:
        self._urls: Sequence[str] = [url.strip().rstrip("/") for url in urls.split(",") if url.strip()]
        if not self._urls:
            raise ValueError("at least one URL is needed")
        self._chance = chance

    def url(self, path: str) -> str:
        """The path at one of them."""
        return f"{self._chance.choice(self._urls)}{path}"


async def crowd(
    visit: Callable[[str], Awaitable[None]],
    rate: float,
    seconds: float,
    chance: random.Random,
    at_once: int = AT_ONCE,
) -> int:
    """Call `visit(user)` at `rate` a second (Poisson) for so many seconds; how many visits were begun.

    Each user has an id of their own. One that fails is the service's matter.
    """
    run = f"{chance.getrandbits(32):08x}"
    visits: set[asyncio.Task[None]] = set()
    begun, due = 0, time.monotonic()
    end = due + seconds
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        due += chance.expovariate(rate)
        if len(visits) >= at_once:
            continue
        begun += 1
        task = asyncio.ensure_future(visit(f"user-{run}-{begun}"))
        visits.add(task)
        task.add_done_callback(visits.discard)
    if visits:
        _, late = await asyncio.wait(visits, timeout=LEAVE_WITHIN_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return begun
