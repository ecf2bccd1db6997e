"""Pins and tokens: short strings that an application keeps with a conversation or an answer.

Opaque to applications, the same in every SDK (`sdk/conformance/pins.json`). A pin keeps a conversation on its
revision; a token says later which answer a score belongs to. Neither holds anything secret or personal.

    pin    1.<revision>.<exposure>.<arm>[.<event>…]     events: those its unit has had in this exposure
    token  1.<revision>.<exposure>.<arm>.<cluster>.<namespace>/<name>

A pin names at most 16 events, and none whose name has other than letters, digits, `_` and `-`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIN = re.compile(
    r"1\.(?P<revision>[0-9a-f]{10}|default)\.(?P<exposure>[0-9]{1,9})\.(?P<arm>[a-z0-9][-a-z0-9]{0,62})"
    r"(?P<events>(\.[A-Za-z0-9_-]{1,63}){0,16})"
)
_EVENT = re.compile(r"[A-Za-z0-9_-]{1,63}")
_MOST_EVENTS = 16
_TOKEN = re.compile(
    r"1\.(?P<revision>[0-9a-f]{10}|default)\.(?P<exposure>[0-9]{1,9})\.(?P<arm>[a-z0-9][-a-z0-9]{0,62})"
    r"\.(?P<cluster>[0-9]|1[0-5])\.(?P<rollout>[^\x00-\x20]{1,511})"
)


@dataclass(frozen=True, slots=True)
class Pin:
    """What a pin says."""

    revision: str
    exposure: int
    arm: str
    events: tuple[str, ...] = ()

    def __str__(self) -> str:
        events = [event for event in self.events if _EVENT.fullmatch(event)]
        return ".".join(("1", self.revision, str(self.exposure), self.arm, *events[:_MOST_EVENTS]))


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says."""

    revision: str
    exposure: int
    arm: str
    cluster: int
    rollout: str

    def __str__(self) -> str:
        return f"1.{self.revision}.{self.exposure}.{self.arm}.{self.cluster}.{self.rollout}"


def parse_pin(text: str) -> Pin | None:
    """The pin, or None for anything else (a pin of a newer format, a forged one)."""
    match = _PIN.fullmatch(text)
    if match is None:
        return None
    events = tuple(match["events"].split(".")[1:])
    return Pin(match["revision"], int(match["exposure"]), match["arm"], events)


def parse_token(text: str) -> Token | None:
    """The token, or None for anything else."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    return Token(
        match["revision"], int(match["exposure"]), match["arm"], int(match["cluster"]), match["rollout"]
    )
