"""What many simulated runs say together: shares, times, and who saw a bad prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from promptrollout.simulation.trial import Outcome, RunResult

#: Points of the timeline.
_POINTS = 96
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A share of runs with its 95 % confidence interval (Wilson)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval, 95 %."""
        if not self.of:
            return 0.0, 1.0
        p, n, z = self.value, self.of, _Z
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and 90th percentile of some figures; nan where there are none."""

    mean: float
    median: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of some figures."""
        if not values:
            return cls(math.nan, math.nan, math.nan)
        data = np.asarray(values, dtype=float)
        return cls(float(data.mean()), float(np.median(data)), float(np.quantile(data, 0.9)))


@dataclass(frozen=True, slots=True)
class Ending:
    """One way in which runs ended: how many did, after how long, and after how many candidate requests.

    `arm` is the one that has won, of an A/B test.
    """

    outcome: Outcome
    reason: str
    arm: str
    share: Share
    seconds: Spread
    candidate_requests: Spread
    bad_requests: Spread
    shadow_runs: Spread


@dataclass(frozen=True, slots=True)
class Moment:
    """How the runs stood at a time: shares of them, and the candidate's mean weight in per cent."""

    seconds: float
    promoted: float
    rolled_back: float
    weight: float


@dataclass(frozen=True)
class Report:
    """All runs of one simulation. `harmful`: whether the world's candidate is worse than stable anywhere."""

    runs: tuple[RunResult, ...]
    seconds: float
    harmful: bool
    seed: int

    def share(self, outcome: Outcome, reason: str | None = None) -> Share:
        """How many runs ended so."""
        count = sum(r.outcome is outcome and reason in (None, r.reason) for r in self.runs)
        return Share(count, len(self.runs))

    @property
    def dropped(self) -> dict[str, Share]:
        """How often each arm of an A/B test was dropped as harmful, by name; those that never were are absent."""
        names = sorted({name for run in self.runs for name in run.dropped})
        return {name: Share(sum(name in run.dropped for run in self.runs), len(self.runs)) for name in names}

    @cached_property
    def endings(self) -> tuple[Ending, ...]:
        """All ways in which runs ended, the most frequent first."""
        groups: dict[tuple[Outcome, str, str], list[RunResult]] = {}
        for run in self.runs:
            groups.setdefault((run.outcome, run.reason, run.arm), []).append(run)
        ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
        return tuple(
            Ending(
                outcome,
                reason,
                arm,
                Share(len(some), len(self.runs)),
                Spread.of([r.seconds for r in some]),
                Spread.of([r.candidate_requests for r in some]),
                Spread.of([r.bad_requests for r in some]),
                Spread.of([r.shadow_runs for r in some]),
            )
            for (outcome, reason, arm), some in ordered
        )

    @cached_property
    def timeline(self) -> tuple[Moment, ...]:
        """How the runs stood in the course of time, at evenly spaced moments."""
        return tuple(self._moment(self.seconds * i / _POINTS) for i in range(_POINTS + 1))

    def _moment(self, at: float) -> Moment:
        over = [r for r in self.runs if r.seconds <= at]
        weights = [_weight(r, at) for r in self.runs]
        return Moment(
            at,
            sum(r.outcome is Outcome.Promoted for r in over) / len(self.runs),
            sum(r.outcome is Outcome.RolledBack for r in over) / len(self.runs),
            sum(weights) / len(weights) / 100.0,
        )

    def to_dict(self) -> dict[str, object]:
        """A JSON-able summary; figures that do not exist are None."""
        return {
            "runs": len(self.runs),
            "seed": self.seed,
            "seconds": self.seconds,
            "harmful": self.harmful,
            "dropped": {name: share.value for name, share in self.dropped.items()},
            "endings": [
                {
                    "outcome": e.outcome.value,
                    "reason": e.reason,
                    "arm": e.arm,
                    "count": e.share.count,
                    "share": e.share.value,
                    "interval95": list(e.share.interval),
                    **{
                        name: {k: _number(getattr(spread, k)) for k in ("mean", "median", "p90")}
                        for name, spread in (
                            ("seconds", e.seconds),
                            ("candidateRequests", e.candidate_requests),
                            ("badRequests", e.bad_requests),
                            ("shadowRuns", e.shadow_runs),
                        )
                    },
                }
                for e in self.endings
            ],
            "timeline": [[m.seconds, m.promoted, m.rolled_back, m.weight] for m in self.timeline],
        }


def _weight(run: RunResult, at: float) -> float:
    """The candidate's weight in 1/10,000 at a time."""
    if run.seconds <= at and run.outcome in (Outcome.Promoted, Outcome.RolledBack):
        return 10_000.0 if run.outcome is Outcome.Promoted else 0.0
    return float(next((weight for since, weight in reversed(run.path) if since <= at), 0))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
