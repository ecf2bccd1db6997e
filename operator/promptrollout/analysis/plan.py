"""What is compared, against which margin, and at which error rates.

A plan is data: it is built once from a rollout's spec and shared by every call of `fold` and `assess`. Building one
checks it and raises ValueError with the field's name; folding and assessing with a valid plan never raise.
Defaults come from the design notes statistics.md ("Defaults") and statistics-sharper.md ("Sharper defaults").
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

#: Rollback and promotion both run at this one-sided error rate unless told otherwise.
DEFAULT_ALPHA = 0.05
#: A broken assignment stops a rollout, so its test is strict (the usual level of experimentation platforms).
DEFAULT_ALPHA_SAMPLE_RATIO = 0.001
#: Design effect when nothing is known about the units (statistics-correlated.md, "Without the SDK").
ASSUMED_DESIGN_EFFECT = 4.0
#: Design effect of the arm counts themselves, E n^2 / E n of requests per unit, when nothing is known: geometric
#: conversations with a mean of 8 requests, the design's reference workload.
ASSUMED_ALLOCATION_EFFECT = 15.0


class MetricKind(StrEnum):
    """What a metric's counts look like, and so which e-process compares them."""

    Events = "Events"  #: bad out of total: errors, refusals, answers slower than T
    Score = "Score"  #: a score in [0, 1] per answer
    Histogram = "Histogram"  #: buckets of a quantity: latency, tokens, cost
    Sum = "Sum"  #: only count, sum and sum of squares of an unbounded quantity (asymptotic)
    Paired = "Paired"  #: differences in [-1, 1] between both arms' answers to one request (shadow)


class Role(StrEnum):
    """What a metric may decide."""

    Guard = "Guard"  #: counts for harm only
    Required = "Required"  #: counts for harm, and must be shown non-inferior before promotion
    Observe = "Observe"  #: shown, decides nothing


class CorrelationBasis(StrEnum):
    """Where the design effect of a metric comes from."""

    Independent = "Independent"  #: every request is a unit of its own: 1, and the guarantee is exact
    Declared = "Declared"  #: computed from a declared session size and intra-class correlation
    Assumed = "Assumed"  #: nothing known: 4, and the status says so
    Clusters = "Clusters"  #: estimated from hash-cluster sums, block by block


@dataclass(frozen=True, slots=True)
class LineMargin:
    """Acceptable bad rates: p_candidate <= r * p_stable + d (statistics-sharper.md, "Margin = one line").

    For metrics where higher is better the same line is read from the other side:
    p_stable <= r * p_candidate + d.
    """

    r: float
    d: float = 0.0

    def __post_init__(self) -> None:
        """Reject lines that do not contain equality of both arms."""
        if not (math.isfinite(self.r) and 1.0 <= self.r <= 100.0):
            raise ValueError(f"margin.r must be a number from 1 to 100, got {self.r}")
        if not (math.isfinite(self.d) and self.d >= 0.0):
            raise ValueError(f"margin.d must be a number of at least 0, got {self.d}")


@dataclass(frozen=True, slots=True)
class DeltaMargin:
    """Acceptable loss of a mean score, as a difference in score units (0 to 1)."""

    delta: float

    def __post_init__(self) -> None:
        """Reject negative and unreachable differences."""
        if not (math.isfinite(self.delta) and 0.0 <= self.delta < 1.0):
            raise ValueError(f"margin.delta must be a number from 0 to below 1, got {self.delta}")


@dataclass(frozen=True, slots=True)
class HistogramMargin:
    """Acceptable shift of a distribution.

    `ridit`: by how much the chance that a candidate value is worse than a stable one may exceed one half.
    `exceedance`: how many times as often the candidate may exceed a threshold.
    `threshold`: that threshold, in the metric's unit, taken to the nearest bucket edge; None takes the edge nearest
    the stable 95th percentile.
    """

    ridit: float = 0.02
    exceedance: float = 1.25
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Reject shifts outside what ranks can express."""
        if not (math.isfinite(self.ridit) and 0.0 <= self.ridit < 0.5):
            raise ValueError(f"margin.ridit must be a number from 0 to below 0.5, got {self.ridit}")
        if not (math.isfinite(self.exceedance) and 1.0 <= self.exceedance <= 100.0):
            raise ValueError(f"margin.exceedance must be a number from 1 to 100, got {self.exceedance}")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"margin.threshold must be a finite number, got {self.threshold}")


Margin = LineMargin | DeltaMargin | HistogramMargin

#: statistics-sharper.md: 2.5 % at 2 %, 0.34 % at 0.2 %, 12.1 % at 10 %.
EVENT_MARGIN = LineMargin(1.2, 0.001)
#: The line inside statistics.md's max(1.5 p, p + 1 pp), touching it at its kink (p = 2 %), split between ratio and
#: difference exactly as the rollback line splits max(1.25 p, p + 0.5 pp). It lies below the max everywhere, so
#: whatever is non-inferior by this line is non-inferior by the max as well.
EVENT_PROMOTE_MARGIN = LineMargin(1.4, 0.002)
SCORE_MARGIN = DeltaMargin(0.02)
HISTOGRAM_MARGIN = HistogramMargin()
#: Sums are costs and tokens: 10 % more is tolerated. Not in the design; an operator's choice like the others.
SUM_MARGIN = LineMargin(1.1, 0.0)

_MARGIN_TYPES: dict[MetricKind, type[LineMargin] | type[DeltaMargin] | type[HistogramMargin]] = {
    MetricKind.Events: LineMargin,
    MetricKind.Score: DeltaMargin,
    MetricKind.Histogram: HistogramMargin,
    MetricKind.Sum: LineMargin,
    MetricKind.Paired: DeltaMargin,
}


@dataclass(frozen=True, slots=True)
class Correlation:
    """How much the requests of one unit (conversation, user) resemble each other.

    `phi`: the design effect log-increments are divided by; for `Clusters` the prior of the estimate.
    `allocation`: E n^2 / E n of requests per unit, the design effect of the arm counts (sample-ratio test).
    `units`: whether first-event-per-unit counts come beside the request counts (form U of
    statistics-correlated.md); rollback then rests on the mean of both e-processes.
    """

    basis: CorrelationBasis
    phi: float = ASSUMED_DESIGN_EFFECT
    allocation: float = ASSUMED_ALLOCATION_EFFECT
    units: bool = False

    def __post_init__(self) -> None:
        """Reject design effects below one: they would inflate evidence."""
        for name, value in (("phi", self.phi), ("allocation", self.allocation)):
            if not (math.isfinite(value) and value >= 1.0):
                raise ValueError(f"correlation.{name} must be a number of at least 1, got {value}")

    @classmethod
    def independent(cls) -> Self:
        """Requests are assigned one by one: the unit of assignment is the unit of correlation."""
        return cls(CorrelationBasis.Independent, phi=1.0, allocation=1.0)

    @classmethod
    def declared(cls, mean_requests_per_unit: float, icc: float = 0.2) -> Self:
        """Geometric sessions of mean m have phi = 1 + (2m - 2) icc (statistics-correlated.md)."""
        if not (math.isfinite(mean_requests_per_unit) and mean_requests_per_unit >= 1.0):
            raise ValueError(f"meanRequestsPerUnit must be at least 1, got {mean_requests_per_unit}")
        if not (math.isfinite(icc) and 0.0 <= icc <= 1.0):
            raise ValueError(f"icc must be a number from 0 to 1, got {icc}")
        spread = 2.0 * mean_requests_per_unit - 1.0
        return cls(CorrelationBasis.Declared, phi=1.0 + (spread - 1.0) * icc, allocation=spread)

    @classmethod
    def assumed(cls) -> Self:
        """Nothing is known: a design effect of 4, which the status shows as assumed."""
        return cls(CorrelationBasis.Assumed)

    @classmethod
    def clusters(cls, *, units: bool = False) -> Self:
        """Estimated from hash-cluster sums; until the first block has come, the prior of 4 holds."""
        return cls(CorrelationBasis.Clusters, units=units)


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric of a rollout: its kind, what it may decide, and its margins.

    `margin` bounds the null of harm, `promote_margin` the null of inferiority. `weight` is the metric's share in the
    mean of the guards' e-processes. `edges` are a histogram's finite upper bucket edges, ascending, in the metric's
    unit (the last bucket is open). `higher_is_better` turns the direction round; scores and paired differences are
    better when higher, everything else when lower, unless said otherwise. `source` identifies where the counts come
    from (say a hash of the queries): another source starts the metric's evidence anew.
    """

    name: str
    kind: MetricKind
    margin: Margin
    promote_margin: Margin
    role: Role = Role.Guard
    weight: float = 1.0
    edges: tuple[float, ...] = ()
    higher_is_better: bool = False
    correlation: Correlation = field(default_factory=Correlation.assumed)
    source: str = ""
    #: identifies all that the evidence depends on; role and weight are not part of it
    fingerprint: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the fields against each other and fix the fingerprint."""
        if not self.name:
            raise ValueError("a metric needs a name")
        wanted = _MARGIN_TYPES[self.kind]
        for what, margin in (("margin", self.margin), ("promote_margin", self.promote_margin)):
            if not isinstance(margin, wanted):
                raise ValueError(  # noqa: TRY004 - one kind of error for every wrong plan
                    f"metric {self.name}: {what} of kind {self.kind} must be a {wanted.__name__}, "
                    f"got {type(margin).__name__}"
                )
        if not (math.isfinite(self.weight) and self.weight > 0.0):
            raise ValueError(f"metric {self.name}: weight must be a positive number, got {self.weight}")
        self._check_edges()
        if self.correlation.units and self.kind is not MetricKind.Events:
            raise ValueError(f"metric {self.name}: first-event-per-unit counts exist for events only")
        object.__setattr__(self, "fingerprint", self._fingerprint())

    def _check_edges(self) -> None:
        if self.kind is not MetricKind.Histogram:
            if self.edges:
                raise ValueError(f"metric {self.name}: edges belong to histograms, this is {self.kind}")
            return
        if not 1 <= len(self.edges) <= 100:
            raise ValueError(f"metric {self.name}: a histogram needs 1 to 100 bucket edges")
        ascending = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        if not (ascending and all(math.isfinite(e) for e in self.edges)):
            raise ValueError(f"metric {self.name}: edges must be finite and ascending, got {self.edges}")

    def _fingerprint(self) -> str:
        parts = (
            self.name,
            self.kind.value,
            self.margin,
            self.promote_margin,
            self.edges,
            self.higher_is_better,
            self.correlation,
            self.source,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def guards(self) -> bool:
        """Whether the metric counts for harm."""
        return self.role is not Role.Observe


@dataclass(frozen=True, slots=True)
class MetricOptions:
    """What all kinds of metric have in common, for the factories below."""

    role: Role = Role.Guard
    weight: float = 1.0
    higher_is_better: bool | None = None
    correlation: Correlation = field(default_factory=Correlation.assumed)
    source: str = ""


def _metric(
    name: str, kind: MetricKind, margins: tuple[Margin, Margin], options: MetricOptions | None
) -> MetricPlan:
    chosen = options or MetricOptions()
    natural = kind in (MetricKind.Score, MetricKind.Paired)
    return MetricPlan(
        name=name,
        kind=kind,
        margin=margins[0],
        promote_margin=margins[1],
        role=chosen.role,
        weight=chosen.weight,
        higher_is_better=natural if chosen.higher_is_better is None else chosen.higher_is_better,
        correlation=chosen.correlation,
        source=chosen.source,
    )


def events_metric(
    name: str,
    margin: LineMargin = EVENT_MARGIN,
    promote_margin: LineMargin = EVENT_PROMOTE_MARGIN,
    options: MetricOptions | None = None,
) -> MetricPlan:
    """Bad out of total, with the line margins of the design."""
    return _metric(name, MetricKind.Events, (margin, promote_margin), options)


def score_metric(
    name: str,
    margin: DeltaMargin = SCORE_MARGIN,
    promote_margin: DeltaMargin = SCORE_MARGIN,
    options: MetricOptions | None = None,
) -> MetricPlan:
    """A score in [0, 1], higher is better unless the options say otherwise."""
    return _metric(name, MetricKind.Score, (margin, promote_margin), options)


def paired_metric(
    name: str,
    margin: DeltaMargin = SCORE_MARGIN,
    promote_margin: DeltaMargin = SCORE_MARGIN,
    options: MetricOptions | None = None,
) -> MetricPlan:
    """Differences candidate - stable in [-1, 1] of answers to the same request (shadow)."""
    return _metric(name, MetricKind.Paired, (margin, promote_margin), options)


def sum_metric(
    name: str,
    margin: LineMargin = SUM_MARGIN,
    promote_margin: LineMargin = SUM_MARGIN,
    options: MetricOptions | None = None,
) -> MetricPlan:
    """Only count, sum and sum of squares of something unbounded: asymptotic, and labelled so."""
    return _metric(name, MetricKind.Sum, (margin, promote_margin), options)


def histogram_metric(
    name: str,
    edges: tuple[float, ...],
    margin: HistogramMargin = HISTOGRAM_MARGIN,
    promote_margin: HistogramMargin = HISTOGRAM_MARGIN,
    options: MetricOptions | None = None,
) -> MetricPlan:
    """Buckets with the given finite upper edges and an open last one."""
    chosen = options or MetricOptions()
    return MetricPlan(
        name=name,
        kind=MetricKind.Histogram,
        margin=margin,
        promote_margin=promote_margin,
        role=chosen.role,
        weight=chosen.weight,
        edges=edges,
        higher_is_better=bool(chosen.higher_is_better),
        correlation=chosen.correlation,
        source=chosen.source,
    )


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """All metrics of one comparison and the error rates of its two decisions.

    `alpha_rollback`: chance that a harmless candidate is ever rolled back; `alpha_promote`: chance that an inferior
    one is ever called non-inferior; `alpha_sample_ratio`: chance of a false alarm about the assignment per step.
    `warm_up`: seconds after the first window in which nothing counts (cold caches hit one arm only).
    """

    metrics: tuple[MetricPlan, ...]
    alpha_rollback: float = DEFAULT_ALPHA
    alpha_promote: float = DEFAULT_ALPHA
    alpha_sample_ratio: float = DEFAULT_ALPHA_SAMPLE_RATIO
    warm_up: float = 0.0
    fingerprints: tuple[str, ...] = field(init=False, repr=False, compare=False)
    #: position of each metric by name
    positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the error rates and that names are unique."""
        for what in ("alpha_rollback", "alpha_promote", "alpha_sample_ratio"):
            value = getattr(self, what)
            if not (math.isfinite(value) and 0.0 < value < 1.0):
                raise ValueError(f"{what} must be a number between 0 and 1, got {value}")
        if not (math.isfinite(self.warm_up) and self.warm_up >= 0.0):
            raise ValueError(f"warm_up must be a number of seconds of at least 0, got {self.warm_up}")
        positions = {metric.name: i for i, metric in enumerate(self.metrics)}
        if len(positions) != len(self.metrics):
            raise ValueError("metric names must be unique within a plan")
        object.__setattr__(self, "fingerprints", tuple(m.fingerprint for m in self.metrics))
        object.__setattr__(self, "positions", positions)

    @property
    def harm_threshold(self) -> float:
        """ln(1 / alpha_rollback): log evidence at which the guards' mean means harm."""
        return -math.log(self.alpha_rollback)

    @property
    def promote_threshold(self) -> float:
        """ln(1 / alpha_promote): log evidence every required metric must reach."""
        return -math.log(self.alpha_promote)

    @property
    def allocation(self) -> float:
        """Design effect of the arm counts where clusters do not tell: the largest any metric assumes."""
        return max((m.correlation.allocation for m in self.metrics), default=ASSUMED_ALLOCATION_EFFECT)
