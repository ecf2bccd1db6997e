"""Conversations made as a whole follow the law of those that the simulator makes in order of time."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from benchmarks.decisions.cells import METRICS, MINUTES, STEP_MINUTES, Cell
from benchmarks.decisions.conversations import Talks, Tally
from benchmarks.decisions.ours import Ours
from benchmarks.decisions.traffic import NAME, Stream, TalkStream, metric_plan
from promptrollout.analysis import (
    AnalysisPlan,
    ArmClusters,
    ClusterCounts,
    Evidence,
    History,
    MetricClusters,
    dispersion,
)
from promptrollout.analysis.kinds.base import Slot

EVENTS = Cell("events", "10K/day", "correlated")
RUNS = 60


def sums(traffic: Stream | TalkStream) -> dict[str, np.ndarray]:
    """By run: requests, events, first events and affected units of both arms in the last two steps, cluster spread."""
    found = {"levels": np.zeros((RUNS, 2, 2)), "units": np.zeros((RUNS, 2, 2))}
    clusters = np.zeros((RUNS, 2, 2, 16))
    for minute in traffic:
        counted = minute.counted
        if counted.clusters is not None:
            clusters += counted.clusters[:, :, :2]
        if minute.number >= 2 * STEP_MINUTES:
            found["levels"] += counted.levels
            assert counted.units is not None
            found["units"] += counted.units
    found["spread"] = clusters.var(axis=3)
    return found


def test_counts_have_the_means_and_the_spread_of_the_simulators() -> None:
    one = sums(Stream(EVENTS, RUNS, np.random.default_rng(1)))
    other = sums(TalkStream(EVENTS, RUNS, np.random.default_rng(2)))
    for name, first in one.items():
        second = other[name]
        error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / RUNS)
        assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < 4.5 * error).all(), name
        if name != "spread":
            # Logarithms of variances of 60 runs: standard error about .26.
            ratio = np.log(first.var(axis=0) / second.var(axis=0))
            assert (np.abs(ratio) < 1.2).all(), name


def test_a_unit_counts_up_to_its_first_event_in_each_step() -> None:
    tally = Tally(1, 1, np.array([0.0, 1.0]), (1,))
    # One conversation of the candidate: bad in the first step's second and third request, and once in the second.
    step = 60.0 * STEP_MINUTES
    at = np.array([10.0, 20.0, 30.0, 40.0, step + 5.0, step + 65.0, step + 70.0])
    bad = np.array([0, 1, 1, 0, 0, 0, 1])
    some = Talks(np.zeros(1, int), np.zeros(1), np.array([3]), np.zeros(len(at), int), at)
    tally.add(some, lambda _, arm: bad + 0 * arm, np.random.default_rng(1))
    first, second = tally.minute(0, 1), tally.minute(STEP_MINUTES + 1, 1)
    assert first.levels[0, 0].tolist() == [2, 2]
    assert first.units is not None
    assert first.units[0, 0].tolist() == [1, 1]
    assert second.units is not None
    assert second.units[0, 0].tolist() == [1, 1]
    hour = tally.minute(59, 1)
    assert hour.clusters is not None
    assert hour.clusters[0, 0, :, 3].tolist() == [4, 2, 2]
    assert hour.unit_clusters is not None
    assert hour.unit_clusters[0, 0, :, 3].tolist() == [2, 1]
    assert sum(tally.minute(m, 1).levels.sum() for m in range(MINUTES)) == len(at)


def test_the_engine_on_arrays_begins_as_the_product_does() -> None:
    past = TalkStream(EVENTS, 3, np.random.default_rng(3)).past
    metric = metric_plan(EVENTS, zero=False)
    rows = Ours(metric, past).rows
    assert past.clusters is not None
    assert past.unit_clusters is not None
    for run, history in enumerate(past.histories):
        entries = []
        for hour in range(len(past.clusters)):
            end = 3600.0 * (hour + 1 - len(past.clusters))
            requests, units = (
                ClusterCounts(end - 3600.0, end, ArmClusters(tuple(s[run, 1, 0]), tuple(s[run, 1, 1])))
                for s in (past.clusters[hour], past.unit_clusters[hour])
            )
            entries.append(MetricClusters(requests, units))
        whole = History(history.counts, history.units, tuple(entries))
        evidence = Evidence.initial(AnalysisPlan((metric,)), {NAME: whole})
        assert rows[run].tolist() == pytest.approx(evidence.array(0).tolist(), rel=1e-12)
        assert rows[run, Slot.PHI] > 1.5


def test_the_design_effect_that_is_learned_is_the_worlds() -> None:
    past = TalkStream(Cell("events", "100K/day", "correlated"), 10, np.random.default_rng(4)).past
    ours = Ours(metric_plan(EVENTS, zero=False), past)
    assert ours.blocks[0] is not None
    learned = dispersion.shared_effect(ours.blocks[0], dispersion.Prior())
    # 1 + (2 * 8 - 2) * .2 = 3.8, and its standard error on top; the candidate itself may be otherwise.
    assert 3.6 < float(np.median(learned)) < 5.5
    assert (ours.rows[:, Slot.PHI] == dispersion.OWN_CAUTION * dispersion.PHI0_REQUESTS).all()


@pytest.mark.parametrize("metric", METRICS)
def test_evidence_of_harm_is_the_same_without_that_of_non_inferiority(metric: str) -> None:
    cell = Cell(metric, "100K/day", "plain")
    plan = metric_plan(cell, zero=True)
    traffic = Stream(cell, 4, np.random.default_rng(5))
    alone, beside = Ours(plan, traffic.past), Ours(plan, traffic.past)
    beside.kind.promotes = True
    for minute in islice(traffic, 40):
        alone.take(minute)
        beside.take(minute)
    assert np.abs(alone.rows[:, Slot.HARM]).min() > 0.0
    assert np.array_equal(alone.rows[:, Slot.HARM], beside.rows[:, Slot.HARM])
    assert not np.array_equal(alone.rows[:, Slot.PROMOTE], beside.rows[:, Slot.PROMOTE])
