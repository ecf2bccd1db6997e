"""What a channel is told, and what a notifier is."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Protocol

from promptrollout.api.base import to_rfc3339
from promptrollout.api.reasons import EventType


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened to a rollout.

    Attributes:
        id: the same for every repetition of this one.
        at: when it was decided.
        type, reason, message: as its Event has them.
        phase, step, weight, stable, candidate: how the rollout stands since, as `kubectl get` shows it; empty where
            there is none. `candidate` is the one that has just been promoted or rolled back, if it was.
        verdict: what the comparison says so far, in words.
    """

    id: str
    at: datetime
    namespace: str
    rollout: str
    type: EventType
    reason: str
    message: str
    phase: str = ""
    step: str = ""
    weight: str = ""
    stable: str = ""
    candidate: str = ""
    verdict: str = ""

    def as_texts(self) -> dict[str, str]:
        """Every field as a template has it."""
        texts = {one.name: str(getattr(self, one.name)) for one in fields(self)}
        return {**texts, "at": to_rfc3339(self.at)}


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent: a notification as the channel's template says it, or `notification` None and a word of our own."""

    id: str
    at: datetime
    title: str
    text: str
    notification: Notification | None = None


class NotifierError(Exception):
    """It was not sent. The text says why, and has no part of a URL and no secret.

    Attributes:
        final: whether trying again is of no use.
        after: seconds that the other side wants to be left alone.
    """

    def __init__(self, said: str, *, final: bool = False, after: float | None = None) -> None:
        super().__init__(said)
        self.final = final
        self.after = after


class Notifier(Protocol):
    """Sends to one channel, one letter at a time."""

    async def check(self) -> str:
        """What is wrong with its settings, read now; empty if nothing. Nothing is sent."""
        ...

    async def send(self, letter: Letter) -> None:
        """Send it. Raises NotifierError, or anything else, which is tried again; the caller sees to the time."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def cut(text: str, most: int) -> str:
    """At most so many characters; an ellipsis says that there were more."""
    return text if len(text) <= most else text[: most - 1] + "…"
