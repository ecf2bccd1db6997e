"""What every kind of metric shares: the layout of its numbers, and what a kind has to bring.

A metric's whole state is one row of float64: header, pending counts, totals, and what the kind itself needs. Rows of
one kind are stacked to [B, size] and advanced together, so that a thousand rollouts cost a few numpy calls. Every
operation on a row is independent of the other rows: folding alone or in a batch gives the same bits.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis.counts import Counts, History, Pair
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.plan import MetricKind, MetricPlan

Mask = NDArray[np.bool_]

#: Small windows are merged until both arms together have this many samples (statistics.md, "The engine").
MERGE_BELOW = 20.0
#: No bet before the past stable rate rests on this many samples (statistics-sharper.md, "p_hat, mu").
STABLE_NEEDED = 200.0
#: A longer stable history than this is scaled down to it.
HISTORY_LIMIT = 5000.0
_FASTEST_DECAY = 0.015
#: Value of the EXPOSURE slot while nothing is pending.
NOTHING_PENDING = -1.0


class Slot(IntEnum):
    """Header of every row."""

    HARM = 0  #: log evidence of harm
    PROMOTE = 1  #: log evidence of non-inferiority
    EXPOSURE = 2  #: exposure the pending counts belong to
    PENDING_PHI = 3  #: design effect in force when the pending window opened
    PENDING_PHI_UNITS = 4
    PHI = 5  #: design effect in force now
    PHI_UNITS = 6
    RATE_COUNT = 7  #: recent candidate samples, decayed, and the seconds they came in
    RATE_SECONDS = 8
    WEIGHT = 9  #: sum of h over closed windows
    CONTRAST = 10  #: sum of h times the difference of the arms
    VARIANCE = 11  #: sum of h^2 times the variance of that difference, design effect included
    CLOSED = 12  #: windows closed


HEADER = len(Slot)


@dataclass(frozen=True, slots=True)
class Closing:
    """B windows that close: the kind's own state before them and their counts.

    state [B, width] (`Kind.close` advances it in place), counts [B, columns], totals [B, columns] since the candidate
    started (these windows included), params [B, P], design effects [B].
    """

    state: Array
    counts: Array
    totals: Array
    params: Array
    phi: Array
    phi_units: Array


@dataclass(frozen=True, slots=True)
class Contrast:
    """Difference candidate - stable of B windows for display: weight h, difference, its variance; [B] each."""

    weight: Array
    difference: Array
    variance: Array


@dataclass(frozen=True, slots=True)
class Closed:
    """B windows closed: log evidence of harm and of non-inferiority, contrast."""

    harm: Array
    promote: Array
    contrast: Contrast


@dataclass(frozen=True, slots=True)
class ArmValues:
    """What to show for both arms: samples, and a value whose meaning `Kind.statistic` names (nan without samples)."""

    candidate: float
    stable: float
    candidate_samples: float
    stable_samples: float


def packer(columns: int) -> Callable[..., bytes]:
    """What packs that many numbers as little-endian float64."""
    return struct.Struct(f"<{columns}d").pack


def flat_rows(values: list[float], columns: int) -> Array:
    """Numbers one after another as writable rows [B, columns]; TypeError where something is no number."""
    return np.frombuffer(array("d", values), dtype=np.float64).reshape(-1, columns)


class Kind(ABC):
    """One kind of metric: how its counts are read, and how a closed window changes the evidence.

    Instances are stateless and shared; `columns` counts make up a window, `width` floats are the kind's own state.
    """

    kind: MetricKind
    #: what `ArmValues` and the contrast measure
    statistic: str
    difference: str
    #: whether the guarantee is asymptotic even for independent requests
    asymptotic: bool = False
    columns: int
    width: int

    @property
    def size(self) -> int:
        """Floats of a whole row."""
        return HEADER + 2 * self.columns + self.width

    @abstractmethod
    def params(self, metric: MetricPlan) -> tuple[float, ...]:
        """The metric's margins as the row `Closing.params`."""

    @abstractmethod
    def seed(self, metric: MetricPlan, history: History) -> Array:
        """The kind's own state [width] before the first window. A history that does not fit is ignored."""

    @abstractmethod
    def read(self, pair: Pair, metric: MetricPlan) -> bytes | str:
        """The counts as `columns` packed floats, or in words what is wrong with their shape.

        Raises:
            TypeError, AttributeError, ValueError, OverflowError, struct.error: something in it is no number.

        """

    def gather(self, pairs: Sequence[Pair], metric: MetricPlan) -> Array | None:  # noqa: ARG002
        """`read` for many pairs, [B, columns], which is what costs most; None or an error where one is unusual.

        `metric` stands for those of all pairs: they share its direction.

        Raises:
            TypeError, AttributeError, ValueError, OverflowError, struct.error: as `read`.

        """
        return None

    def complete(self, counts: Array) -> Array:
        """Fill in what follows from other columns, for finite counts [B, columns]; in bulk because that is cheap."""
        return counts

    @abstractmethod
    def sound(self, counts: Array) -> Mask:
        """Booleans [B]: finite counts [B, columns] that can have been counted."""

    @abstractmethod
    def sizes(self, counts: Array) -> tuple[Array, Array]:
        """(n_c, n_s) [B]: samples of both arms."""

    @abstractmethod
    def close(self, closing: Closing) -> Closed:
        """Advance the evidence by one closed window per row, `closing.state` in place."""

    @abstractmethod
    def values(self, totals: Array, metric: MetricPlan) -> ArmValues:
        """What to show for totals [columns]."""

    @abstractmethod
    def totals(self, totals: Array, metric: MetricPlan) -> Pair:
        """Totals [columns] as the counts of one big window, in the metric's own direction."""

    def sign(self, metric: MetricPlan) -> float:  # noqa: ARG002 - most kinds store it as it is shown
        """Factor that turns the stored contrast into candidate - stable in the metric's own direction."""
        return 1.0


def keep(n_s: Array) -> Array:
    """What remains of past stable counts after a window of n_s stable samples: 1 - min(.015, n_s / 5000)."""
    return 1.0 - np.minimum(_FASTEST_DECAY, n_s / HISTORY_LIMIT)


def scaled_history(counts: Array, total: float) -> Array:
    """History counts, scaled down to at most `HISTORY_LIMIT` samples."""
    return counts * (HISTORY_LIMIT / total) if total > HISTORY_LIMIT else counts


def usable(counts: Counts | None, values: Sequence[float]) -> bool:
    """Whether history counts can be trusted at all."""
    return counts is not None and bool(np.all(np.isfinite(values)) and np.all(np.asarray(values) >= 0.0))


def rate_variance(total: Array, bad: Array) -> Array:
    """Variance p (1 - p) of an arm's totals [B], never zero."""
    p = (bad + 0.5) / (total + 1.0)
    return p * (1.0 - p)


def not_negative(values: Array) -> Mask:
    """Booleans [B]: nothing in a row of [B, n] is negative."""
    if values.min(initial=0.0) >= 0.0:  # nearly always
        return np.ones(len(values), dtype=np.bool_)
    mask: Mask = np.logical_and.reduce(values >= 0.0, axis=1)
    return mask


def per_sample(values: Array, count: Array) -> Array:
    """Quotient values / count, zero where nothing was counted."""
    result: Array = values / np.where(count > 0.0, count, 1.0)
    return result
