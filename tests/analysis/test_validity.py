"""E e <= 1 under every null, by enumeration of all outcomes: this is what the error rates rest on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from promptrollout.analysis.bounded import (
    Levels,
    Moments,
    level_increments,
    moment_increments,
    paired_increments,
)
from promptrollout.analysis.events import EventWindow, Line, log_increments
from promptrollout.analysis.mixture import BOUNDED, EVENTS_DOWN, EVENTS_UP, BetGrid

ROUNDING = 1e-12
#: (slope, intercept): the default lines and others, and those of metrics where higher is better.
LINES = [
    (1.2, 0.001),
    (1.0, 0.0),
    (1.25, 0.0),
    (1.0, 0.005),
    (1.4, 0.002),
    (3.0, 0.05),
    (1 / 1.2, -0.001 / 1.2),
]
SPLITS = [(1, 6), (3, 4), (6, 2), (5, 30)]
PAST = [0.0005, 0.02, 0.3, 0.9]


def expected_events(
    grid: BetGrid, line: tuple[float, float], sizes: tuple[int, int], p_hat: float
) -> np.ndarray:
    """E e for every bet [P, BETS] at 60 points (p_c, p_s) of the line."""
    n_c, n_s = sizes
    x_c, x_s = (a.ravel().astype(float) for a in np.meshgrid(range(n_c + 1), range(n_s + 1), indexing="ij"))
    full = np.full(len(x_c), 1.0)
    window = EventWindow(n_c * full, x_c, n_s * full, x_s)
    e = np.exp(log_increments(window, p_hat * full, Line(line[0] * full, line[1] * full), grid))
    p_s = np.concatenate([[0.0, 1e-9, 1e-4], np.linspace(0.001, 1.0, 57)])
    p_c = line[0] * p_s + line[1]
    inside = (p_c >= 0.0) & (p_c <= 1.0)
    assert inside.any()
    chance = binom.pmf(x_c, n_c, p_c[inside, None]) * binom.pmf(x_s, n_s, p_s[inside, None])
    return chance @ e


@pytest.mark.parametrize("grid", [EVENTS_UP, EVENTS_DOWN], ids=["harm", "promotion"])
@pytest.mark.parametrize("line", LINES)
def test_event_bets_gain_nothing_on_the_margin(grid: BetGrid, line: tuple[float, float]) -> None:
    for sizes, p_hat in itertools.product(SPLITS, PAST):
        assert expected_events(grid, line, sizes, p_hat).max() <= 1.0 + ROUNDING


def test_event_bets_gain_off_the_margin() -> None:
    # The enumeration above would also pass if no bet were ever placed.
    gains = {}
    for name, grid, p_c in (("harm", EVENTS_UP, 0.2), ("promotion", EVENTS_DOWN, 0.02)):
        x_c, x_s = (a.ravel().astype(float) for a in np.meshgrid(range(31), range(31), indexing="ij"))
        full = np.full(len(x_c), 1.0)
        window = EventWindow(30 * full, x_c, 30 * full, x_s)
        e = np.exp(log_increments(window, 0.02 * full, Line(1.4 * full, 0.002 * full), grid))
        gains[name] = ((binom.pmf(x_c, 30, p_c) * binom.pmf(x_s, 30, 0.02)) @ e).max()
    assert gains["harm"] > 2.0
    assert gains["promotion"] > 1.01


@pytest.mark.parametrize("grid", [EVENTS_UP, EVENTS_DOWN], ids=["harm", "promotion"])
def test_event_bets_gain_nothing_inside_the_null(grid: BetGrid) -> None:
    n_c, n_s, full = 5, 8, np.ones(54)
    x_c, x_s = (a.ravel().astype(float) for a in np.meshgrid(range(6), range(9), indexing="ij"))
    window = EventWindow(n_c * full, x_c, n_s * full, x_s)
    e = np.exp(log_increments(window, 0.05 * full, Line(1.2 * full, 0.001 * full), grid))
    for p_s, factor in itertools.product((0.01, 0.1, 0.4), (0.2, 0.7, 1.0)):
        on_line = 1.2 * p_s + 0.001
        p_c = on_line * factor if grid is EVENTS_UP else 1.0 - (1.0 - on_line) * factor
        assert ((binom.pmf(x_c, n_c, p_c) * binom.pmf(x_s, n_s, p_s)) @ e).max() <= 1.0 + ROUNDING


NODES = np.linspace(0.0, 1.0, 21)
#: Distributions on five levels with their positions among the nodes.
LEVELS = [0, 3, 8, 15, 20]
DISTRIBUTIONS = [
    np.array([0.7, 0.1, 0.1, 0.05, 0.05]),
    np.array([0.1, 0.2, 0.4, 0.2, 0.1]),
    np.array([0.0, 0.5, 0.0, 0.5, 0.0]),
    np.array([0.95, 0.0, 0.0, 0.0, 0.05]),
]


def shifted_mean(distribution: np.ndarray, by: float) -> np.ndarray:
    """A distribution whose mean badness is larger by `by`: mass moves to the worst or to the best level."""
    target = np.zeros(5)
    target[4 if by > 0 else 0] = 1.0
    reach = abs(float((target - distribution) @ NODES[LEVELS]))
    assert reach >= abs(by)
    share = abs(by) / reach
    return (1 - share) * distribution + share * target


def outcomes(
    candidate: np.ndarray, stable: np.ndarray, sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """All draws of both arms as level indices [M, n_c + n_s], and their chances [M]."""
    drawn = np.array(list(itertools.product(range(5), repeat=sum(sizes))))
    chance = candidate[drawn[:, : sizes[0]]].prod(axis=1) * stable[drawn[:, sizes[0] :]].prod(axis=1)
    return drawn[chance > 0], chance[chance > 0]


def node_counts(drawn: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(drawn), 21))
    for column in drawn.T:
        counts[np.arange(len(drawn)), np.array(LEVELS)[column]] += 1
    return counts


@pytest.mark.parametrize(("sign", "d"), [(1, 0.02), (1, 0.0), (-1, 0.02), (-1, 0.1)])
@pytest.mark.parametrize("mu", [0.01, 0.14, 0.5, 0.97])
def test_bets_on_levels_gain_nothing_on_the_margin(sign: int, d: float, mu: float) -> None:
    # sign 1: badness may grow by d. sign -1: inferiority, badness grown by d, on mirrored levels.
    badness = NODES if sign > 0 else 1.0 - NODES
    center = mu if sign > 0 else 1.0 - mu
    for stable, sizes in itertools.product(DISTRIBUTIONS, ((1, 3), (2, 2), (3, 1))):
        drawn, chance = outcomes(shifted_mean(stable, d), stable, sizes)
        levels = Levels(node_counts(drawn[:, : sizes[0]]), node_counts(drawn[:, sizes[0] :]), badness[None])
        full = np.ones(len(drawn))
        e = np.exp(level_increments(levels, center * full, sign * d * full, BOUNDED))
        assert (chance @ e).max() <= 1.0 + ROUNDING


@pytest.mark.parametrize("mu", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("delta", [0.02, -0.02, 0.0])
def test_bets_on_moments_gain_nothing_on_the_margin(mu: float, delta: float) -> None:
    goodness = 1.0 - NODES[LEVELS]
    for stable, sizes in itertools.product(DISTRIBUTIONS, ((1, 2), (2, 1), (2, 2))):
        drawn, chance = outcomes(shifted_mean(stable, delta), stable, sizes)
        arms = [goodness[drawn[:, : sizes[0]]], goodness[drawn[:, sizes[0] :]]]
        full = np.ones(len(drawn))
        moments = [Moments(a.shape[1] * full, a.sum(axis=1), (a**2).sum(axis=1)) for a in arms]
        e = np.exp(moment_increments(moments[0], moments[1], mu * full, delta * full, BOUNDED))
        assert (chance @ e).max() <= 1.0 + ROUNDING


@pytest.mark.parametrize("delta", [0.02, -0.02, 0.2])
def test_bets_on_pairs_gain_nothing_on_the_margin(delta: float) -> None:
    values = np.array([-1.0, delta, 1.0])
    for spread in (0.0, 0.1, 0.6):
        # Mean exactly delta: the extremes carry mass in proportion to their distance from it.
        chances = spread * np.array([(1.0 - delta) / 2, 0.0, (1.0 + delta) / 2])
        chances[1] = 1.0 - spread
        total = 0.0
        for outcome in itertools.product(range(3), repeat=4):
            drawn = values[list(outcome)]
            moments = Moments(*(np.array([float(v)]) for v in (4, drawn.sum(), (drawn**2).sum())))
            total += np.prod(chances[list(outcome)]) * np.exp(
                paired_increments(moments, np.array([delta]), BOUNDED)
            )
        assert total.max() <= 1.0 + ROUNDING


def test_an_increment_divided_by_a_design_effect_stays_an_e_variable() -> None:
    x_c, x_s = (a.ravel().astype(float) for a in np.meshgrid(range(6), range(9), indexing="ij"))
    full = np.ones(54)
    window = EventWindow(5 * full, x_c, 8 * full, x_s)
    log_e = log_increments(window, 0.05 * full, Line(1.2 * full, 0.001 * full), EVENTS_UP)
    chance = binom.pmf(x_c, 5, 1.2 * 0.1 + 0.001) * binom.pmf(x_s, 8, 0.1)
    for phi in (1.0, 2.5, 9.0):
        assert (chance @ np.exp(log_e / phi)).max() <= 1.0 + ROUNDING
