"""Run one cell: the same traffic for all methods."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import MINUTES, Cell
from benchmarks.decisions.oracle import Oracle, bound
from benchmarks.decisions.ours import Ours
from benchmarks.decisions.rivals import RULES, Counts
from benchmarks.decisions.traffic import EDGES, metric_plan, stream

Array = NDArray[np.float64]
Stops = NDArray[np.int64]

OURS, OURS_ZERO = "this engine", "this engine, no margin"
ORACLE, ORACLE_ZERO = "SPRT oracle", "SPRT oracle, no margin"
#: Runs that share a pass over the minutes: bounded by memory.
_AT_A_TIME = 500


#: What one outcome of each level is worth to the rivals: bad or not, badness of the score, seconds of latency.
VALUES = {
    "events": np.array([0.0, 1.0]),
    "score": np.linspace(0.0, 1.0, 21),
    "latency": np.array([*EDGES, EDGES[-1] * 1.19]) / 2.0**0.125,
}
#: Their users' thresholds: a fixed mean that is called bad, a multiple of stable's, half an effect worth finding.
LIMITS = {"events": (0.05, 1.5, 0.01), "score": (0.25, 1.2, 0.02), "latency": (1.5, 1.2, 0.1)}


@dataclass(frozen=True)
class Figures:
    """How one method did in one cell; minutes and requests are counted from the onset."""

    runs: int
    stopped: int  #: rolled back (for a harmless candidate: false rollbacks)
    early: int  #: rolled back before the onset
    exposed_mean: float | None
    exposed_p90: float | None
    minutes_median: float | None


def run_cell(cell: Cell, runs: int, seed: int) -> dict[str, object]:
    """All methods in one cell; a JSON-able record."""
    stops: dict[str, list[Stops]] = {}
    exposed: dict[str, list[Array]] = {}
    for batch, begin in enumerate(range(0, runs, _AT_A_TIME)):
        size = min(_AT_A_TIME, runs - begin)
        found, requests = _batch(cell, size, np.random.default_rng([seed, batch, *cell.name.encode()]))
        seen = np.cumsum(requests, axis=0)
        before = seen[cell.onset - 1] if cell.onset else np.zeros(size)
        for name, stop in found.items():
            stops.setdefault(name, []).append(stop)
            last = seen[np.minimum(stop, MINUTES - 1), np.arange(size)]
            exposed.setdefault(name, []).append(last - before)
    methods = {
        name: vars(_figures(cell, np.concatenate(some), np.concatenate(exposed[name])))
        for name, some in stops.items()
    }
    bounds = {
        name: _finite(bound(cell, metric_plan(cell, zero=zero))) if not cell.harmless else None
        for name, zero in ((OURS, False), (OURS_ZERO, True))
    }
    return {**vars(cell), "name": cell.name, "runs": runs, "bound": bounds, "methods": methods}


def _batch(cell: Cell, runs: int, rng: np.random.Generator) -> tuple[dict[str, Stops], Array]:
    traffic = stream(cell, runs, rng)
    ours = {OURS: Ours(metric_plan(cell, zero=False), traffic.past)}
    ours[OURS_ZERO] = Ours(metric_plan(cell, zero=True), traffic.past)
    oracles: dict[str, Oracle] = {}
    if not cell.harmless:
        oracles[ORACLE] = Oracle(cell, metric_plan(cell, zero=False), runs)
        oracles[ORACLE_ZERO] = Oracle(cell, metric_plan(cell, zero=True), runs)
    worth = VALUES[cell.metric]
    kept = np.zeros((6, MINUTES, runs), dtype=np.float32)
    for minute in traffic:
        for i, arm in enumerate((0, 1)):
            levels = minute.counted.levels[:, arm]
            for j, values in enumerate((np.ones_like(worth), worth, worth * worth)):
                kept[3 * i + j, minute.number] = levels @ values
        for method in (*ours.values(), *oracles.values()):
            method.take(minute)
    found: dict[str, Stops] = {name: method.stop for name, method in ours.items()}
    counts = Counts(*kept, *LIMITS[cell.metric])
    found |= {name: rule(counts) for name, rule in RULES.items()}
    requests = kept[0]
    for name, oracle in oracles.items():
        found[name] = _best(oracle, requests)
    return found, requests


def _best(oracle: Oracle, requests: Array) -> Stops:
    """The bet with the fewest exposed requests on average."""
    seen = np.cumsum(requests, axis=0)
    places = np.minimum(oracle.stops, MINUTES - 1)
    means = [seen[place, np.arange(requests.shape[1])].mean() for place in places]
    best: Stops = oracle.stops[int(np.argmin(means))]
    return best


def _figures(cell: Cell, stops: Stops, exposed: Array) -> Figures:
    stopped = stops < MINUTES
    early = stopped & (stops < cell.onset)
    true = stopped & ~early
    if cell.harmless:
        return Figures(len(stops), int(stopped.sum()), 0, None, None, None)
    # A run stopped before the onset exposed nobody; it is a false rollback, and left out of what a true one cost.
    counted = exposed[~early]
    return Figures(
        len(stops),
        int(true.sum()),
        int(early.sum()),
        _finite(float(counted.mean()) if counted.size else math.nan),
        _finite(float(np.quantile(counted, 0.9)) if counted.size else math.nan),
        _finite(float(np.median(stops[true] - cell.onset) + 1) if true.any() else math.nan),
    )


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None
