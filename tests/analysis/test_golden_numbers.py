"""The reference numbers of statistics.md, statistics-sharper.md and statistics-correlated.md."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import erfcx, log_ndtr

from promptrollout.analysis import (
    ArmClusters,
    ClusterCounts,
    Correlation,
    dispersion,
    mixture,
    score_counts,
    split_score,
)
from promptrollout.analysis.bounded import Levels, Moments, level_increments, moment_increments
from promptrollout.analysis.confseq import best_rho, log_mixture, one_sided_bound, two_sided_bound
from promptrollout.analysis.events import EventWindow, Line, log_increments, past_rate, reference_rate
from promptrollout.analysis.mixture import BetGrid
from promptrollout.analysis.sampleratio import log_bayes_factor

SHOWN = [0, 5, 8, 12, 15]
#: What the design notes were computed with, where the product has other weights (docs/statistics.md, "Weights").
STARTING_MASS = 0.75
_STAKES = np.exp(np.linspace(np.log(0.15), np.log(4.0), 16))
_WEIGHTS = np.exp(-0.5 * (np.log(_STAKES / 0.65) / 0.65) ** 2)
BOUNDED = BetGrid(_STAKES, np.log(_WEIGHTS / _WEIGHTS.sum()))


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


WINDOW = EventWindow(one(100), one(6), one(1900), one(38))


@pytest.mark.parametrize(
    ("r", "d", "bets", "mixed", "first"),
    [
        (1.2, 0.001, [0.435896, 1.657271, 1.395242, -0.593613, -3.650199], 1.233920, 1.059162),
        (1.0, 0.0, [0.510308, 2.250215, 2.453265, 1.306459, -0.931741], 1.963426, 1.743506),
        (1.25, 0.0, [0.433650, 1.646771, 1.387646, -0.574549, -3.584923], 1.226189, None),
        (1.0, 0.005, [0.444170, 1.696581, 1.423019, -0.676202, -3.933197], 1.262551, None),
    ],
)
def test_event_bets_against_a_line(
    r: float, d: float, bets: list[float], mixed: float, first: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "STARTING_MASS", STARTING_MASS)
    line = Line(one(r), one(d))
    increments = log_increments(WINDOW, one(0.02), line, mixture.EVENTS_UP)
    assert increments[0, SHOWN] == pytest.approx(bets, abs=5e-7)
    assert np.logaddexp.reduce(mixture.EVENTS_UP.log_weights + increments[0]) == pytest.approx(
        mixed, abs=5e-7
    )
    if first is not None:
        delta = WINDOW.n_c * reference_rate(one(0.02), line, up=True)
        start = mixture.fresh(mixture.EVENTS_UP)[None]
        process = mixture.bet(start, mixture.EVENTS_UP, delta, increments)
        assert mixture.log_e(process)[0] == pytest.approx(first, abs=5e-7)


def test_idle_mass_after_the_first_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "STARTING_MASS", STARTING_MASS)
    assert mixture.idle(one(100 * 0.025))[0] == pytest.approx(0.226198, abs=5e-7)


def test_score_bets_on_nodes() -> None:
    candidate, stable = np.zeros((1, 21)), np.zeros((1, 21))
    candidate[0, [0, 4, 8, 20]] = 55, 25, 15, 5
    stable[0, [0, 4, 8, 20]] = 560, 220, 90, 30
    levels = Levels(candidate, stable, np.linspace(0, 1, 21)[None])
    increments = level_increments(levels, one(0.14), one(0.02), BOUNDED)
    wanted = [0.184477, 0.252138, -0.233360, -5.053916, -24.887856]
    assert increments[0, SHOWN] == pytest.approx(wanted, abs=5e-7)
    mixed = np.logaddexp.reduce(BOUNDED.log_weights + increments[0])
    assert mixed == pytest.approx(-0.105090, abs=5e-7)


def test_score_bets_on_moments() -> None:
    grid = BetGrid(np.exp(np.linspace(np.log(0.1), np.log(3.2), 6)), np.full(6, -np.log(6)))
    increments = moment_increments(
        Moments(one(100), one(74), one(61)), Moments(one(900), one(720), one(632)), one(0.8), one(0.02), grid
    )
    wanted = [0.330895, 0.601994, 0.954678, 0.821391, -3.641564, -42.753745]
    assert increments[0] == pytest.approx(wanted, abs=5e-7)


def test_a_score_is_split_between_two_nodes_of_badness() -> None:
    (low, low_weight), (high, high_weight) = split_score(0.63)
    assert (low, high) == (7, 8)
    assert (low_weight, high_weight) == pytest.approx((0.6, 0.4))


@pytest.mark.parametrize("score", [0.0, 0.05, 0.3333, 0.63, 0.999, 1.0])
def test_splitting_keeps_the_mean(score: float) -> None:
    nodes = score_counts([score]).nodes
    assert sum(nodes) == pytest.approx(1.0)
    assert sum(w * (1 - i / 20) for i, w in enumerate(nodes)) == pytest.approx(score)


@pytest.mark.parametrize("score", [-0.1, 1.01, float("nan")])
def test_a_score_outside_its_range_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        split_score(score)


def test_the_past_rate_is_smoothed() -> None:
    assert past_rate(one(5000), one(100))[0] == pytest.approx(100.5 / 5025)


def test_normal_mixture_boundaries() -> None:
    rho = best_rho(100, 0.05)
    assert rho == pytest.approx(12.60056, abs=5e-6)
    assert two_sided_bound(100, rho, 0.05) == pytest.approx(30.35209, abs=5e-6)
    assert one_sided_bound(100, best_rho(100, 0.05, one_sided=True), 0.05) == pytest.approx(
        27.66071, abs=5e-6
    )


def test_the_half_normal_mixture_is_its_formula_and_never_speaks_against_what_is_far_better() -> None:
    t = np.concatenate([np.linspace(-40.0, 40.0, 2001), -np.geomspace(40.0, 1e100, 50)])
    one_unit = np.full_like(t, 1.0)
    known = np.where(t < 0.0, np.log(0.5 * erfcx(np.abs(t) / math.sqrt(2.0))), 0.5 * t * t + log_ndtr(t))
    # V = 1 - rho: the scale is 1, and S is t.
    found = log_mixture(t, one_unit - 0.25, 0.25) - 0.5 * math.log(4.0 * 0.25)
    assert found == pytest.approx(known, rel=1e-12, abs=1e-13)
    assert (log_mixture(-np.geomspace(1.0, 1e100, 400), np.full(400, 0.3), 1.0) < 0.0).all()


@pytest.mark.parametrize(
    ("counts", "weight", "factor"), [((560, 440), 0.5, 213.42146), ((1100, 18900), 0.05, 10.666413)]
)
def test_sample_ratio_bayes_factors(counts: tuple[float, float], weight: float, factor: float) -> None:
    assert np.exp(log_bayes_factor(counts, (weight, 1 - weight))) == pytest.approx(factor, rel=1e-7)


def test_design_effect_of_four_clusters() -> None:
    prior = dispersion.Prior(4.0, 10.0)
    state = dispersion.fresh(4)[None]
    assert dispersion.shared_effect(state, prior)[0] == 4.0
    first = dispersion.read(ClusterCounts(0, 3600, ArmClusters((10, 12, 8, 10), (1, 0, 2, 1))))
    state = dispersion.absorb(state, first[0][None])
    assert dispersion.shared_effect(state, prior)[0] == pytest.approx(4.430260, abs=5e-7)
    assert state[0, :2] == pytest.approx([3.84, 3.6])
    second = dispersion.read(
        ClusterCounts(
            3600,
            7200,
            stable=ArmClusters((9, 11, 10, 10), (0, 1, 3, 0)),
            candidate=ArmClusters((2, 0, 1, 1), (1, 0, 0, 0)),
        )
    )
    state = dispersion.absorb(state, second[0][None])
    assert dispersion.shared_effect(state, prior)[0] == pytest.approx(4.461878, abs=5e-7)
    assert state[0, :2] == pytest.approx([18.82, 7.95])


@pytest.mark.parametrize(("icc", "phi"), [(0.05, 1.7), (0.2, 3.8), (0.4, 6.6)])
def test_design_effect_of_declared_sessions(icc: float, phi: float) -> None:
    assert Correlation.declared(8, icc).phi == pytest.approx(phi)


def test_a_units_requests_bet_at_full_stake_are_no_e_variable() -> None:
    # A unit of 3 equal outcomes whose arm is a coin flip: mean factor 1.408 at stake 1, exactly 1 at a third.
    bet, w, x = 2.0, 0.25, 3
    f_c, f_s = bet / (bet * w + 1 - w), 1 / (bet * w + 1 - w)

    def factor(h: float) -> float:
        return w * f_c ** (h * x) + (1 - w) * f_s ** (h * x)

    assert factor(1.0) == pytest.approx(1.408)
    assert factor(1 / 3) == pytest.approx(1.0)
