r"""Bets on outcomes within [0, 1]: score nodes, ridits, and moments where no histogram is exported.

Null: E G_c <= E G_s + d in every window, G larger = worse (statistics.md, "Histograms"; statistics-sharper.md,
"Scores"). With h = n_c n_s / (n_c + n_s), u_c = n_s / (n_c + n_s), u_s = n_c / (n_c + n_s), a past stable mean mu,
and a stake l,

    e = prod_c (1 + l u_c (G - mu - d)) * prod_s (1 - l u_s (G - mu)).

Proof that E e <= 1: E e <= exp{n_c l u_c (E G_c - mu - d) - n_s l u_s (E G_s - mu)} = exp{l h (E G_c - E G_s - d)},
since n_c u_c = n_s u_s = h. The null makes the bracket <= 0, whatever mu was. l is held below .95 over the largest
possible loss, so that every factor stays positive.

A linearly split score is a lottery over two nodes with the same mean; ln is concave, so the bet on the split is at
most the bet on the score itself: still valid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis.mixture import Array, BetGrid

Places = NDArray[np.intp]
_Number = TypeVar("_Number", np.float64, np.intp)

#: Largest share of wealth at risk on one outcome: of the exact bets, and of the moment form.
_MOST_AT_RISK, _MOST_AT_RISK_MOMENTS = 0.95, 0.9


@dataclass(frozen=True)
class Levels:
    """B windows of counts on G levels: `candidate` and `stable` [B, G], badness of the levels [B, G] or [1, G]."""

    candidate: Array
    stable: Array
    badness: Array

    @cached_property
    def sizes(self) -> tuple[Array, Array]:
        """Outcomes of both arms, [B] each."""
        candidate, stable = self.filled
        return candidate.total(candidate.count), stable.total(stable.count)

    @cached_property
    def filled(self) -> tuple[Filled, Filled]:
        """Levels of both arms that have counts."""
        return _filled(self.candidate, self.badness), _filled(self.stable, self.badness)

    def mirrored(self) -> Levels:
        """The same counts with good and bad swapped."""
        other = Levels(self.candidate, self.stable, 1.0 - self.badness)
        candidate, stable = self.filled
        other.__dict__.update(sizes=self.sizes, filled=(candidate.mirrored(), stable.mirrored()))
        return other


@dataclass(frozen=True, slots=True)
class Filled:
    """Where counts [B, G] are not zero, row by row: count, level and its badness, [N] each.

    `lengths` [B] are the places of each row; `rows` [R] are the rows that have any, `first` [R] their first places.
    """

    count: Array
    level: Places
    badness: Array
    lengths: Places
    rows: Places
    first: Places

    def mirrored(self) -> Filled:
        """The same places with good and bad swapped."""
        return replace(self, badness=1.0 - self.badness)

    def spread(self, values: NDArray[_Number]) -> NDArray[_Number]:
        """Values [..., B] of the rows at each of their places, [..., N]."""
        return np.repeat(values, self.lengths, axis=-1)

    def total(self, values: Array) -> Array:
        """Sums [..., B] over each row's places of values [..., N], in the same order whatever else is in the batch."""
        result = np.zeros((*values.shape[:-1], len(self.lengths)))
        if not self.rows.size:
            return result
        sums: Array = np.add.reduceat(values, self.first, axis=-1)
        if len(self.rows) == len(self.lengths):
            return sums
        result[..., self.rows] = sums
        return result


def _filled(counts: Array, badness: Array) -> Filled:
    there = counts != 0.0
    lengths = np.count_nonzero(there, axis=1)
    rows = np.flatnonzero(lengths)
    first = (np.cumsum(lengths) - lengths)[rows]
    row = np.repeat(np.arange(len(counts)), lengths)
    level = np.flatnonzero(there) - row * counts.shape[1]
    # Ranks have their levels first in memory: one index is faster than two.
    place = level * len(counts) + row if len(badness) == len(counts) else level
    return Filled(counts[there], level, badness.T.ravel()[place], lengths, rows, first)


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of squares of one arm's outcomes in B windows, [B] each."""

    count: Array
    sum: Array
    sumsq: Array


def shares(n_c: Array, n_s: Array) -> tuple[Array, Array]:
    """(u_c, u_s) [B]: what one outcome of each arm weighs; zero where an arm is empty."""
    both = (n_c > 0.0) & (n_s > 0.0)
    total = np.where(both, n_c + n_s, 1.0)
    return np.where(both, n_s / total, 0.0), np.where(both, n_c / total, 0.0)


def harmonic(n_c: Array, n_s: Array) -> Array:
    """Weight h [B] = n_c n_s / (n_c + n_s) of a difference of means; zero where an arm is empty."""
    u_c, _ = shares(n_c, n_s)
    return n_c * u_c


def level_increments(levels: Levels, mu: Array, d: Array, grid: BetGrid) -> Array:
    """Log e-variables [B, BETS] of counts on levels.

    Args:
        levels: counts and the badness in [0, 1] of each level.
        mu: [B] past stable mean badness, fixed before the window.
        d: [B] margin: the candidate's mean badness may be larger by this much.
        grid: stakes, ascending.

    """
    u_c, u_s = shares(*levels.sizes)
    loss = np.maximum(u_c * (mu + d), u_s * (1.0 - mu))
    highest = _MOST_AT_RISK / np.maximum(loss, 1e-12)
    # From the first bet that no row can afford, all are the same: as much as is allowed.
    last = int(np.searchsorted(grid.values, highest.max(initial=0.0)))
    stakes = np.minimum(grid.values[: last + 1, None], highest)
    candidate, stable = levels.filled
    differing = _growth(candidate, (u_c, mu + d), stakes)
    differing += _growth(stable, (-u_s, mu), stakes)
    result = np.empty((len(grid.values), len(mu)))
    result[: last + 1] = differing
    result[last + 1 :] = differing[-1]
    return result.T


def _growth(filled: Filled, line: tuple[Array, Array], stakes: Array) -> Array:
    """sum_g counts[b, g] ln(1 + stakes[i, b] u[b] (badness[b, g] - centre[b])), [bets, B]; line = (u, centre).

    Only levels with counts are touched.
    """
    u, centre = line
    gain = filled.badness - filled.spread(centre)
    gain *= filled.spread(u)
    terms = filled.spread(stakes)
    terms *= gain
    np.log1p(terms, out=terms)
    terms *= filled.count
    return filled.total(terms)


def moment_increments(candidate: Moments, stable: Moments, mu: Array, delta: Array, grid: BetGrid) -> Array:
    """Log e-variables [B, BETS] of scores in [0, 1] known by their moments only (statistics.md, "Scores in [0,1]").

    Null: mean_c >= mean_s - delta. mu is the past stable mean *score*. Proof: Fan et al. (2015),
    exp{l y - (-ln(1 - l b) - l b) / b^2 y^2} <= 1 + l y for y >= -b and 0 <= l b < 1, applied to every outcome, and
    then as for levels. 1.7 times the samples of the exact bets.
    """
    u_c, u_s = shares(candidate.count, stable.count)
    m = mu - delta
    b = np.maximum(np.maximum(u_c * (1.0 - m), u_s * mu), 1e-12)
    y = u_c * (candidate.count * m - candidate.sum) + u_s * (stable.sum - stable.count * mu)
    spread_c = candidate.sumsq - 2.0 * m * candidate.sum + candidate.count * m * m
    spread_s = stable.sumsq - 2.0 * mu * stable.sum + stable.count * mu * mu
    q = u_c * u_c * np.maximum(spread_c, 0.0) + u_s * u_s * np.maximum(spread_s, 0.0)
    return _fan(y, q, b, grid)


def paired_increments(differences: Moments, delta: Array, grid: BetGrid) -> Array:
    """Log e-variables [B, BETS] of paired losses D = stable - candidate in [-1, 1]; null: E D <= delta.

    The same inequality with y = D - delta >= -(1 + delta).
    """
    y = differences.sum - differences.count * delta
    q = differences.sumsq - 2.0 * delta * differences.sum + differences.count * delta * delta
    return _fan(y, np.maximum(q, 0.0), 1.0 + delta, grid)


def _fan(y: Array, q: Array, b: Array, grid: BetGrid) -> Array:
    stake = np.minimum(grid.values, (_MOST_AT_RISK_MOMENTS / b)[:, None])
    at_risk = stake * b[:, None]
    price = (-np.log1p(-at_risk) - at_risk) / (b * b)[:, None]
    result: Array = stake * y[:, None] - price * q[:, None]
    return result


def running(counts: Array) -> Array:
    """Running totals [B, G] of counts on levels [B, G], levels first in memory."""
    levels = np.array(counts.T, order="C")
    # Row by row: numpy's cumsum takes each step of each sum by itself.
    for below, level in pairwise(levels):
        np.add(below, level, out=level)
    return levels.T


def mid_ranks(stable: Array, upto: Array | None = None) -> Array:
    """Ridits [B, G] of buckets under past stable counts [B, G]: P(below) + P(same) / 2. Their stable mean is 1/2.

    `upto` are the running totals of `stable`, where they are at hand.
    """
    upto = running(stable) if upto is None else upto
    ranks: Array = 0.5 * np.asfortranarray(stable)
    np.subtract(upto, ranks, out=ranks)
    ranks /= np.maximum(upto[:, -1], 1e-12)[:, None]
    return ranks
