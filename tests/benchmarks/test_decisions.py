"""The benchmark's own parts: rivals as their sources give them, an oracle that is one, documents from results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.correlated import table
from benchmarks.decisions import report
from benchmarks.decisions.__main__ import earlier, parameters
from benchmarks.decisions.cells import MINUTES, TRAFFIC, Cell, grid, is_quick, runs_of
from benchmarks.decisions.oracle import bound
from benchmarks.decisions.rivals import (
    RULES,
    Counts,
    argo,
    first,
    flagger,
    hodges_lehmann,
    kayenta,
    lan_demets,
    z_peeking,
)
from benchmarks.decisions.run import OURS, OURS_ZERO, run_cell
from benchmarks.decisions.traffic import metric_plan
from benchmarks.generated import replace_section


def counts(p_c: float, p_s: float, runs: int = 3, per_minute: int = 200) -> Counts:
    rng = np.random.default_rng(1)
    n = np.full((MINUTES, runs), float(per_minute))
    x_c, x_s = (
        rng.binomial(per_minute, p_c, n.shape).astype(float),
        rng.binomial(per_minute, p_s, n.shape).astype(float),
    )
    return Counts(n, x_c, x_c, n, x_s, x_s, 0.05, 1.5, 0.01)


@pytest.mark.parametrize(
    ("times", "alpha", "published"),
    [
        # Reboussin, DeMets, Kim & Lan, "Computations for group sequential boundaries using the Lan-DeMets spending
        # function method" (2000): five looks, one-sided .025.
        ((0.2, 0.4, 0.6, 0.8, 1.0), 0.025, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        # One look is the test of a fixed size; what is spent at half the information is 2 - 2 Phi(2.2414 / sqrt(.5)).
        ((1.0,), 0.025, (1.9600,)),
        ((0.5, 1.0), 0.025, (2.9626, 1.9686)),
    ],
)
def test_the_boundaries_of_lan_and_demets_are_the_published_ones(
    times: tuple[float, ...], alpha: float, published: tuple[float, ...]
) -> None:
    assert lan_demets(times, alpha) == pytest.approx(published, abs=2e-4)


def test_the_boundaries_spend_what_they_should_over_the_ramps_uneven_looks() -> None:
    # A Brownian motion at the ramp's information times crosses with probability .05 in all.
    share = np.repeat([0.01, 0.05, 0.25, 0.5], 6)
    times = np.cumsum(share * (1.0 - share))
    times /= times[-1]
    bounds = np.array(lan_demets(tuple(times.tolist()), 0.05))
    steps = np.random.default_rng(3).normal(size=(200_000, 24)) * np.sqrt(np.diff(times, prepend=0.0))
    crossed = (np.cumsum(steps, axis=1) / np.sqrt(times) > bounds).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 200_000))


def test_a_rule_stops_at_the_first_look_that_says_so() -> None:
    crossed = np.zeros((4, 3), dtype=bool)
    crossed[2, 0] = crossed[3, 0] = crossed[1, 1] = True
    assert first(crossed, np.array([9, 19, 29, 39])).tolist() == [29, 19, MINUTES]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_finds_a_disaster(name: str) -> None:
    assert (RULES[name](counts(0.5, 0.02)) < MINUTES).all()


def test_thresholds_count_failures_over_the_whole_run() -> None:
    # Argo fails at the fourth bad measurement (20 minutes), Flagger at the fifth bad minute.
    assert argo(counts(0.5, 0.02)).tolist() == [19, 19, 19]
    assert flagger(counts(0.5, 0.02)).tolist() == [4, 4, 4]
    assert (argo(counts(0.001, 0.02)) == MINUTES).all()
    assert (flagger(counts(0.001, 0.02)) == MINUTES).all()


def test_kayenta_passes_an_equal_candidate_and_looks_hourly() -> None:
    assert (kayenta(counts(0.02, 0.02)) == MINUTES).all()
    assert kayenta(counts(0.06, 0.02)).tolist() == [59, 59, 59]


def test_the_interval_of_mann_and_whitney_is_that_of_kayentas_own_suite() -> None:
    # spinnaker/kayenta, MannWhitneySuite.scala: confidence .95, interval (6, 39), estimate 22.5. A gap changes nothing.
    stable, candidate = (np.array([[v, v] for v in values]) for values in ((1, 2, 3, 4), (10, 20, 30, 40)))
    gap = np.array([[np.nan, np.nan]])
    for arms in ((candidate, stable), (np.vstack([gap, candidate]), np.vstack([stable, gap]))):
        found = hodges_lehmann(arms[0].astype(float), arms[1].astype(float), 0.95)
        assert [part.tolist() for part in found] == [[6.0, 6.0], [22.5, 22.5], [39.0, 39.0]]


def test_peeking_looks_at_every_minute() -> None:
    assert (z_peeking(counts(0.1, 0.02)) <= 1).all()


def test_the_grid_has_harmless_cells_of_every_metric_traffic_and_world_with_2000_runs() -> None:
    cells = list(grid())
    assert len({cell.name for cell in cells}) == len(cells)
    harmless = {(c.metric, c.world, c.traffic): runs_of(c, quick=False) for c in cells if c.harmless}
    for traffic in TRAFFIC:
        for metric in ("events", "score", "latency"):
            assert harmless[metric, "plain", traffic] == 2000
            assert harmless[metric, "drift", traffic] == 2000
        for metric in ("events", "score"):
            assert harmless[metric, "correlated", traffic] >= (500 if traffic == "10 rps" else 2000)


def test_the_quick_form_has_every_metric_and_no_late_onset() -> None:
    cells = [cell for cell in grid() if is_quick(cell)]
    for harmless in (True, False):
        some = [c for c in cells if c.harmless == harmless]
        assert {c.metric for c in some} == {"events", "score", "latency"}
    assert not any(c.onset for c in cells)


def test_the_bound_is_infinite_where_a_day_cannot_decide() -> None:
    slow, fast = Cell("events", "1K/day", "plain", 1.5), Cell("events", "10 rps", "plain", 3.0)
    assert bound(slow, metric_plan(slow, zero=False)) == float("inf")
    assert 0 < bound(fast, metric_plan(fast, zero=True)) < bound(fast, metric_plan(fast, zero=False)) < 1e4


@pytest.fixture(scope="module")
def data():
    cells = [Cell("events", "100K/day", "plain"), Cell("events", "100K/day", "plain", 5.0)]
    return {"seed": 1, "cells": [run_cell(cell, 20, 1) for cell in cells]}


def test_a_cell_compares_all_methods_on_the_same_traffic(data: dict) -> None:
    harmless, harmful = data["cells"]
    assert set(harmful["methods"]) >= {OURS, OURS_ZERO, *RULES}
    assert harmful["methods"][OURS]["stopped"] == 20
    assert harmful["methods"][OURS_ZERO]["exposed_mean"] < harmful["methods"][OURS]["exposed_mean"] < 500
    assert harmless["methods"]["Flagger, 5 failed checks"]["stopped"] == 20
    assert harmless["methods"][OURS]["stopped"] <= 2


def test_the_last_line_and_the_tables_come_from_the_results(data: dict) -> None:
    line = report.last_line(data)
    assert line.startswith("decisions: false_rollback_max=0.")
    assert " vs_oracle_mean=1." in line
    assert " vs_oracle_max=1." in line
    for name in ("targets", "false rollbacks", "events", "rivals"):
        assert OURS in report.SECTIONS[name](data) or name in ("targets", "events")
    assert "| met |" in report.target_table(data)


def test_a_section_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb"
    assert replace_section(text, "x", "new") == "a\n<!-- generated: x -->\nnew\n<!-- end: x -->\nb"
    with pytest.raises(ValueError, match="no section"):
        replace_section(text, "y", "new")


def test_the_table_of_correlated_requests_shows_rates_and_costs() -> None:
    methods = {"naive": {"stopped": 5, "candidates_median": 80.0}}
    rows = [
        {"name": "harmless", "traffic": "10K/day", "runs": 10, "harmless": True, "methods": methods},
        {"name": "bad", "traffic": "10K/day", "runs": 5, "harmless": False, "methods": methods},
    ]
    shown = table({"rows": rows})
    assert "| harmless, 10K/day (10 runs) | 50.0 % |" in shown
    assert "| bad, 10K/day (5 runs) | 80 (100 %) |" in shown


def test_results_of_an_engine_with_other_weights_are_not_gone_on_with(tmp_path: Path) -> None:
    cell = {"name": next(grid()).name, "runs": 5}
    output = tmp_path / "decisions.json"
    output.write_text(json.dumps({"engine": parameters(), "cells": [cell, {"name": "no longer asked for"}]}))
    assert earlier(output) == {cell["name"]: cell}
    output.write_text(json.dumps({"engine": {**parameters(), "onset": [0.75, 2.0, 1e4]}, "cells": [cell]}))
    assert earlier(output) == {}
    assert earlier(tmp_path / "none.json") == {}
