"""Items to work through: product descriptions, some with attributes that a person has checked.

From a file of JSON lines `{"id", "text", "label"}`, or made up: a supplier's feed, the same for the same seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "lamp": ("floor lamp", "table lamp", "reading light"),
    "chair": ("armchair", "office chair", "stool"),
    "table": ("desk", "coffee table", "side table"),
    "storage": ("bookcase", "chest of drawers", "shelf"),
}
COLOURS = ("black", "white", "oak", "green", "blue", "red")
MATERIALS = ("steel", "beech", "glass", "cotton", "bamboo")
_SENTENCES = (
    "{colour} {kind} made of {material}, now {price} EUR",
    "A {kind} for small rooms. Material: {material}. Colour: {colour}. {price} EUR incl. VAT",
    "{price} EUR: our {kind} in {colour}, {material} throughout, delivered in two days",
)


class FeedError(ValueError):
    """A line of the feed that is no item; the message says which and why."""


@dataclass(frozen=True)
class Item:
    """One description. `label`: its true attributes, where a person has said them."""

    id: str
    text: str
    label: Mapping[str, object] | None = None


def read(file: Path) -> Iterator[Item]:
    """The items of a feed, line by line. FeedError for the first line that is none; empty lines are passed over."""
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _item(line, f"{file}, line {number}")


def _item(line: str, where: str) -> Item:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise FeedError(f"{where}: not JSON: {error}") from error
    if not isinstance(fields, dict) or not all(
        isinstance(fields.get(name), str) and fields[name] for name in ("id", "text")
    ):
        raise FeedError(f'{where}: an item is {{"id": …, "text": …}} with two texts that are not empty')
    label = fields.get("label")
    if label is not None and not isinstance(label, dict):
        raise FeedError(f"{where}: label: the item's true attributes as an object, or nothing")
    return Item(fields["id"], fields["text"], label)


def drawn(seed: str, count: int, labelled: float) -> Iterator[Item]:
    """So many made-up items, a share of them labelled; ids begin with the seed, so that another run has other items."""
    source = random.Random(seed)  # noqa: S311 - a simulation
    for number in range(count):
        category = source.choice(list(CATEGORIES))
        true = {
            "category": category,
            "colour": source.choice(COLOURS),
            "material": source.choice(MATERIALS),
            "price": source.randrange(1_900, 79_900, 100) / 100,
        }
        kind = source.choice(CATEGORIES[category])
        words = {**true, "kind": kind, "price": f"{true['price']:.2f}"}
        text = source.choice(_SENTENCES).format_map(words)
        yield Item(f"{seed}-{number}", text, true if source.random() < labelled else None)


def without(items: Iterable[Item], done: set[str]) -> Iterator[Item]:
    """Those that an earlier attempt has not finished, each id once."""
    seen = set(done)
    for item in items:
        if item.id not in seen:
            seen.add(item.id)
            yield item
