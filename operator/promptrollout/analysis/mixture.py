"""Mixtures of bets: which bets, with which weights, from which moment on.

An e-process here is E = sum_i W_i + idle. `W_i` is the wealth of bet i, all bets multiply by their own window
e-variables; `idle` is prior mass that has not started to bet yet. Three quarters start at once; the rest moves from
idle to the bets along an *information clock* k, so that a candidate that turns bad later is found at about the same
cost whenever that is (statistics-sharper.md, "Bets and weights", "Onset prior").

Stored per process: 16 log-wealths and k. The idle mass is a function of k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Number of bets of every mixture.
BETS = 16
#: Floats a process stores: log-wealths and the information clock.
PROCESS = BETS + 1
#: Prior mass that bets from the first window on.
STARTING_MASS = 0.75
#: Information units after which half a nat of prior is spent, and after which no idle mass is left.
_CLOCK_UNIT, _CLOCK_END = 2.0, 1e4


@dataclass(frozen=True, slots=True)
class BetGrid:
    """Sixteen bets and their prior weights (positive, summing to one)."""

    values: Array
    log_weights: Array


def _grid(low: float, high: float, mode: float, spread: float) -> BetGrid:
    """A log-uniform grid with Gaussian weights in the logarithm."""
    logs = np.linspace(np.log(low), np.log(high), BETS)
    weights = np.exp(-0.5 * ((logs - np.log(mode)) / spread) ** 2)
    values, log_weights = np.exp(logs), np.log(weights / weights.sum())
    values.setflags(write=False)
    log_weights.setflags(write=False)
    return BetGrid(values, log_weights)


#: Odds ratios against the margin: the candidate does worse than the line allows.
EVENTS_UP = _grid(1.15, 9.0, 2.0, 0.7)
#: The mirror image for nulls from above: the candidate does better than the line.
EVENTS_DOWN = _grid(1.0 / 1.15, 1.0 / 9.0, 0.5, 0.7)
#: Stakes on bounded outcomes: scores, ridits, paired differences.
BOUNDED = _grid(0.15, 4.0, 0.65, 0.65)
#: The stake whose information the clock of bounded outcomes counts in (h * v * 0.65^2).
BOUNDED_CLOCK = 0.65**2


def spent(clock: Array) -> Array:
    """F(k), the share of the idle mass that bets by information time k: min(1, ln(1 + k/2) / ln(1 + 10^4/2))."""
    share: Array = np.log1p(clock / _CLOCK_UNIT) / np.log1p(_CLOCK_END / _CLOCK_UNIT)
    return np.minimum(1.0, share)


def idle(clock: Array) -> Array:
    """Prior mass that has not started to bet by information time `clock`."""
    return (1.0 - STARTING_MASS) * (1.0 - spent(clock))


def fresh(grid: BetGrid) -> Array:
    """A process before its first window, shape [PROCESS]."""
    return np.concatenate([np.log(STARTING_MASS) + grid.log_weights, [0.0]])


def bet(process: Array, grid: BetGrid, delta: Array, increments: Array) -> Array:
    """One window: idle mass of `delta` information joins the bets, then every bet takes its increment.

    Args:
        process: [B, PROCESS] before the window.
        grid: the bets the increments belong to.
        delta: [B] information of the window, from counts of requests and past estimates only (this keeps the
            supermartingale: what is moved is fixed before the window's outcomes are seen).
        increments: [B, BETS] log e-variables of the window.

    Returns:
        [B, PROCESS] after the window. A row with delta 0 and increments 0 is unchanged, bit for bit.

    """
    # Bets come first in memory, here and wherever increments are made: numpy is at its best on long last axes.
    before = process.T
    clock = before[BETS]
    after = np.empty(before.shape)
    wealth, later = after[:BETS], after[BETS]
    wealth[:] = before[:BETS]
    np.add(clock, delta, out=later)
    moved = spent(later) - spent(clock)
    if (moved > 0.0).any():
        with np.errstate(divide="ignore"):  # nothing moves: the logarithm of nothing, which adds nothing
            mass = np.log((1.0 - STARTING_MASS) * np.maximum(moved, 0.0))
        _log_add(wealth, mass + grid.log_weights[:, None])
    wealth += increments.T
    return after.T


def advance(process: Array, grid: BetGrid, delta: Array, increments: Array, share: Array) -> Array:
    """`bet` on processes [B, PROCESS] in place, and their log evidence [B] after it.

    `share` [B] is what a window counts: one over its design effect, or nothing. E e^s <= 1 for s in [0, 1] by Jensen
    wherever E e <= 1.
    """
    after = bet(process, grid, delta * share, increments * share[:, None])
    process[:] = after
    return log_e(after)


def _log_add(wealth: Array, mass: Array) -> None:
    """ln(e^wealth + e^mass) into `wealth`, as numpy's logaddexp, but in vector instructions."""
    apart = np.minimum(wealth, mass)
    np.maximum(wealth, mass, out=wealth)
    apart -= wealth
    np.exp(apart, out=apart)
    np.log1p(apart, out=apart)
    wealth += apart


def log_e(process: Array) -> Array:
    """Log evidence [B] of processes [B, PROCESS]: ln(sum_i W_i + idle). Finite for every finite process."""
    wealth = np.ascontiguousarray(process.T[:BETS])
    top = np.maximum(wealth.max(axis=0), 0.0)
    total = _sum_of_bets(np.exp(wealth - top))
    total += idle(process[:, BETS]) * np.exp(-top)
    # Nothing idle and every bet lost beyond the range of floats: the best bet speaks for the sum.
    gone = total < 1e-290
    if gone.any():
        lost = wealth[:, gone]
        best = lost.max(axis=0)
        total[gone] = 1.0
        top[gone] = best + np.log(_sum_of_bets(np.exp(lost - best)))
    result: Array = top + np.log(total)
    return result


def _sum_of_bets(values: Array) -> Array:
    """Sum over the first axis of [BETS, B] in an order that is the same for every B, which numpy's own is not."""
    while len(values) > 1:
        half = len(values) // 2
        values = values[:half] + values[half:]
    total: Array = values[0]
    return total


def log_mean(first: Array, second: Array) -> Array:
    """Logarithm of the mean of two e-values given as logarithms."""
    result: Array = np.logaddexp(first, second) - np.log(2.0)
    return result
