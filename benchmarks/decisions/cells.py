"""The grid: which traffic, which candidate, how many runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Requests a second, by the name of the traffic.
TRAFFIC = {"1K/day": 1e3 / 86_400, "10K/day": 1e4 / 86_400, "100K/day": 1e5 / 86_400, "10 rps": 10.0}
MINUTES = 1440
#: Candidate's share by minute: 1, 5, 25, 50 %, six hours each.
RAMP = (0.01, 0.05, 0.25, 0.50)
STEP_MINUTES = MINUTES // len(RAMP)
BASE_RATE = 0.02
#: Late onsets, in minutes: soon after the start, and in the last step off the full hour.
LATE = (100, 930)
EFFECTS = (1.25, 1.5, 2.0, 3.0, 5.0)
LATE_EFFECTS = (2.0, 5.0)
SCORES = (0.76, 0.70)
LATENCIES = ((1.15, 0.0), (1.3, 0.0), (1.0, 0.05))
#: A tail: this share of the candidate's answers takes so many times as long.
TAIL_FACTOR = 4.0


@dataclass(frozen=True)
class Cell:
    """One kind of candidate at one traffic.

    `effect`: the factor of the error rate, the mean score, or the factor of the latency; None for a harmless one.
    """

    metric: str  #: events, score, latency
    traffic: str
    world: str  #: plain, drift (both arms 1 % to 4 %), correlated (conversations)
    effect: float | None = None
    tail: float = 0.0
    onset: int = 0

    @property
    def harmless(self) -> bool:
        return self.effect is None

    @property
    def name(self) -> str:
        what = "harmless"
        if self.effect is not None:
            what = f".80 to {self.effect:g}" if self.metric == "score" else f"x{self.effect:g}"
        if self.tail:
            what = f"tail {self.tail:.0%} x{TAIL_FACTOR:g}"
        late = f", from minute {self.onset}" if self.onset else ""
        return f"{self.metric} {what}{late}, {self.world}, {self.traffic}"


def runs_of(cell: Cell, *, quick: bool) -> int:
    """How many runs: enough to see 5 % where that is promised; conversations at 10 rps cost minutes a hundred."""
    if quick:
        return 200 if cell.harmless else 60
    if not cell.harmless:
        return 200
    return 400 if cell.world == "correlated" and cell.traffic == "10 rps" else 2000


def grid() -> Iterator[Cell]:  # noqa: C901 - one loop a group, in the order of what they cost
    """All cells."""
    for traffic in TRAFFIC:
        yield Cell("events", traffic, "plain")
        for effect in EFFECTS:
            yield Cell("events", traffic, "plain", effect)
    for traffic in TRAFFIC:
        yield Cell("events", traffic, "drift")
        for onset in LATE:
            for effect in LATE_EFFECTS:
                yield Cell("events", traffic, "plain", effect, onset=onset)
    # At 1,000 requests a day neither scores nor latency are decided within a day.
    for onset in (0, LATE[1]):
        for traffic in list(TRAFFIC)[1:]:
            for score in SCORES:
                yield Cell("score", traffic, "plain", score, onset=onset)
            for factor, tail in LATENCIES:
                yield Cell("latency", traffic, "plain", factor, tail, onset)
        if not onset:
            for traffic in list(TRAFFIC)[:2]:
                yield Cell("events", traffic, "correlated")
            yield Cell("score", "10K/day", "plain")
            yield Cell("latency", "10K/day", "plain")
    for traffic in list(TRAFFIC)[2:]:
        yield Cell("events", traffic, "correlated")
        yield Cell("score", traffic, "plain")
        yield Cell("latency", traffic, "plain")
