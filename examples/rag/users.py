"""Users with questions, a few of them the same person again."""

from __future__ import annotations

import random
from pathlib import Path

import httpx2

from examples.kit.users import Addresses, crowd

QUESTIONS = Path(__file__).with_name("questions.txt").read_text().splitlines()


async def come(urls: str, rate: float, seconds: float, seed: int) -> int:
    """Ask the service at `rate` questions a second; how many were asked."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    addresses = Addresses(urls, chance)
    async with httpx2.AsyncClient(timeout=10.0) as http:

        async def visit(user: str) -> None:
            question = chance.choice(QUESTIONS)
            await http.post(addresses.url("/ask"), json={"user": user, "question": question})

        return await crowd(visit, rate, seconds, chance)
