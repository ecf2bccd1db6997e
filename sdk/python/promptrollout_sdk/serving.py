"""What is served now: one immutable snapshot of a payload with its bound series, swapped as a whole."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from math import inf
from typing import NamedTuple

from promptrollout_sdk.counting import ArmSeries, ClusterSeries, Key
from promptrollout_sdk.hashing import WHOLE, utf8
from promptrollout_sdk.ledger import Ledger
from promptrollout_sdk.payload import Payload, Shadow
from promptrollout_sdk.pins import Pin, parse_pin
from promptrollout_sdk.prompt import Prompt

# A pin of an exposure that is further away is counted in today's: label values stay bounded whatever pins say.
MAX_AGE = 64
MAX_PINS = 1024


@dataclass(frozen=True, slots=True)
class Served:
    """One revision as served by one arm in one exposure. A draining revision has no clusters: no arm is its own."""

    exposure: int
    prompt: Prompt
    series: ArmSeries
    clusters: ClusterSeries | None


class Followed(NamedTuple):
    """What a pin leads to, until a moment (Unix seconds)."""

    served: Served
    pin: Pin
    until: float


class NoPinError(ValueError):
    """A text that is no pin."""


class Serving:
    """A payload, ready to assign."""

    def __init__(self, payload: Payload, ledger: Ledger) -> None:
        self.payload = payload
        self._ledger = ledger
        self._salt = utf8(f"{payload.salt}\x1f")
        self._ends = list(accumulate(arm.weight for arm in payload.arms))
        self._arms = [
            self._served(arm.name, arm.revision, payload.exposure, live=True) for arm in payload.arms
        ]
        self.last = self._arms[-1]
        self._pinned: dict[tuple[str, str, int], Served] = {}
        # Pins of a rollout are few (an arm's conversations without events share one), so what one leads to is kept.
        self._followed: dict[str, Followed] = {}

    @property
    def keys(self) -> list[Key]:
        """The keys of what is served."""
        shadow = [self.shadowed(self.payload.shadow)] if self.payload.shadow else []
        return [served.series.key for served in (*self._arms, *shadow)]

    def assign(self, unit: bytes) -> Served:
        """The unit's arm by its bucket."""
        digest = sha256(self._salt + unit).digest()
        return self._arms[bisect_right(self._ends, int.from_bytes(digest[:8], "big") * WHOLE >> 64)]

    def follow(self, text: str, now: float) -> Followed | None:
        """What a pin's conversation goes on with; None when its revision is gone and it gets a new assignment.

        `now` is in Unix seconds. NoPinError for a text that is no pin.
        """
        known = self._followed.get(text)
        if known is not None and now < known.until and not known.served.series.dropped:
            return known
        pin = parse_pin(text) if isinstance(text, str) else None
        if pin is None:
            raise NoPinError(text)
        found = self._lead(pin, now)
        if found is not None:
            if len(self._followed) >= MAX_PINS:
                self._followed.clear()
            self._followed[text] = found
        return found

    def _lead(self, pin: Pin, now: float) -> Followed | None:
        """By the rules: a live arm keeps its conversations, a draining revision until its time is over.

        An arm whose weight was taken to 0, and that is not the last (stable) one, was rolled back.
        """
        arms = [arm for arm in self.payload.arms if arm.revision == pin.revision]
        arms.sort(key=lambda arm: arm.name != pin.arm)
        last = self.payload.arms[-1]
        for arm in arms:
            if arm.weight > 0 or arm is last:
                return Followed(self._cached(arm.name, pin, live=True), pin, inf)
        until = self.payload.pinned.get(pin.revision, 0.0)
        return Followed(self._cached(pin.arm, pin, live=False), pin, until) if now < until else None

    def shadowed(self, rules: Shadow) -> Served:
        """The revision that runs in the shadow; its arm is called `shadow`."""
        return self._served("shadow", rules.revision, self.payload.exposure, live=False)

    def _cached(self, arm: str, pin: Pin, *, live: bool) -> Served:
        near = abs(pin.exposure - self.payload.exposure) <= MAX_AGE
        where = (pin.revision, arm, pin.exposure if near else self.payload.exposure)
        served = self._pinned.get(where)
        if served is None or served.series.dropped:
            if len(self._pinned) > MAX_AGE:
                self._pinned.clear()
            served = self._pinned[where] = self._served(arm, pin.revision, where[2], live=live)
        return served

    def _served(self, arm: str, revision: str, exposure: int, *, live: bool) -> Served:
        rollout = self.payload.rollout
        return Served(
            exposure=exposure,
            prompt=self.payload.prompts[revision],
            series=self._ledger.arm(Key(rollout, revision, arm, str(exposure))),
            clusters=self._ledger.clusters(rollout, arm) if live else None,
        )
