r"""The event e-variable: bad out of total against one line (statistics-sharper.md, "Events").

Null of harm (bets `EVENTS_UP`): p_c <= A p_s + B in every window. Null of inferiority (bets `EVENTS_DOWN`):
p_c >= A p_s + B in every window. With a point c = A m + B on the line, a bet q for the candidate's rate,
a = (q - c) / (c (1 - c)) and b = A a n_c / n_s,

    e = (1 + a (1-c))^{x_c} (1 - a c)^{n_c - x_c} (1 - b (1-m))^{x_s} (1 + b m)^{n_s - x_s}.

Proof that E e <= 1 under both nulls. Requests are independent given the rates, so with ln(1 + y) <= y

    E e = (1 + a (p_c - c))^{n_c} (1 - b (p_s - m))^{n_s}
       <= exp{n_c a (p_c - c) - n_s b (p_s - m)} = exp{n_c a (p_c - A p_s - B)},

because n_s b = A a n_c and c - A m = B. Upward bets have q > c, hence a > 0, and the null makes the bracket <= 0.
Downward bets have q < c, hence a < 0, and their null makes the bracket >= 0. Either way the exponent is <= 0, for
every p_s, every m, every q and every past estimate: those cost power only. All that is needed besides are
non-negative factors: 1 + a(1-c) = q/c and 1 - ac = (1-q)/(1-c) are; the stable ones are kept so by lowering a and b
together (|b| (1-m) or |b| m at most .999), which leaves n_s b = A a n_c as it is.

m is the point of the line nearest to (q, p_hat) in weighted Kullback-Leibler divergence, where the bet grows fastest.
A metric where higher is better has its line read from the other side, A = 1/r and B = -d/r, and swaps the two nulls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis.mixture import Array, BetGrid

#: A bet never risks more than this share of its wealth on one stable request.
_MOST_AT_RISK = 0.999
#: The projection stays this share of the interval away from its ends ("inner 99.8 %").
_RIM = 0.001
_NEWTON_STEPS = 3
#: Upward bets are odds against at most this rate; downward ones may sit close to certainty.
_HIGHEST_UP, _HIGHEST_DOWN = 0.5, 0.999


@dataclass(frozen=True, slots=True)
class EventWindow:
    """Counts of B windows, each array of shape [B]: requests and bad ones of both arms."""

    n_c: Array
    x_c: Array
    n_s: Array
    x_s: Array

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """[B] booleans: both arms have requests."""
        both: NDArray[np.bool_] = (self.n_c > 0.0) & (self.n_s > 0.0)
        return both


@dataclass(frozen=True, slots=True)
class Line:
    """The null's boundary p_c = slope * p_s + intercept, each of shape [B]."""

    slope: Array
    intercept: Array


def past_rate(total: Array, bad: Array) -> Array:
    """p_hat of the stable arm from (decayed) past counts: (y + 0.5) / (n + 25)."""
    return (bad + 0.5) / (total + 25.0)


def reference_rate(p_hat: Array, line: Line, *, up: bool) -> Array:
    """Rates g [B]: the rate the line allows at the past stable rate, which the bets are odds ratios against."""
    return np.minimum(line.slope * p_hat + line.intercept, _HIGHEST_UP if up else _HIGHEST_DOWN)


def log_increments(window: EventWindow, p_hat: Array, line: Line, grid: BetGrid) -> Array:
    """Log e-variables of B windows for every bet.

    Args:
        window: counts, [B] each.
        p_hat: [B], past stable rate in (0, 1), fixed before the window.
        line: boundary of the null, [B] each.
        grid: `EVENTS_UP` against p_c <= line, `EVENTS_DOWN` against p_c >= line.

    Returns:
        [B, BETS], finite. Zero where an arm is empty, and where the bet lies inside the null.

    """
    # Bets come first in here, [BETS, B]: numpy is twice as fast when the long axis is the last one.
    up = bool(grid.values[0] > 1.0)
    g = reference_rate(p_hat, line, up=up)
    odds = grid.values[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        q = odds * g
        q /= 1.0 + g * (odds - 1.0)
        low, high, possible = _segment(q, p_hat, line, up=up)
        possible &= (g > 0.0) & window.comparable
        m = _project(window, q, p_hat, line, (low, high))
        nowhere = None if possible.all() else ~possible
        if nowhere is not None:
            m[nowhere] = 0.5
        c = line.slope * m
        c += line.intercept
        stake, stable_stake = _stakes(window, q, c, line.slope)
        if nowhere is not None:
            stake[nowhere] = stable_stake[nowhere] = 0.0
        _limit(stake, stable_stake, m, up=up)
    # What one request changes: a bad and a good one of the candidate, a good and a bad one of stable.
    lost = stake * c
    won = np.subtract(stake, lost, out=stake)
    kept = np.multiply(stable_stake, m, out=m)
    missed = np.subtract(kept, stable_stake, out=stable_stake)
    result = _growth(window.x_c, won)
    result += _growth(window.n_c - window.x_c, np.negative(lost, out=lost))
    result += _growth(window.x_s, missed)
    result += _growth(window.n_s - window.x_s, kept)
    return result.T


def _growth(count: Array, change: Array) -> Array:
    """The log-wealth [BETS, B] that `count` requests bring, count * ln(1 + change), in the place of `change`."""
    np.log1p(change, out=change)
    change *= count
    return change


def _segment(q: Array, p_hat: Array, line: Line, *, up: bool) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Where m may lie: the inner part of [p_hat, (q - B) / A], cut to where both m and c are probabilities."""
    meets = (q - line.intercept) / line.slope
    lowest = np.maximum(0.0, -line.intercept / line.slope)
    highest = np.minimum(1.0, (1.0 - line.intercept) / line.slope)
    low = np.maximum(p_hat, lowest) if up else np.maximum(meets, lowest, out=meets)
    high = np.minimum(meets, highest, out=meets) if up else np.minimum(p_hat, highest)
    width = high - low
    # Narrower than this, rounding decides the direction of the bet.
    possible = width > 1e-12
    width *= _RIM
    return low + width, high - width, possible


def _project(window: EventWindow, q: Array, p_hat: Array, line: Line, segment: tuple[Array, Array]) -> Array:
    """Points m [BETS, B] of the line by Newton's method on n_c A (c-q) / (c(1-c)) + n_s (m-p) / (m(1-m)) = 0.

    Multiplied by m(1-m) c(1-c), which has no pole, this is a cubic in m whose only root in the segment is m, with
    u = A n_c / (A n_c + n_s) and v = 1 - u

        u (c-q) m(1-m) + v (m-p) c(1-c) = 0.
    """
    slope, intercept = line.slope, line.intercept
    both = slope * window.n_c + window.n_s
    u, v = slope * window.n_c / both, window.n_s / both
    pulled = u * q
    cubic = -slope * (u + v * slope)
    square = pulled + (u * (slope - intercept) + v * slope * (1.0 - 2.0 * intercept + p_hat * slope))
    straight = (
        u * intercept + v * (intercept * (1.0 - intercept) - p_hat * slope * (1.0 - 2.0 * intercept))
    ) - pulled
    constant = -v * p_hat * intercept * (1.0 - intercept)
    low, high = segment
    m = np.divide(pulled - u * intercept, slope, out=pulled)
    m += v * p_hat
    _hold(m, low, high)
    # By Horner's rule, in place: the arrays are small, and making new ones would cost as much as filling them.
    value, bend = np.empty_like(m), np.empty_like(m)
    for _ in range(_NEWTON_STEPS):
        np.multiply(cubic, m, out=bend)
        np.add(bend, square, out=value)
        bend += value
        value *= m
        value += straight
        bend *= m
        bend += value
        value *= m
        value += constant
        value /= bend
        m -= value
        _hold(m, low, high)
    return m


def _hold(m: Array, low: Array, high: Array) -> None:
    """Keep m within its segment; a step that divided nothing by nothing ends at its lower end."""
    np.fmax(m, low, out=m)
    np.minimum(m, high, out=m)


def _stakes(window: EventWindow, q: Array, c: Array, slope: Array) -> tuple[Array, Array]:
    """Stakes a and b [BETS, B]."""
    spread = 1.0 - c
    spread *= c
    a = q - c
    a /= spread
    return a, (slope * window.n_c / window.n_s) * a


def _limit(a: Array, b: Array, m: Array, *, up: bool) -> None:
    """Lower both stakes together where one stable request could cost more than .999 of the wealth, in place."""
    at_risk = (1.0 - m) * b if up else m * -b
    if at_risk.max(initial=0.0) > _MOST_AT_RISK:
        scale = _MOST_AT_RISK / np.maximum(at_risk, _MOST_AT_RISK)
        a *= scale
        b *= scale
