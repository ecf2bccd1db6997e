"""Attributes of a product as JSON. Told to explain itself, the model now and then puts text around the JSON.

It finds the attributes by the description's words; now and then it gets one wrong, less often when it is told which
ones there are.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable

from examples.batch.feed import CATEGORIES, COLOURS, MATERIALS
from examples.kit.model.conversation import Conversation, Reply

_PRICE = re.compile(r"(\d+\.\d\d) EUR")


def extract(conversation: Conversation, chance: random.Random) -> Reply | None:
    """A JSON object with category, colour, material and price."""
    if not conversation.is_told("attributes"):
        return None
    wrong = 0.01 if conversation.is_told("one of") else 0.02
    category = _earliest(conversation.asked, (kind for kinds in CATEGORIES.values() for kind in kinds))
    found = {
        "category": next((name for name, kinds in CATEGORIES.items() if category in kinds), ""),
        "colour": _earliest(conversation.asked, COLOURS),
        "material": _earliest(conversation.asked, MATERIALS),
    }
    for name, others in (("category", [*CATEGORIES]), ("colour", COLOURS), ("material", MATERIALS)):
        if chance.random() < wrong:
            found[name] = chance.choice(others)
    price = _PRICE.search(conversation.asked)
    text = json.dumps({**found, "price": float(price[1]) if price else 0.0})
    if chance.random() < _prose(conversation):
        return Reply(f"The description names them, so the attributes are:\n```json\n{text}\n```")
    return Reply(text)


def _prose(conversation: Conversation) -> float:
    """How often there is text around the JSON."""
    if conversation.is_told("explain"):
        return 0.12
    return 0.005 if conversation.is_told("nothing else") else 0.02


def _earliest(description: str, names: Iterable[str]) -> str:
    """Which of these words comes first; of two that begin at one place the longer."""
    places = [(description.find(word), -len(word), word) for word in names]
    return min((place for place in places if place[0] >= 0), default=(0, 0, ""))[2]
