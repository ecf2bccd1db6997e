"""Requests of one conversation are not independent: the table of the design notes, with fresh seeds.

    python -m benchmarks.correlated [--only TEXT] [--check]

Conversations of 8 requests on average (geometric; *heavy*: lognormal, sigma 1.3, at most 400) share a propensity
(beta-binomial errors, base 2 %, correlation .2), come as a Poisson process, pause 30 to 120 s between turns and keep
their arm; the ramp is 1/5/25/50 % for six hours each, after six hours of stable history. Every method is the product's
own engine; they differ in where the design effect comes from. Each row is kept in the results file when it is done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import BASE_RATE, MINUTES, TRAFFIC
from benchmarks.decisions.ours import Ours
from benchmarks.decisions.traffic import Minute, exposure, share
from benchmarks.generated import replace_section
from promptrollout.analysis import (
    ArmClusters,
    ClusterCounts,
    Correlation,
    EventCounts,
    History,
    MetricClusters,
    MetricOptions,
    events_metric,
)
from promptrollout.analysis.kinds.base import HEADER
from promptrollout.analysis.kinds.event import UNITS_HARM
from promptrollout.analysis.mixture import log_e
from promptrollout.analysis.plan import CorrelationBasis
from promptrollout.simulation import Traffic, World
from promptrollout.simulation.counting import Counted
from promptrollout.simulation.crowd import CLUSTERS, Crowd, Requests, until_first

Array = NDArray[np.float64]
Places = NDArray[np.int64]

RESULT = Path(__file__).parent / "results" / "correlated.json"
DOCS = Path(__file__).parents[1] / "docs" / "evidence-benchmark.md"
SEED = 7_051_971
HISTORY_HOURS = 6
MEAN = 8.0
#: Pods that requests of one conversation may go to: each knows only what it has seen of a unit.
PODS = (1, 20)
NAIVE, KNOWN, DECLARED, BY_CLUSTER = "naive", "known design effect", "declared 4", "R: clusters"


def by_units(pods: int) -> str:
    return f"U: first events, {pods} pod{'s' if pods > 1 else ''}"


def both(pods: int) -> str:
    return f"product: mean of R and U, {pods} pod{'s' if pods > 1 else ''}"


@dataclass(frozen=True)
class Row:
    """One world: error rates and correlations of both arms, and the runs to simulate."""

    name: str
    traffic: str
    runs: int
    candidate: float = BASE_RATE
    icc: float = 0.2
    candidate_icc: float | None = None
    pause: tuple[float, float] = (30.0, 120.0)
    heavy: bool = False
    drift: float = 1.0

    @property
    def harmless(self) -> bool:
        """On the margin or below it: 2.5 % is what the default line allows at 2 %."""
        return self.candidate <= 0.025 + 1e-12


def rows() -> Iterator[Row]:
    yield Row("on the margin", "10K/day", 300, 0.025)
    yield Row("2 to 10 %", "10K/day", 80, 0.10)
    yield Row("on the margin", "100K/day", 100, 0.025)
    yield Row("candidate more correlated (.4 against .05)", "100K/day", 100, icc=0.05, candidate_icc=0.4)
    yield Row("candidate less correlated (.05 against .4)", "100K/day", 60, icc=0.4, candidate_icc=0.05)
    yield Row("harmless", "10K/day", 300)
    yield Row("2 to 4 %", "100K/day", 40, 0.04)
    yield Row("on the margin, conversations of hours", "100K/day", 60, 0.025, pause=(900.0, 3600.0))
    yield Row("on the margin, correlation .4", "10K/day", 200, 0.025, icc=0.4)
    yield Row("on the margin, heavy conversations", "10K/day", 200, 0.025, heavy=True)
    yield Row("independent, on the margin", "10K/day", 200, 0.025, icc=0.0)
    yield Row("on the margin", "10 rps", 30, 0.025)


def sizes(row: Row) -> float:
    """E n^2 / E n of requests per unit."""
    if not row.heavy:
        return 2.0 * MEAN - 1.0
    drawn = _heavy(np.random.default_rng(1), 400_000).astype(float)
    return float((drawn**2).mean() / drawn.mean())


def _heavy(rng: np.random.Generator, count: int) -> Places:
    centre = np.log(MEAN) - 1.3**2 / 2.0
    turns: Places = np.clip(np.round(rng.lognormal(centre, 1.3, count)), 1, 400).astype(np.int64)
    return turns


class HeavyCrowd(Crowd):
    """Conversations whose lengths have a heavy tail."""

    def turns(self, count: int) -> Places:
        return _heavy(self._rng, count)


class Talk:
    """Conversations with beta-binomial errors: counts by minute, cluster sums, and first events as P pods see them."""

    def __init__(self, row: Row, runs: int, rng: np.random.Generator) -> None:
        self._row, self._runs, self._rng = row, runs, rng
        world = World(Traffic(TRAFFIC[row.traffic], requests_per_unit=MEAN, pause=row.pause))
        self._crowd = (HeavyCrowd if row.heavy else Crowd)(world, runs, 0, rng)
        self._chance = np.zeros((0, 2))  # candidate, stable
        self._affected = {pods: np.zeros(0, dtype=np.int8) for pods in PODS}
        self._block = Requests(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))

    def block(self, start: float, end: float) -> None:
        """Make the next stretch's requests."""
        self._block = self._crowd.block(start, end)
        new = len(self._crowd.units.bucket) - len(self._chance)
        row, drifted = self._row, 1.0 + (self._row.drift - 1.0) * max(start, 0.0) / 86_400.0
        icc = (row.icc if row.candidate_icc is None else row.candidate_icc, row.icc)
        rates = (row.candidate * drifted, BASE_RATE * drifted)
        drawn = [_propensities(self._rng, p, rho, new) for p, rho in zip(rates, icc, strict=True)]
        self._chance = np.concatenate([self._chance, np.stack(drawn, axis=1)])
        for pods, seen in self._affected.items():
            self._affected[pods] = np.concatenate([seen, np.full(new * pods, -1, dtype=np.int8)])

    def count(self, start: float, end: float, weight: float, step: int) -> tuple[Counted, dict[int, Counted]]:
        """Counts of [start, end); the second by pods, with first events."""
        low, high = np.searchsorted(self._block.at, (start, end))
        here = self._block.take(slice(int(low), int(high)))
        units, runs = self._crowd.units, self._runs
        arm = (units.bucket[here.unit] >= weight).astype(np.int64)
        bad = self._rng.random(len(arm)) < self._chance[here.unit, arm]
        place = (here.run * 2 + arm) * CLUSTERS + units.cluster[here.unit]
        shape, size = (runs, 2, CLUSTERS), runs * 2 * CLUSTERS
        n = np.bincount(place, minlength=size).reshape(shape).astype(float)
        x = np.bincount(place[bad], minlength=size).reshape(shape).astype(float)
        clusters = np.stack([n, x, x], axis=2)
        levels = np.stack([(n - x).sum(axis=2), x.sum(axis=2)], axis=2)
        plain = Counted(levels, (np.zeros(0), np.zeros(0)), None, clusters)
        found = {}
        for pods, affected in self._affected.items():
            own = here.unit * pods + self._rng.integers(0, pods, len(arm)) if pods > 1 else here.unit
            fresh = affected[own] != step
            first = fresh & until_first(own, fresh & bad)
            hit = first & bad
            affected[own[hit]] = step
            e = np.bincount(place[first], minlength=size).reshape(shape).astype(float)
            f = np.bincount(place[hit], minlength=size).reshape(shape).astype(float)
            of_units = np.stack([(e - f).sum(axis=2), f.sum(axis=2)], axis=2)
            found[pods] = Counted(levels, plain.values, of_units, clusters, np.stack([e, f], axis=2))
        return plain, found


def _propensities(rng: np.random.Generator, rate: float, icc: float, count: int) -> Array:
    if icc <= 0.0:
        return np.full(count, rate)
    size = 1.0 / icc - 1.0
    drawn: Array = rng.beta(rate * size, (1.0 - rate) * size, count)
    return drawn


def histories(talk: Talk, runs: int) -> tuple[list[History], dict[int, list[History]]]:
    """Six hours of stable: of requests, and with first events by pods."""
    hours = []
    for hour in range(-HISTORY_HOURS, 0):
        start = 3600.0 * hour
        talk.block(start, start + 3600.0)
        hours.append((start, *talk.count(start, start + 3600.0, 0.0, -2)))
    plain = [_history(run, [(s, p) for s, p, _ in hours]) for run in range(runs)]
    by_pods = {
        pods: [_history(run, [(s, p[pods]) for s, _, p in hours]) for run in range(runs)] for pods in PODS
    }
    return plain, by_pods


def _history(run: int, hours: list[tuple[float, Counted]]) -> History:
    total, units, blocks = np.zeros(2), np.zeros(2), []
    for start, counted in hours:
        assert counted.clusters is not None
        total += counted.levels[run, 1]
        mine = _clusters(counted.clusters[run, 1], start)
        of_units = None
        if counted.units is not None and counted.unit_clusters is not None:
            units += counted.units[run, 1]
            of_units = _clusters(counted.unit_clusters[run, 1], start)
        blocks.append(MetricClusters(mine, of_units))
    seen = EventCounts(float(units.sum()), float(units[1])) if units.any() else None
    return History(EventCounts(float(total.sum()), float(total[1])), seen, tuple(blocks))


def _clusters(sums: Array, start: float) -> ClusterCounts:
    stable = ArmClusters(tuple(sums[0].tolist()), tuple(sums[1].tolist()))
    return ClusterCounts(start, start + 3600.0, stable)


class UnitsAlone(Ours):
    """The same engine, but stopped by the unit process alone: what form U does by itself."""

    def take(self, minute: Minute) -> None:
        live = self._live
        if not live.size:
            return
        super().take(minute)
        own = HEADER + 2 * self.kind.columns
        crossed = log_e(self.rows[live, own:][:, UNITS_HARM]) >= self.plan.harm_threshold
        self.stop[live] = np.where(crossed, minute.number, MINUTES)
        self._live = live[~crossed]


def methods(row: Row, plain: list[History], pods: Mapping[int, list[History]]) -> dict[str, Ours]:
    phi = 1.0 + (sizes(row) - 1.0) * max(row.icc, row.candidate_icc or 0.0)

    def ours(correlation: Correlation, past: list[History], kind: type[Ours] = Ours) -> Ours:
        return kind(events_metric("errors", options=MetricOptions(correlation=correlation)), past)

    found = {
        NAIVE: ours(Correlation.independent(), plain),
        KNOWN: ours(Correlation(CorrelationBasis.Declared, phi=phi), plain),
        DECLARED: ours(Correlation.assumed(), plain),
        BY_CLUSTER: ours(Correlation.clusters(), plain),
    }
    for count, past in pods.items():
        found[by_units(count)] = ours(Correlation.clusters(units=True), past, UnitsAlone)
        found[both(count)] = ours(Correlation.clusters(units=True), past)
    return found


def run_row(row: Row) -> dict[str, Any]:
    """All methods in one world."""
    stops: dict[str, list[Places]] = {}
    exposed: list[Array] = []
    hourly = 3600.0 * TRAFFIC[row.traffic]
    size = int(min(max(4e6 / (3.0 * hourly), 10), 250))
    for batch, start in enumerate(range(0, row.runs, size)):
        runs = min(size, row.runs - start)
        rng = np.random.default_rng([SEED, batch, *f"{row.name}{row.traffic}".encode()])
        found, requests = _batch(row, runs, rng)
        exposed.append(requests)
        for name, method in found.items():
            stops.setdefault(name, []).append(method.stop)
    seen = np.cumsum(np.concatenate(exposed, axis=1), axis=0)
    figures = {}
    for name, some in stops.items():
        stop = np.concatenate(some)
        stopped = stop < MINUTES
        spent = seen[np.minimum(stop, MINUTES - 1), np.arange(len(stop))][stopped]
        figures[name] = {
            "stopped": int(stopped.sum()),
            "candidates_median": float(np.median(spent)) if stopped.any() else None,
        }
    return {**asdict(row), "harmless": row.harmless, "methods": figures}


def _batch(row: Row, runs: int, rng: np.random.Generator) -> tuple[dict[str, Ours], Array]:
    talk = Talk(row, runs, rng)
    found = methods(row, *histories(talk, runs))
    requests = np.zeros((MINUTES, runs))
    for number in range(MINUTES):
        start = 60.0 * number
        if number % 60 == 0:
            talk.block(start, start + 3600.0)
        plain, by_pods = talk.count(start, start + 60.0, share(number), exposure(number))
        requests[number] = plain.levels[:, 0].sum(axis=1)
        for pods, counted in by_pods.items():
            for name in (by_units(pods), both(pods)):
                found[name].take(Minute(number, counted, requests))
        for name in (NAIVE, KNOWN, DECLARED, BY_CLUSTER):
            found[name].take(Minute(number, plain, requests))
    return found, requests


def table(data: Mapping[str, Any]) -> str:
    """False rollbacks of harmless candidates, and the cost of finding bad ones."""
    done = data["rows"]
    names = list(done[0]["methods"])
    parts = []
    for harmless in (True, False):
        some = [row for row in done if row["harmless"] == harmless]
        head = ["rolled back" if harmless else "candidate requests, median (found)", *names]
        lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * len(names)]
        for row in some:
            cells = [f"{row['name']}, {row['traffic']} ({row['runs']} runs)"]
            for name in names:
                figures = row["methods"][name]
                rate = figures["stopped"] / row["runs"]
                median = figures["candidates_median"]
                shown = f"{100 * rate:.1f} %"
                if not harmless:
                    shown = "-" if median is None else f"{median:,.0f} ({100 * rate:.0f} %)"
                cells.append(shown)
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write_docs(data: Mapping[str, Any], *, check: bool) -> int:
    before = DOCS.read_text()
    after = replace_section(before, "correlated", table(data))
    if check and after != before:
        print(
            "docs/evidence-benchmark.md is not what its results say: run make bench-correlated",
            file=sys.stderr,
        )
        return 1
    if not check:
        DOCS.write_text(after)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="False rollbacks and cost where requests are correlated.")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--most", type=int, default=2000, help="at most so many runs a row")
    parser.add_argument("--again", action="store_true", help="forget the rows that the results file has")
    parser.add_argument(
        "--check", action="store_true", help="fail where the docs are not what the results say"
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    if args.check:
        return write_docs(json.loads(RESULT.read_text()), check=True)
    found: dict[str, Any] = {}
    if args.output.exists() and not args.again:
        found = {f"{r['name']} {r['traffic']}": r for r in json.loads(args.output.read_text())["rows"]}
    for row in rows():
        key = f"{row.name} {row.traffic}"
        row = replace(row, runs=min(row.runs, args.most))  # noqa: PLW2901 - the same row, fewer runs
        if args.only not in row.name or (key in found and found[key]["runs"] >= row.runs):
            continue
        began = time.perf_counter()
        found[key] = run_row(row)
        print(f"{key}: {row.runs} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        args.output.write_text(json.dumps({"seed": SEED, "rows": list(found.values())}, indent=1) + "\n")
    if args.output == RESULT:
        return write_docs({"rows": list(found.values())}, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
