"""What a model is given, and what it comes back with."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_EVERYDAY = (
    "a about above after all also am an and any are as at be because been but by can could customer customers did do "
    "does dont find for from get give had has have help how i if in into is it its just know let like may me more my "
    "need no not of on one only or our out please question should so some tell than that the their them then there "
    "these they this to until up us use want was we what when where which who why will with would you your"
)
#: Words that say nothing about what a text is about.
STOP_WORDS = frozenset(_EVERYDAY.split())


def words(text: str) -> list[str]:
    """The words of a text that say what it is about, in lower case, in order."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


@dataclass(frozen=True)
class Call:
    """A tool that the model wants to be called; `arguments` become JSON."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What comes back: a text, or calls of tools.

    `reasoning`: tokens that it thinks before the first visible one. `error`: it fails instead, with these words.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    reasoning: int = 0
    error: str = ""


@dataclass(frozen=True)
class Conversation:
    """The messages of one request, as sent; `tools` are the names of those it may call."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[str] = field(default=())

    @property
    def told(self) -> str:
        """What the system messages say, in lower case."""
        return self._said_by("system").lower()

    @property
    def asked(self) -> str:
        """What the user said last."""
        said = [str(m.get("content") or "") for m in self.messages if m.get("role") == "user"]
        return said[-1] if said else ""

    @property
    def length(self) -> int:
        """Tokens of all of it; a word stands for a token."""
        return sum(len(str(message.get("content") or "").split()) for message in self.messages)

    def is_told(self, *phrases: str) -> bool:
        """Whether the system messages have one of these phrases (in lower case)."""
        return any(phrase in self.told for phrase in phrases)

    def _said_by(self, role: str) -> str:
        return "\n".join(str(m.get("content") or "") for m in self.messages if m.get("role") == role)


#: Something the model can do: a reply, or None when this is not what it is asked for. `chance` is the request's own,
#: the same for the same messages.
Skill = Callable[[Conversation, random.Random], Reply | None]
