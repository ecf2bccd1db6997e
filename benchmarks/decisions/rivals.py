"""The rules of other tools, each on arrays of counts per minute [MINUTES, R].

Each returns the minute [R] at which it stops. Every rule is as its source gives it; where a tool leaves a choice to its
user, the choice stands in the docstring. A run that never stops has MINUTES.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from benchmarks.decisions.cells import MINUTES, RAMP, STEP_MINUTES

Array = NDArray[np.float64]
Stops = NDArray[np.int64]

ALPHA = 0.05


@dataclass(frozen=True)
class Counts:
    """Values of both arms by minute, [MINUTES, R] each: how many, their sum and their sum of squares; larger is worse.

    Events are values of 0 and 1, so that their sum of squares is their sum. `limit` is the mean that a user would call
    bad, `factor` the multiple of stable's, `scale` half the standard size of an effect (for mSPRT's mixture).
    """

    n_c: Array
    x_c: Array
    q_c: Array
    n_s: Array
    x_s: Array
    q_s: Array
    limit: float
    factor: float
    scale: float

    @property
    def moments(self) -> tuple[Array, ...]:
        """The six arrays."""
        return self.n_c, self.x_c, self.q_c, self.n_s, self.x_s, self.q_s


def first(crossed: NDArray[np.bool_], at: NDArray[np.int64] | None = None) -> Stops:
    """The first look [L, R] at which a rule says stop; `at` [L] gives the looks' minutes."""
    looks = np.arange(len(crossed)) if at is None else at
    stops: Stops = np.where(crossed.any(axis=0), looks[crossed.argmax(axis=0)], MINUTES)
    return stops


def _rolling(values: Array, width: int) -> Array:
    total = np.cumsum(values, axis=0, dtype=float)
    total[width:] -= total[:-width].copy()
    return total


def argo(counts: Counts) -> Stops:
    """Argo Rollouts: candidate's rate over 5 minutes, measured every 5 minutes, above 5 % (`limit`) more than 3 times.

    The analysis example of its docs (argo-rollouts.readthedocs.io, "Analysis & Progressive Delivery", background
    analysis: `interval: 5m`, `successCondition: result[0] >= 0.95`, `failureLimit: 3`, a range of 5 minutes). A
    measurement without any request is left out here, which favours it.
    """
    looks = np.arange(4, MINUTES, 5)
    n, x = _rolling(counts.n_c, 5)[looks], _rolling(counts.x_c, 5)[looks]
    failed = (x > counts.limit * n) & (n > 0)
    return first(np.cumsum(failed, axis=0) > 3, looks)


def argo_relative(counts: Counts) -> Stops:
    """The same with a comparison in the query: above 1.5 times (`factor`) stable's rate more than 3 times."""
    looks = np.arange(4, MINUTES, 5)
    n_c, x_c = _rolling(counts.n_c, 5)[looks], _rolling(counts.x_c, 5)[looks]
    n_s, x_s = _rolling(counts.n_s, 5)[looks], _rolling(counts.x_s, 5)[looks]
    failed = (n_c > 0) & (n_s > 0) & (x_c * n_s > counts.factor * x_s * n_c)
    return first(np.cumsum(failed, axis=0) > 3, looks)


def flagger(counts: Counts) -> Stops:
    """Flagger: each minute the candidate's success rate of the last minute; 5 failed checks in all roll back.

    docs.flagger.app, "Metrics Analysis" and "Canary" (`interval: 1m`, `threshold: 5`); its minimum of 99 % would
    fail at the base rate of 2 %, so 95 % is asked. Failed checks are never forgotten, and a minute without requests is
    one ("no values found for metric").
    """
    failed = (counts.x_c > counts.limit * counts.n_c) | (counts.n_c == 0)
    return first(np.cumsum(failed, axis=0) >= 5)


def kayenta(counts: Counts) -> Stops:
    """Kayenta: Mann-Whitney on the minutes' error rates of the last hour, hourly.

    spinnaker/kayenta, NetflixACAJudge.scala and MannWhitneyClassifier.scala: confidence .98, "High" when the interval's
    lower end exceeds .25 times the Hodges-Lehmann estimate. Minutes without requests are left out; the interval is the
    normal approximation that R's wilcox.test uses with ties.
    """
    looks = np.arange(59, MINUTES, 60)
    crossed = np.zeros((len(looks), counts.n_c.shape[1]), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate_c, rate_s = counts.x_c / counts.n_c, counts.x_s / counts.n_s
    for i, look in enumerate(looks):
        crossed[i] = _mann_whitney(rate_c[look - 59 : look + 1], rate_s[look - 59 : look + 1])
    return first(crossed, looks)


def _mann_whitney(candidate: Array, stable: Array) -> NDArray[np.bool_]:
    """Whether each run's hour [60, R] is classified High."""
    lower, estimate, _ = hodges_lehmann(candidate, stable, 0.98)
    result: NDArray[np.bool_] = (lower > 0.25 * np.abs(estimate)) & (lower > 0.0)
    return result


def hodges_lehmann(candidate: Array, stable: Array, confidence: float) -> tuple[Array, Array, Array]:
    """Shift of candidate's values [M, R] against stable's [N, R]: lower end, estimate and upper end, [R] each.

    The interval of the Mann-Whitney test by its normal approximation, nan where there are too few values; nan among
    the values is none.
    """
    # A run's differences side by side, in short floats: this is what the rival's cells cost.
    candidate, stable = (np.ascontiguousarray(rates.T, dtype=np.float32) for rates in (candidate, stable))
    differences = (candidate[:, :, None] - stable[:, None, :]).reshape(len(candidate), -1)
    m, n = np.isfinite(candidate).sum(axis=1), np.isfinite(stable).sum(axis=1)
    differences.sort(axis=1)  # nan last
    size = m * n
    spread = np.sqrt(m * n * (m + n + 1) / 12.0)
    rank = np.floor(size / 2.0 - ndtri((1.0 + confidence) / 2.0) * spread).astype(int)
    rows = np.arange(len(candidate))
    possible = (rank >= 1) & (m >= 3) & (n >= 3)
    lower = differences[rows, np.clip(rank - 1, 0, None)]
    upper = differences[rows, np.clip(size - rank, 0, differences.shape[1] - 1)]
    last = np.maximum(size - 1, 0)
    estimate = 0.5 * (differences[rows, last // 2] + differences[rows, (last + 1) // 2])
    return np.where(possible, lower, np.nan), estimate, np.where(possible, upper, np.nan)


def z_peeking(counts: Counts) -> Stops:
    """A fixed-horizon test looked at every minute: pooled two-sample z above 1.645, from 30 candidate requests on."""
    n_c, x_c, q_c, n_s, x_s, q_s = (np.cumsum(v, axis=0, dtype=float) for v in counts.moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (x_c + x_s) / (n_c + n_s)
        variance = (q_c + q_s) / (n_c + n_s) - mean * mean
        z = (x_c / n_c - x_s / n_s) / np.sqrt(variance * (1.0 / n_c + 1.0 / n_s))
    return first((z > ndtri(1.0 - ALPHA)) & (n_c >= 30))


def strata(counts: Counts, minutes: int) -> tuple[Array, Array]:
    """Weighted difference and variance of the strata that end at each look, cumulative (Mantel-Haenszel weights)."""
    shape = (MINUTES // minutes, minutes, counts.n_c.shape[1])
    n_c, x_c, q_c, n_s, x_s, q_s = (v.reshape(shape).sum(axis=1) for v in counts.moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        h = np.where((n_c > 0) & (n_s > 0), n_c * n_s / (n_c + n_s), 0.0)
        gap = np.where(h > 0, h * (x_c / n_c - x_s / n_s), 0.0)
        mean = np.where(h > 0, (x_c + x_s) / (n_c + n_s), 0.0)
        variance = np.where(h > 0, (q_c + q_s) / (n_c + n_s) - mean * mean, 0.0)
    return np.cumsum(gap, axis=0), np.cumsum(h * variance, axis=0)


def group_sequential(counts: Counts) -> Stops:
    """24 hourly looks with Lan-DeMets spending of the O'Brien-Fleming type, one-sided .05 (Lan & DeMets, 1983).

    Stratified by the hour, information as the ramp plans it.
    """
    gap, variance = strata(counts, 60)
    share = np.repeat(RAMP, STEP_MINUTES // 60)
    planned = np.cumsum(share * (1.0 - share))
    bounds = np.array(lan_demets(tuple((planned / planned[-1]).tolist()), ALPHA))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = gap / np.sqrt(variance)
    return first(z > bounds[:, None], np.arange(59, MINUTES, 60))


@lru_cache
def lan_demets(times: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """One-sided boundaries of z for the spending function 2 - 2 Phi(z_{alpha/2} / sqrt(t)).

    By recursion over the score's density where nothing has stopped yet (Armitage, McPherson & Rowe, 1969), on
    Gauss-Legendre points: right to four digits.
    """
    points, weights = np.polynomial.legendre.leggauss(200)
    places, mass = np.zeros(1), np.ones(1)  # at time 0 the score is 0
    bounds: list[float] = []
    before = used = 0.0
    for t in times:
        spread, spent = math.sqrt(t - before), 2.0 * float(ndtr(ndtri(alpha / 2.0) / math.sqrt(t)))

        def over(edge: float, spread: float = spread, wanted: float = spent - used) -> float:
            return float(mass @ ndtr((places - edge) / spread)) - wanted  # noqa: B023 - used within this turn only

        edge = brentq(over, -8.0 * math.sqrt(t), 60.0 * math.sqrt(t), xtol=1e-10)
        bounds.append(edge / math.sqrt(t))
        low, high = -8.0 * math.sqrt(t), min(edge, 8.0 * math.sqrt(t))
        inner = (high - low) / 2.0 * points + (high + low) / 2.0
        density = np.exp(-0.5 * ((inner[:, None] - places) / spread) ** 2) @ mass
        mass = density * weights * (high - low) / (2.0 * spread * math.sqrt(2.0 * math.pi))
        places, before, used = inner, t, spent
    return tuple(bounds)


def msprt(counts: Counts) -> Stops:
    """Mixture SPRT of the cumulative difference of means (Johari, Koomen, Pekelis & Walsh, 2022), normal mixture.

    One-sided: the difference must be positive, at 2 alpha; the mixture's standard deviation is half an effect worth
    finding. One imagined value at either end keeps the first minutes' variances from vanishing.
    """
    n_c, x_c, q_c, n_s, x_s, q_s = (np.cumsum(v, axis=0, dtype=float) for v in counts.moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_c, mean_s = (x_c + 0.5) / (n_c + 1.0), (x_s + 0.5) / (n_s + 1.0)
        var_c = (q_c + 0.5) / (n_c + 1.0) - mean_c**2
        var_s = (q_s + 0.5) / (n_s + 1.0) - mean_s**2
        variance = var_c / n_c + var_s / n_s
        gap, tau = x_c / n_c - x_s / n_s, counts.scale**2
        log_e = 0.5 * np.log(variance / (variance + tau)) + tau * gap**2 / (2 * variance * (variance + tau))
    return first((log_e > -math.log(2 * ALPHA)) & (gap > 0) & (n_c >= 30))


RULES = {
    "Argo Rollouts, fixed threshold": argo,
    "Argo Rollouts, against stable": argo_relative,
    "Flagger, 5 failed checks": flagger,
    "Kayenta, Mann-Whitney": kayenta,
    "z-test, peeking": z_peeking,
    "group-sequential (O'Brien-Fleming)": group_sequential,
    "mSPRT": msprt,
}
