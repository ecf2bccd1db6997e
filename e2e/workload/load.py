"""The load generator: conversations arrive at random (Poisson), each with several turns, each turn at a ready pod.

Open loop: a slow service does not slow the arrivals down. Loopback only; bounded in rate, requests at once and time.
What it saw is in a JSON file, rewritten every second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from e2e.workload.directory import read_endpoints

log = logging.getLogger(__name__)

MAX_RATE = 1000.0
#: Beyond it, arrivals are shed: an overloaded machine then answers fewer requests, but those it answers in time.
MAX_AT_ONCE = 100
_QUESTIONS = ("Where is my parcel", "How do I return it", "Can I change the address", "Is it in stock")


@dataclass(frozen=True)
class Traffic:
    """What to send. `rate`: requests a second; `turns`: mean of a conversation; `think_s`: mean pause between two."""

    rate: float
    turns: float
    think_s: float
    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= MAX_RATE:
            raise ValueError(f"rate: {self.rate} is not in (0, {MAX_RATE}] requests a second")
        if self.turns < 1:
            raise ValueError(f"turns: {self.turns} is less than 1")


class Seen:
    """Counts since the start, by revision."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.unreachable = 0
        self.shed = 0

    def report(self, seconds: float) -> Mapping[str, object]:
        total = sum(self.requests.values())
        return {
            "seconds": round(seconds, 1),
            "requests": total,
            "rate": round(total / seconds, 1) if seconds else 0.0,
            "by_revision": {name: [count, self.errors[name]] for name, count in self.requests.items()},
            "unreachable": self.unreachable,
            "shed": self.shed,
        }


class Load:
    """Runs the conversations. The ready pods are read from the node agent's file, again and again."""

    def __init__(self, traffic: Traffic, endpoints: Path, namespace: str, app: str, seed: int) -> None:
        self._traffic = traffic
        self._endpoints = endpoints
        self._service = (namespace, {"app": app})
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._seed = seed
        self._addresses: list[str] = []
        self._open = 0
        self.seen = Seen()

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Until the time is over; conversations that go on then are cut off."""
        rate = self._traffic.rate / self._traffic.turns
        end = asyncio.get_running_loop().time() + self._traffic.seconds
        due = asyncio.get_running_loop().time()
        conversations: set[asyncio.Task[None]] = set()
        number = 0
        while due < end:
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            due += self._random.expovariate(rate)
            if self._open >= MAX_AT_ONCE or not self._addresses:
                self.seen.shed += 1
                continue
            number += 1
            task = asyncio.create_task(self._converse(http, f"conversation-{self._seed}-{number}"))
            conversations.add(task)
            task.add_done_callback(conversations.discard)
        for task in conversations:
            task.cancel()

    async def follow_endpoints(self) -> None:
        while True:
            self._addresses = read_endpoints(self._endpoints, *self._service)
            await asyncio.sleep(0.25)

    async def _converse(self, http: aiohttp.ClientSession, unit: str) -> None:
        """One turn after another, the pin carried along as an application keeps it with the conversation."""
        turns = 1 + _geometric(self._random, self._traffic.turns)
        pin = None
        for turn in range(turns):
            if turn:
                await asyncio.sleep(self._random.expovariate(1 / self._traffic.think_s))
            question = f"{self._random.choice(_QUESTIONS)}, {unit} turn {turn}?"
            pin = await self._ask(
                http, {"unit": unit, "pin": pin, "shop": "Example Shop", "question": question}
            )

    async def _ask(self, http: aiohttp.ClientSession, body: Mapping[str, object]) -> object:
        """The pin of the answer, the old one when nobody answered."""
        if not self._addresses or self._open >= MAX_AT_ONCE:
            self.seen.shed += 1
            return body["pin"]
        url = f"http://{self._random.choice(self._addresses)}/chat"
        self._open += 1
        try:
            async with http.post(url, json=body) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            self.seen.unreachable += 1
            return body["pin"]
        finally:
            self._open -= 1
        revision = str(answer.get("revision"))
        self.seen.requests[revision] += 1
        if response.status >= 400:
            self.seen.errors[revision] += 1
        return answer.get("pin", body["pin"])


def _geometric(source: random.Random, mean: float) -> int:
    """How many further turns follow the first, so that the mean of all is `mean`."""
    more = 0
    while source.random() > 1 / mean:
        more += 1
    return more


async def _report(load: Load, file: Path) -> None:
    start = time.monotonic()
    while True:
        await asyncio.sleep(1.0)
        unfinished = file.with_name(f".{file.name}.new")
        unfinished.write_text(json.dumps(load.seen.report(time.monotonic() - start)))
        unfinished.replace(file)


async def run(arguments: argparse.Namespace) -> None:
    traffic = Traffic(arguments.rate, arguments.turns, arguments.think, arguments.seconds)
    load = Load(traffic, arguments.endpoints, arguments.namespace, arguments.app, arguments.seed)
    timeout = aiohttp.ClientTimeout(total=10)
    connector = aiohttp.TCPConnector(limit=MAX_AT_ONCE, keepalive_timeout=30)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        helpers = [
            asyncio.create_task(load.follow_endpoints()),
            asyncio.create_task(_report(load, arguments.report)),
        ]
        main_task = asyncio.create_task(load.run(http))
        await asyncio.wait([main_task, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        for task in [main_task, *helpers]:
            task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=Path, required=True, help="the node agent's file of ready pods")
    parser.add_argument("--report", type=Path, required=True, help="written every second")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--app", required=True, help="value of the pods' label `app`")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--turns", type=float, default=3.0, help="mean turns of a conversation")
    parser.add_argument("--think", type=float, default=0.5, help="mean seconds between two turns")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which it stops by itself")
    parser.add_argument("--seed", type=int, default=1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
