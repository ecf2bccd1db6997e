"""Plain chat: a few sentences. How long it thinks before them, and how long it goes on, is the prompt's doing."""

from __future__ import annotations

import random

from examples.kit.model.conversation import Conversation, Reply, words

_SENTENCES = (
    "Thank you for asking about {topic}.",
    "Please open your account page and choose the order.",
    "There you see its state and what you can do next.",
    "If something is missing, write to us and we look into it.",
    "Keep the receipt until everything is settled.",
    "You hear from us within two working days.",
    "Everything can be changed until the parcel leaves our house.",
    "Afterwards the carrier's page tells where it is.",
)
_LONG, _SHORT = 24, 3


def chat(conversation: Conversation, chance: random.Random) -> Reply | None:
    """Always a reply: this is what a model does when it is asked for nothing in particular."""
    thinks = conversation.is_told("step by step", "think carefully", "plan your answer")
    long = conversation.is_told("in detail", "at length", "everything a customer could")
    topic = " ".join(words(conversation.asked)[:3]) or "this"
    sentences = [_SENTENCES[number % len(_SENTENCES)] for number in range(_LONG if long else _SHORT)]
    text = " ".join(sentences).format(topic=topic)
    return Reply(text, reasoning=round(chance.gauss(150, 20)) if thinks else 0)
