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
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import BASE_RATE, MINUTES, TRAFFIC
from benchmarks.decisions.conversations import Habits, Talks, Tally, geometric, talks
from benchmarks.decisions.ours import Ours
from benchmarks.decisions.traffic import Minute
from benchmarks.generated import replace_section
from promptrollout.analysis import Correlation, CorrelationBasis, MetricOptions, events_metric
from promptrollout.analysis.kinds.base import HEADER
from promptrollout.analysis.kinds.event import UNITS_HARM
from promptrollout.analysis.mixture import log_e

Array = NDArray[np.float64]
Places = NDArray[np.int64]

RESULT = Path(__file__).parent / "results" / "correlated.json"
DOCS = Path(__file__).parents[1] / "docs" / "evidence-benchmark.md"
SEED = 7_051_971
HISTORY_HOURS = 6
#: Runs that share a pass over the minutes: bounded by memory.
_AT_A_TIME = 500
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

    @property
    def harmless(self) -> bool:
        """On the margin or below it: 2.5 % is what the default line allows at 2 %."""
        return self.candidate <= 0.025 + 1e-12


def rows() -> Iterator[Row]:
    """Those first that say most about what is promised."""
    yield Row("on the margin", "10K/day", 1000, 0.025)
    yield Row("on the margin", "100K/day", 1000, 0.025)
    yield Row("harmless", "10K/day", 1000)
    yield Row("harmless", "100K/day", 1000)
    yield Row("2 to 10 %", "10K/day", 200, 0.10)
    yield Row("2 to 4 %", "100K/day", 200, 0.04)
    yield Row("on the margin", "10 rps", 500, 0.025)
    yield Row("candidate more correlated (.4 against .05)", "100K/day", 300, icc=0.05, candidate_icc=0.4)
    yield Row("candidate less correlated (.05 against .4)", "100K/day", 300, icc=0.4, candidate_icc=0.05)
    for traffic in ("10K/day", "100K/day"):
        for name, icc, runs in (("more", (0.05, 0.4), 1500), ("less", (0.4, 0.05), 300)):
            what = f"on the margin, candidate {name} correlated"
            yield Row(what, traffic, runs, 0.025, icc=icc[0], candidate_icc=icc[1])
    yield Row("on the margin, correlation .4", "10K/day", 500, 0.025, icc=0.4)
    yield Row("on the margin, correlation .4", "100K/day", 300, 0.025, icc=0.4)
    yield Row("on the margin, heavy conversations", "10K/day", 500, 0.025, heavy=True)
    yield Row("on the margin, heavy conversations", "100K/day", 300, 0.025, heavy=True)
    yield Row("on the margin, conversations of hours", "100K/day", 300, 0.025, pause=(900.0, 3600.0))
    yield Row("independent, on the margin", "10K/day", 500, 0.025, icc=0.0)
    yield Row("harmless", "10 rps", 200)
    yield Row("2 to 4 %", "10 rps", 100, 0.04)


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


def habits(row: Row) -> Habits:
    return Habits(TRAFFIC[row.traffic], MEAN, _heavy if row.heavy else geometric(MEAN), row.pause)


def made(row: Row, runs: int, rng: np.random.Generator) -> Tally:
    """Conversations with beta-binomial errors, and first events as P pods see them."""
    icc = (row.icc if row.candidate_icc is None else row.candidate_icc, row.icc)
    rates = (row.candidate, BASE_RATE)

    def level_of(some: Talks, arm: Places) -> Places:
        drawn = [_propensities(rng, p, rho, len(some.run)) for p, rho in zip(rates, icc, strict=True)]
        chance = np.where(arm == 0, drawn[0][some.unit], drawn[1][some.unit])
        return (rng.random(len(arm)) < chance).astype(np.int64)

    tally = Tally(runs, HISTORY_HOURS, np.array([0.0, 1.0]), PODS)
    for some in talks(habits(row), runs, tally.span, rng):
        tally.add(some, level_of, rng)
    return tally


def _propensities(rng: np.random.Generator, rate: float, icc: float, count: int) -> Array:
    if icc <= 0.0:
        return np.full(count, rate)
    size = 1.0 / icc - 1.0
    drawn: Array = rng.beta(rate * size, (1.0 - rate) * size, count)
    return drawn


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


def methods(row: Row, tally: Tally) -> dict[int | None, dict[str, Ours]]:
    """All methods, by the pods that first events are counted by."""
    phi = 1.0 + (sizes(row) - 1.0) * max(row.icc, row.candidate_icc or 0.0)

    def ours(correlation: Correlation, pods: int | None, kind: type[Ours] = Ours) -> Ours:
        metric = events_metric("errors", options=MetricOptions(correlation=correlation))
        return kind(metric, tally.past(metric, pods))

    by_requests = {
        NAIVE: ours(Correlation.independent(), None),
        KNOWN: ours(Correlation(CorrelationBasis.Declared, phi=phi), None),
        DECLARED: ours(Correlation.assumed(), None),
        BY_CLUSTER: ours(Correlation.clusters(), None),
    }
    units = Correlation.clusters(units=True)
    by_first = {
        pods: {by_units(pods): ours(units, pods, UnitsAlone), both(pods): ours(units, pods)} for pods in PODS
    }
    return {None: by_requests, **by_first}


def run_row(row: Row) -> dict[str, Any]:
    """All methods in one world."""
    stops: dict[str, list[Places]] = {}
    exposed: list[Array] = []
    for batch, start in enumerate(range(0, row.runs, _AT_A_TIME)):
        runs = min(_AT_A_TIME, row.runs - start)
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
    tally = made(row, runs, rng)
    found = methods(row, tally)
    requests = np.zeros((MINUTES, runs))
    for number in range(MINUTES):
        for pods, some in found.items():
            minute = Minute(number, tally.minute(number, pods), requests)
            for method in some.values():
                method.take(minute)
        requests[number] = tally.minute(number, None).levels[:, 0].sum(axis=1)
    return {name: method for some in found.values() for name, method in some.items()}, requests


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
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further row after so long")
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
    until = time.monotonic() + 60.0 * args.minutes
    for row in rows():
        key = f"{row.name} {row.traffic}"
        row = replace(row, runs=min(row.runs, args.most))  # noqa: PLW2901 - the same row, fewer runs
        if args.only not in row.name or (key in found and found[key]["runs"] >= row.runs):
            continue
        if time.monotonic() > until:
            break
        began = time.perf_counter()
        found[key] = run_row(row)
        print(f"{key}: {row.runs} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        args.output.write_text(json.dumps(results(found), indent=1) + "\n")
    if args.output == RESULT:
        return write_docs(results(found), check=False)
    return 0


def results(found: Mapping[str, Any]) -> dict[str, Any]:
    """The results file: its rows in order, those that are no longer asked for left out."""
    keys = (f"{row.name} {row.traffic}" for row in rows())
    return {"seed": SEED, "rows": [found[key] for key in keys if key in found]}


if __name__ == "__main__":
    sys.exit(main())
