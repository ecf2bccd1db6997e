"""The world a rollout is simulated in: who asks, what the answers are like, and what goes wrong.

Every field is a plain number; times are seconds since the candidate was wanted. A metric's two arms differ only in
what `candidate` says, and only from `onset` on. Building a world checks it and raises ValueError with the field's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_SECONDS = 86_400.0


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be a number from {low} to {high}, got {value}")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of all arms together.

    `per_second` is the mean over a day; it swings by `daily` (0: flat, 1: no requests at all at the quietest hour)
    around it with its peak at `peak_hour`. A unit (conversation) makes `requests_per_unit` requests on average
    (geometric), `pause` seconds apart; with 1 every request is a unit of its own.
    """

    per_second: float
    daily: float = 0.0
    peak_hour: float = 14.0
    requests_per_unit: float = 1.0
    pause: tuple[float, float] = (30.0, 120.0)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("traffic.per_second", self.per_second, 0.0, 1e5)
        _check("traffic.daily", self.daily, 0.0, 1.0)
        _check("traffic.peak_hour", self.peak_hour, 0.0, 24.0)
        _check("traffic.requests_per_unit", self.requests_per_unit, 1.0, 1000.0)
        _check("traffic.pause", self.pause[0], 0.0, self.pause[1])

    def rate(self, hour: float) -> float:
        """Requests a second at an hour of the day."""
        return self.per_second * (1.0 + self.daily * math.cos((hour - self.peak_hour) * math.pi / 12.0))


@dataclass(frozen=True, slots=True)
class Course:
    """What happens to a metric in the course of time.

    `onset`: from when the candidate differs at all. `drift`: both arms' badness is this many times as large at the
    simulation's end as at its beginning (in between it moves evenly). `cold_seconds`, `cold_factor`: after each
    change of weights the candidate's caches are cold for so long, and its badness is so many times as large.
    `icc`: the intra-class correlation of one unit's requests; `candidate_icc`: that of the candidate's, if another.
    """

    onset: float = 0.0
    drift: float = 1.0
    cold_seconds: float = 0.0
    cold_factor: float = 1.0
    icc: float = 0.0
    candidate_icc: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("onset", self.onset, 0.0)
        _check("drift", self.drift, 0.0, 100.0)
        _check("cold_seconds", self.cold_seconds, 0.0)
        _check("cold_factor", self.cold_factor, 0.0, 1000.0)
        _check("icc", self.icc, 0.0, 1.0)
        _check("candidate_icc", self.icc_of_candidate, 0.0, 1.0)

    @property
    def icc_of_candidate(self) -> float:
        """How much the candidate's answers within one unit resemble each other."""
        return self.icc if self.candidate_icc is None else self.candidate_icc

    def drifted(self, seconds: float, horizon: float) -> float:
        """Factor of both arms' badness at a time."""
        return 1.0 + (self.drift - 1.0) * min(max(seconds / horizon, 0.0), 1.0)


NOTHING_HAPPENS = Course()


@dataclass(frozen=True, slots=True)
class EventWorld:
    """Rates of bad requests."""

    stable: float
    candidate: float
    course: Course = NOTHING_HAPPENS

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("stable", self.stable, 0.0, 1.0)
        _check("candidate", self.candidate, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class ScoreWorld:
    """Mean scores in [0, 1] (higher is better), beta distributed with standard deviation `spread`.

    `judged` is the share of answers that get a score at all, `candidate_judged` that of the candidate's, if another. A
    judge takes `delay` seconds on average: such scores arrive in later windows, with the exposure they were answered
    under. In a shadow both scores of one request come at once, and correlate by `pairing` (0: as if they were not of
    one request, 1: the same answer but for what `candidate` says).
    """

    stable: float
    candidate: float
    spread: float = 0.2
    judged: float = 1.0
    delay: float = 0.0
    candidate_judged: float | None = None
    pairing: float = 0.5
    course: Course = NOTHING_HAPPENS

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("stable", self.stable, 0.001, 0.999)
        _check("candidate", self.candidate, 0.001, 0.999)
        _check("spread", self.spread, 0.001, 0.5)
        _check("judged", self.judged, 0.0, 1.0)
        _check("delay", self.delay, 0.0, 7 * DAY_SECONDS)
        _check("candidate_judged", self.judged_of(candidate=True), 0.0, 1.0)
        _check("pairing", self.pairing, 0.0, 1.0)

    def judged_of(self, *, candidate: bool) -> float:
        """The share of an arm's answers that get a score."""
        return self.judged if self.candidate_judged is None or not candidate else self.candidate_judged


@dataclass(frozen=True, slots=True)
class LatencyWorld:
    """Lognormal values in the metric's unit (seconds, tokens): `median` and `sigma` of stable.

    The candidate's are `factor` times as large, and a share `tail` of its answers `tail_factor` times on top.
    """

    median: float = 1.0
    sigma: float = 0.6
    factor: float = 1.0
    tail: float = 0.0
    tail_factor: float = 1.0
    course: Course = NOTHING_HAPPENS

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("median", self.median, 1e-9)
        _check("sigma", self.sigma, 1e-3, 10.0)
        _check("factor", self.factor, 1e-3, 1e3)
        _check("tail", self.tail, 0.0, 1.0)
        _check("tail_factor", self.tail_factor, 1e-3, 1e3)


@dataclass(frozen=True, slots=True)
class SumWorld:
    """Unbounded quantities (cost): lognormal with this mean and coefficient of variation.

    The candidate's are `factor` times as large.
    """

    mean: float = 1.0
    variation: float = 1.0
    factor: float = 1.0
    course: Course = NOTHING_HAPPENS

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("mean", self.mean, 1e-12)
        _check("variation", self.variation, 1e-3, 10.0)
        _check("factor", self.factor, 1e-3, 1e3)


@dataclass(frozen=True, slots=True)
class CoverageWorld:
    """The share of answers that have a score: the guard of a score against a judge that fails on one arm's answers."""

    score: str
    course: Course = NOTHING_HAPPENS


MetricWorld = EventWorld | ScoreWorld | LatencyWorld | SumWorld | CoverageWorld


@dataclass(frozen=True, slots=True)
class Outage:
    """The metric source cannot be read from `start` on for `seconds`; afterwards the missed windows are read again."""

    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the operator.

    `metrics` by the plan's metric names; one that is absent has no data. `arms` has, by name, those arms of an A/B test
    that are unlike the others in some metric. `seconds` is how long is simulated; it begins at `hour` (UTC) of a `day`
    of the week (0: Monday). `loading` is how long pods take to load a change, `gates` how long each gate takes to pass
    (a person's approval too).
    """

    traffic: Traffic
    metrics: Mapping[str, MetricWorld] = field(default_factory=dict)
    seconds: float = DAY_SECONDS
    hour: float = 9.0
    day: int = 0
    loading: float = 5.0
    gates: float = 0.0
    outages: tuple[Outage, ...] = ()
    arms: Mapping[str, Mapping[str, MetricWorld]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check("seconds", self.seconds, 1.0, 366 * DAY_SECONDS)
        _check("hour", self.hour, 0.0, 24.0)
        _check("day", self.day, 0.0, 6.0)
        _check("loading", self.loading, 0.0)
        _check("gates", self.gates, 0.0)
        for outage in self.outages:
            _check("outage.start", outage.start, 0.0)
            _check("outage.seconds", outage.seconds, 0.0)

    def blind(self, seconds: float) -> bool:
        """Whether the source cannot be read at this time."""
        return any(o.start <= seconds < o.start + o.seconds for o in self.outages)

    def rate(self, seconds: float) -> float:
        """Requests a second at a time."""
        return self.traffic.rate(self.hour + seconds / 3600.0)

    def metric(self, name: str, arm: str) -> MetricWorld:
        """What a metric of one arm (as its candidate) and of stable is like."""
        return self.arms.get(arm, {}).get(name, self.metrics[name])

    def onset(self, arm: str) -> float:
        """From when an arm is bad in any metric that it is worse in; infinite for a harmless one."""
        worlds = [self.metric(name, arm) for name in self.metrics]
        return min((one.course.onset for one in worlds if is_worse(one)), default=math.inf)


def is_worse(world: MetricWorld) -> bool:
    """Whether the candidate is worse than stable in this metric, by however little."""
    match world:
        case EventWorld():
            return world.candidate > world.stable
        case ScoreWorld():
            return world.candidate < world.stable
        case LatencyWorld():
            return world.factor > 1.0 or (world.tail > 0.0 and world.tail_factor > 1.0)
        case SumWorld():
            return world.factor > 1.0
        case CoverageWorld():
            return False
