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
METRICS = ("events", "score", "latency")
WORLDS = ("plain", "drift", "correlated")
#: Of histograms no cluster sums are exported, so there is nothing to learn a design effect from.
_UNKNOWN = {("latency", "correlated")}
#: Effects: factor of the error rate, mean score, or factor of the latency; and the share of a tail.
EFFECTS = {
    "events": ((1.25, 0.0), (1.5, 0.0), (2.0, 0.0), (3.0, 0.0), (5.0, 0.0)),
    "score": ((0.76, 0.0), (0.70, 0.0)),
    "latency": ((1.15, 0.0), (1.3, 0.0), (1.0, 0.05)),
}
LATE_EFFECTS = {**EFFECTS, "events": ((2.0, 0.0), (5.0, 0.0))}
#: A tail: this share of the candidate's answers takes so many times as long.
TAIL_FACTOR = 4.0


@dataclass(frozen=True)
class Cell:
    """One kind of candidate at one traffic.

    `effect`: the factor of the error rate, the mean score, or the factor of the latency; None for a harmless one.
    """

    metric: str  #: events, score, latency
    traffic: str
    world: str  #: plain, drift (both arms get worse during the day), correlated (conversations)
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
    """How many runs: enough to see 5 % where that is promised; a run of conversations at 10 rps is a million draws."""
    if not cell.harmless:
        return 100 if cell.onset else 300
    if quick:
        return 1000 if cell.metric == "events" and cell.world != "correlated" else 500
    return 500 if cell.world == "correlated" and cell.traffic == "10 rps" else 2000


def is_quick(cell: Cell) -> bool:
    """The quick form has no late onsets, and of what is dear and harmless only 10K a day."""
    if not cell.harmless:
        return cell.onset == 0
    if cell.metric == "events" and cell.world != "correlated":
        return True
    return cell.traffic == "10K/day" and cell.world != "drift"


def grid() -> Iterator[Cell]:
    """All cells, those that say most first."""
    for metric in METRICS:
        for traffic in TRAFFIC:
            yield from (Cell(metric, traffic, "plain", *each) for each in EFFECTS[metric])
    worlds = [(metric, world) for world in WORLDS for metric in METRICS if (metric, world) not in _UNKNOWN]
    for metric, world in worlds:
        yield from (Cell(metric, traffic, world) for traffic in TRAFFIC)
    for metric in METRICS:
        for traffic in TRAFFIC:
            for onset in LATE:
                yield from (Cell(metric, traffic, "plain", *each, onset) for each in LATE_EFFECTS[metric])
