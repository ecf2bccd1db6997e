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
        m[~possible] = 0.5
        c = line.slope * m
        c += line.intercept
        stake, stable_stake = _stakes(window, q, m, c, line.slope)
        stake[~possible] = 0.0
        stable_stake[~possible] = 0.0
        stake_won, stable_won = stake * (1.0 - c), stable_stake * m
    result = window.x_c * np.log1p(stake_won)
    result += (window.n_c - window.x_c) * np.log1p(stake_won - stake)
    result += window.x_s * np.log1p(stable_won - stable_stake)
    result += (window.n_s - window.x_s) * np.log1p(stable_won)
    return np.ascontiguousarray(result.T)


def _segment(q: Array, p_hat: Array, line: Line, *, up: bool) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Where m may lie: the inner part of [p_hat, (q - B) / A], cut to where both m and c are probabilities."""
    meets = (q - line.intercept) / line.slope
    low, high = (p_hat, meets) if up else (meets, p_hat)
    low = np.maximum(low, np.maximum(0.0, -line.intercept / line.slope))
    high = np.minimum(high, np.minimum(1.0, (1.0 - line.intercept) / line.slope))
    width = high - low
    rim = _RIM * width
    # Narrower than this, rounding decides the direction of the bet.
    return low + rim, high - rim, width > 1e-12


def _project(window: EventWindow, q: Array, p_hat: Array, line: Line, segment: tuple[Array, Array]) -> Array:
    """Points m [BETS, B] of the line by Newton's method on n_c A (c-q) / (c(1-c)) + n_s (m-p) / (m(1-m)) = 0.

    With A_c = (c-q) / (c(1-c)) the derivative of A_c by c is A_c^2 + q (1-q) / (c(1-c))^2.
    """
    slope, intercept = line.slope, line.intercept
    both = slope * window.n_c + window.n_s
    weight_c, weight_s = slope * window.n_c / both, window.n_s / both
    steep = weight_c * slope
    low, high = segment
    var_q, var_p = steep * q * (1.0 - q), weight_s * p_hat * (1.0 - p_hat)
    m = weight_c * ((q - intercept) / slope) + weight_s * p_hat
    _hold(m, low, high)
    # Everything below is done in place: the arrays are small, and making new ones would cost as much as filling them.
    c, inverse, pull, bend, part = (np.empty_like(m) for _ in range(5))
    for _ in range(_NEWTON_STEPS):
        np.multiply(slope, m, out=c)
        c += intercept
        _inverse_variance(c, inverse)
        np.subtract(c, q, out=pull)
        pull *= inverse
        np.multiply(inverse, inverse, out=bend)
        bend *= var_q
        np.multiply(pull, pull, out=part)
        part *= steep
        bend += part
        pull *= weight_c
        np.subtract(m, p_hat, out=c)
        _inverse_variance(m, inverse)
        c *= inverse
        inverse *= inverse
        inverse *= var_p
        bend += inverse
        np.multiply(c, c, out=part)
        part *= weight_s
        bend += part
        c *= weight_s
        pull += c
        pull /= bend
        m -= pull
        _hold(m, low, high)
    return m


def _inverse_variance(p: Array, out: Array) -> None:
    """1 / (p (1 - p)) into `out`."""
    np.subtract(1.0, p, out=out)
    out *= p
    np.reciprocal(out, out=out)


def _hold(m: Array, low: Array, high: Array) -> None:
    np.maximum(m, low, out=m)
    np.minimum(m, high, out=m)


def _stakes(window: EventWindow, q: Array, m: Array, c: Array, slope: Array) -> tuple[Array, Array]:
    """Stakes a and b [BETS, B], lowered together where one stable request could cost over .999 of the wealth."""
    a = (q - c) / (c * (1.0 - c))
    b = (slope * window.n_c / window.n_s) * a
    at_risk = np.maximum(b - b * m, -b * m)
    scale = _MOST_AT_RISK / np.maximum(at_risk, _MOST_AT_RISK)
    a *= scale
    b *= scale
    return a, b
