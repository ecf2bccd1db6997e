"""An answer from passages: lines "[1] …" of the prompt.

Told to use nothing but the passages, the model quotes what fits the question. Not told so, it adds what it believes to
know, as models do; and without a passage it answers all the same.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from examples.kit.model.conversation import Conversation, Reply, words

_PASSAGE = re.compile(r"^\[\d+\] (.+)$", re.MULTILINE)
_SENTENCE = re.compile(r"[^.!?]+[.!?]")
_BOUND = ("only what the passages say", "nothing but the passages", "only from the passages")
_UNKNOWN = "Our help pages do not answer this; a colleague will write to you."
_INVENTED = (
    "Most people receive a voucher worth twenty euros as a goodwill gesture.",
    "Gold members may simply phone the warehouse manager at midnight.",
    "Your neighbour can sign a blue form on your behalf.",
    "This usually takes eleven working weeks because of customs paperwork.",
    "We recently extended every deadline until New Year.",
    "The courier will wait ninety minutes in front of your building.",
)
_SENTENCES = 3


def answer_from_passages(conversation: Conversation, chance: random.Random) -> Reply | None:
    """Three sentences: the passages' own, or mixed with invented ones."""
    if "passages" not in conversation.told:
        return None
    sentences = _fitting(conversation)
    if conversation.is_told(*_BOUND):
        invented = 1 if chance.random() < 0.04 else 0  # nobody is obeyed always
    else:
        invented = chance.choice((1, 2, 2, 3)) if sentences else _SENTENCES
    said = [*sentences[: _SENTENCES - invented], *chance.sample(_INVENTED, invented)]
    return Reply(" ".join(said) or _UNKNOWN)


def _fitting(conversation: Conversation) -> Sequence[str]:
    """The passages' sentences, those that share most words with the question first."""
    text = "\n".join(str(message.get("content") or "") for message in conversation.messages)
    question = set(words(text.rpartition("Question:")[2]))
    found = [one.strip() for passage in _PASSAGE.findall(text) for one in _SENTENCE.findall(passage)]
    return sorted(found, key=lambda sentence: -len(question & set(words(sentence))))
