"""Unbounded sums (cost, tokens without buckets): count, sum and perhaps sum of squares. Asymptotic, and labelled so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptrollout.analysis.bounded import harmonic
from promptrollout.analysis.confseq import best_rho, log_mixture
from promptrollout.analysis.counts import Counts, History, Pair, SumCounts
from promptrollout.analysis.kinds.base import (
    ArmValues,
    Closed,
    Closing,
    Contrast,
    Kind,
    Mask,
    flat_rows,
    packer,
    per_sample,
)
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.plan import LineMargin, MetricKind, MetricPlan

#: One arm's columns: count, sum, sum of squares, and the count of samples whose squares are known.
_ARM = 4
_PACK = packer(2 * _ARM)
#: Own state: sum of h * (a x_c - b x_s - c) for harm and for promotion, information of both arms (sum of h^2 phi / n),
#: and per arm the number of windows and their squared deviations, for variances without sums of squares.
_HARM, _PROMOTE, _INFO_C, _INFO_S, _WINDOWS_C, _DEVIATION_C, _WINDOWS_S, _DEVIATION_S = range(8)
#: No harm before both arms have this many samples, or this many where the coefficient of variation exceeds 2
#: (statistics.md, "Unbounded sums only").
_GATE, _WIDE_GATE, _WIDE = 300.0, 1000.0, 2.0
#: No non-inferiority before they have _GATE CV^2, and at most so many: means of few skewed values are low more often
#: than a normal one would be, by about CV / sqrt(n). By the gate for harm, dearer candidates passed in up to 10 %.
_LARGEST_GATE = 10_000.0
#: The mixture is sharpest at the information of that gate.
_RHO = best_rho(_GATE, 0.05, one_sided=True)
#: Windows before a variance of window means is trusted.
_WINDOWS_NEEDED = 10.0
#: A quantity that never varies is taken to vary by one per cent: it can still be compared.
_LEAST_VARIATION = 0.01
#: Standardised sums are held within what can be squared.
_FARTHEST = 1e100


@dataclass(frozen=True, slots=True)
class _Spread:
    """Mean and variance of one arm's single values [B]; the variance is zero while unknown."""

    count: Array
    mean: Array
    variance: Array


class SumKind(Kind):
    """Columns: candidate count, sum, sum of squares, count with squares; then the same for stable."""

    kind = MetricKind.Sum
    statistic = "mean"
    difference = "mean"
    asymptotic = True
    columns = 2 * _ARM
    width = 8

    def params(self, metric: MetricPlan) -> tuple[float, ...]:
        """Coefficients (a, b, c) of a x_c - b x_s - c, whose mean is <= 0 under harm's and promotion's null."""
        result: list[float] = []
        for margin, turned in ((metric.margin, 1.0), (metric.promote_margin, -1.0)):
            assert isinstance(margin, LineMargin)  # noqa: S101 - MetricPlan checked it; this tells mypy
            if metric.higher_is_better:  # stable <= r * candidate + d
                result += [-turned * margin.r, -turned, turned * margin.d]
            else:  # candidate <= r * stable + d
                result += [turned, turned * margin.r, turned * margin.d]
        return tuple(result)

    def seed(self, metric: MetricPlan, history: History) -> Array:  # noqa: ARG002 - same for every kind
        """Nothing is taken from history: sums compare within windows only."""
        return np.zeros(self.width)

    def read(self, pair: Pair, metric: MetricPlan) -> bytes | str:  # noqa: ARG002 - same for every kind
        """Both arms' moments."""
        candidate, stable = _arm(pair.candidate), _arm(pair.stable)
        if isinstance(candidate, str):
            return f"candidate {candidate}"
        if isinstance(stable, str):
            return f"stable {stable}"
        return _PACK(*candidate, *stable)

    def gather(self, pairs: Sequence[Pair], metric: MetricPlan) -> Array | None:  # noqa: ARG002 - same for every kind
        """Both arms' moments of many pairs."""
        values: list[float] = []
        for pair in pairs:
            for arm in (pair.candidate, pair.stable):
                if not isinstance(arm, SumCounts):
                    return None
                square = arm.sumsq
                values += (
                    (arm.count, arm.sum, 0.0, 0.0)
                    if square is None
                    else (arm.count, arm.sum, square, arm.count)
                )
        return flat_rows(values, self.columns)

    def sound(self, counts: Array) -> Mask:
        """Counts and squares not negative; a sum without samples is none."""
        mask: Mask = np.logical_and.reduce(counts[:, [0, 2, 4, 6]] >= 0.0, axis=1)
        for start in (0, _ARM):
            mask &= (counts[:, start] > 0.0) | (counts[:, start + 1] == 0.0)
        return mask

    def sizes(self, counts: Array) -> tuple[Array, Array]:
        """Samples of both arms."""
        return counts[:, 0], counts[:, _ARM]

    def close(self, closing: Closing) -> Closed:
        """Add the window's stratum to S and V, and mix."""
        state = closing.state
        n_c, n_s = self.sizes(closing.counts)
        mean_c, mean_s = per_sample(closing.counts[:, 1], n_c), per_sample(closing.counts[:, _ARM + 1], n_s)
        h = harmonic(n_c, n_s)
        for slot, start in ((_HARM, 0), (_PROMOTE, 3)):
            a, b, c = (closing.params[:, start + i] for i in range(3))
            state[:, slot] += h * (a * mean_c - b * mean_s - c)
        state[:, _INFO_C] += per_sample(h * h * closing.phi, n_c)
        state[:, _INFO_S] += per_sample(h * h * closing.phi, n_s)
        candidate = _deviate(state, closing, (0, _WINDOWS_C, _DEVIATION_C))
        stable = _deviate(state, closing, (_ARM, _WINDOWS_S, _DEVIATION_S))
        ready = _ready(candidate) & _ready(stable)
        harm = _log_e(state[:, _HARM], state, (candidate, stable), closing.params[:, :3])
        promote = _log_e(state[:, _PROMOTE], state, (candidate, stable), closing.params[:, 3:])
        variance = per_sample(candidate.variance, n_c) + per_sample(stable.variance, n_s)
        contrast = Contrast(h, mean_c - mean_s, variance * closing.phi)
        tame = ready & _tame(candidate) & _tame(stable)
        return Closed(np.where(ready, harm, 0.0), np.where(tame, promote, 0.0), contrast)

    def values(self, totals: Array, metric: MetricPlan) -> ArmValues:  # noqa: ARG002 - same for every kind
        """Means."""
        n_c, sum_c, n_s, sum_s = (float(totals[i]) for i in (0, 1, _ARM, _ARM + 1))
        return ArmValues(sum_c / n_c if n_c else math.nan, sum_s / n_s if n_s else math.nan, n_c, n_s)

    def totals(self, totals: Array, metric: MetricPlan) -> Pair:  # noqa: ARG002 - same for every kind
        """Both arms' moments, without squares unless all are known."""
        arms = []
        for start in (0, _ARM):
            count, total, square, known = (float(v) for v in totals[start : start + _ARM])
            arms.append(SumCounts(count, total, square if known >= count else None))
        return Pair(arms[0], arms[1])


def _arm(counts: Counts | None) -> tuple[float, ...] | str:
    if not isinstance(counts, SumCounts):
        return "needs SumCounts"
    if counts.sumsq is None:
        return (counts.count, counts.sum, 0.0, 0.0)
    return (counts.count, counts.sum, counts.sumsq, counts.count)


def _deviate(state: Array, closing: Closing, slots: tuple[int, int, int]) -> _Spread:
    """Variance of single values: from sums of squares, or n times the variance of window means around their mean.

    Drift of the baseline widens the latter: it errs on the side of less evidence.
    """
    start, windows, deviation = slots
    count, total, square, known = (closing.totals[:, start + i] for i in range(_ARM))
    mean = per_sample(total, count)
    n = closing.counts[:, start]
    off = per_sample(closing.counts[:, start + 1], n) - mean
    state[:, windows] += n > 0.0
    state[:, deviation] += n * off * off
    least = (_LEAST_VARIATION * mean) ** 2 + 1e-200
    exact = np.maximum(per_sample(square, known) - mean * mean, least)
    rough = np.maximum(per_sample(state[:, deviation], np.maximum(state[:, windows] - 1.0, 1.0)), least)
    rough = np.where(state[:, windows] >= _WINDOWS_NEEDED, rough, 0.0)
    return _Spread(count, mean, np.where((known >= count) & (count > 0.0), exact, rough))


def _ready(arm: _Spread) -> Mask:
    wide = np.sqrt(arm.variance) > _WIDE * np.abs(arm.mean)
    return (arm.variance > 0.0) & (arm.count >= np.where(wide, _WIDE_GATE, _GATE))


def _tame(arm: _Spread) -> Mask:
    """Whether so many samples' mean is about normal."""
    squared = np.maximum(arm.mean * arm.mean, 1e-300)
    gate = np.clip(_GATE * np.minimum(arm.variance / squared, 1e6), _GATE, _LARGEST_GATE)
    result: Mask = arm.count >= gate
    return result


def _log_e(total: Array, state: Array, arms: tuple[_Spread, _Spread], coefficients: Array) -> Array:
    """Half-normal mixture of the standardised sum, [B]; in units of one sample's standard deviation."""
    candidate, stable = arms
    a, b = coefficients[:, 0], coefficients[:, 1]
    unit = np.maximum((candidate.variance + stable.variance) / 2.0, 1e-300)
    variance = a * a * candidate.variance * state[:, _INFO_C] + b * b * stable.variance * state[:, _INFO_S]
    standard = np.clip(total / np.sqrt(unit), -_FARTHEST, _FARTHEST)
    return log_mixture(standard, variance / unit, _RHO)
