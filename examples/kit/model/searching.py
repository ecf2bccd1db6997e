"""Search words for a question: what a RAG service asks for before it looks anything up.

Told to keep the customer's words, the model picks them out. Told to use words of its own, it does that too: they are
more general, and the documents do not have them.
"""

from __future__ import annotations

import random

from examples.kit.model.conversation import Conversation, Reply, words

_OWN_WORDS = ("own words", "more general", "rephrase", "paraphrase")
_GENERAL = ("enquiry", "assistance", "matter", "concern", "situation", "guidance", "circumstances")


def search_words(conversation: Conversation, chance: random.Random) -> Reply | None:
    """Words of the question, or general ones instead of most of them."""
    if not conversation.is_told("search words"):
        return None
    kept = words(conversation.asked)
    if conversation.is_told(*_OWN_WORDS):
        kept = [word if chance.random() < 0.15 else chance.choice(_GENERAL) for word in kept]
    return Reply(" ".join(kept))
