"""How much a channel is told. Pure: it is told the time, in seconds of any clock that never goes back."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Happened:
    """What is to be told: of which rollout, for which reason, in which words."""

    rollout: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What was not told one by one.

    Attributes:
        count: how many in all.
        reasons, rollouts: how many of each, the most frequent first.
    """

    count: int
    reasons: tuple[tuple[str, int], ...]
    rollouts: tuple[tuple[str, int], ...]


class Bucket:
    """A token bucket: `size` at once, and one more after each `every` seconds."""

    def __init__(self, size: float, every: float, now: float) -> None:
        self._size, self._every = size, every
        self._tokens, self._at = size, now

    def wait(self, now: float) -> float:
        """Seconds until there is a whole token."""
        self._fill(now)
        return max(0.0, (1 - self._tokens) * self._every)

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        self._fill(now)
        if self._tokens < 1 - 1e-9:  # what was waited for must be there in spite of rounding
            return False
        self._tokens = max(self._tokens - 1, 0.0)
        return True

    def _fill(self, now: float) -> None:
        self._tokens = min(self._size, self._tokens + max(now - self._at, 0.0) / self._every)
        self._at = max(now, self._at)


class Allowance:
    """What one channel may be told: never the same words twice in a while, no reason of a rollout again and again, and

    not more in all than `per_minute` after a `burst`. What is held back is counted, and told in one summary.
    """

    SAME_WORDS_S = 60.0
    ALIKE_SIZE, ALIKE_EVERY_S = 4, 300.0
    SUMMARY_AFTER_S = 60.0
    REMEMBERED = 2048

    def __init__(self, per_minute: float, burst: int, now: float) -> None:
        self._channel = Bucket(burst, 60.0 / per_minute, now)
        self._words: OrderedDict[Happened, float] = OrderedDict()
        self._alike: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self._held: Counter[tuple[str, str]] = Counter()
        self._since = now

    def admit(self, happened: Happened, now: float) -> bool:
        """Whether to tell it now; otherwise it is counted for the summary."""
        kind = (happened.rollout, happened.reason)
        last = self._words.get(happened)
        if last is not None and now - last < self.SAME_WORDS_S:
            return self._hold(kind, now)
        alike = self._alike.get(kind) or Bucket(self.ALIKE_SIZE, self.ALIKE_EVERY_S, now)
        _remember(self._alike, kind, alike, self.REMEMBERED)
        if not alike.take(now) or not self._channel.take(now):
            return self._hold(kind, now)
        _remember(self._words, happened, now, self.REMEMBERED)
        return True

    def lost(self, happened: Happened, now: float) -> None:
        """It was admitted and could not be sent: it is counted for the summary, and may be told again."""
        self._words.pop(happened, None)
        self._hold((happened.rollout, happened.reason), now)

    def summary_in(self, now: float) -> float | None:
        """The seconds until a summary may be told; None: there is nothing in it."""
        if not self._held:
            return None
        return max(self._since + self.SUMMARY_AFTER_S - now, self._channel.wait(now), 0.0)

    def summary(self, now: float) -> HeldBack | None:
        """What was held back, if it is time to say so; it counts as told then."""
        if not self._held or now - self._since < self.SUMMARY_AFTER_S - 1e-9 or not self._channel.take(now):
            return None
        reasons: Counter[str] = Counter()
        rollouts: Counter[str] = Counter()
        for (rollout, reason), count in self._held.items():
            reasons[reason] += count
            rollouts[rollout] += count
        held = HeldBack(self._held.total(), tuple(reasons.most_common()), tuple(rollouts.most_common()))
        self._held.clear()
        return held

    def restore(self, held: HeldBack, now: float) -> None:
        """A summary that could not be sent: the next one has its count."""
        for name, count in held.reasons:
            if not self._held:
                self._since = now
            self._held["earlier ones", name] += count

    def _hold(self, kind: tuple[str, str], now: float) -> bool:
        if not self._held:
            self._since = now
        known = kind in self._held or len(self._held) < self.REMEMBERED
        self._held[kind if known else ("others", kind[1])] += 1
        return False


def _remember(remembered: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    remembered[key] = value
    remembered.move_to_end(key)
    while len(remembered) > most:
        remembered.popitem(last=False)
