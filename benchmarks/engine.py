"""What a tick of the analysis costs: 1,000 active rollouts with six metrics each, one window of each folded.

    python -m benchmarks.engine [--output benchmarks/results/engine.json]

Two mixes: `presets`, the six metrics of the SDK as the operator plans them (61 latency buckets, first-event-per-unit
counters), and `kinds`, one metric of every kind with 12 buckets. The figure is the median tick of the faster half:
other work on the machine can only add to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from promptrollout.analysis import (
    AnalysisPlan,
    ArmRequests,
    EventCounts,
    Evidence,
    FoldItem,
    HistogramCounts,
    MetricKind,
    MetricOptions,
    MetricPlan,
    Pair,
    Role,
    SumCounts,
    Window,
    events_metric,
    fold_many,
    histogram_counts,
    histogram_metric,
    paired_metric,
    score_counts,
    score_metric,
    sum_metric,
)
from promptrollout.analysis.counts import Counts, PairedCounts
from promptrollout.api.spec import Analysis
from promptrollout.sources.planning import Planned, plan_of

RESULT = Path(__file__).parent / "results" / "engine.json"
ROLLOUTS, TICKS, WARM = 1000, 24, 4
#: Candidate and stable requests of a window: 10 % of some 400,000 requests a day, at 30 s.
REQUESTS = (15, 135)


def presets_plan() -> AnalysisPlan:
    names = ("errors", "score", "latency", "ttft", "tokens", "cost")
    metrics = [
        {"name": n, "preset": f"sdk/{n}", **({"score": "helpful"} if n == "score" else {})} for n in names
    ]
    planned = plan_of(Analysis.model_validate({"metrics": metrics}))
    assert isinstance(planned, Planned)
    return planned.plan


def kinds_plan() -> AnalysisPlan:
    required = MetricOptions(role=Role.Required)
    edges = tuple(float(e) for e in np.geomspace(0.1, 10.0, 12))
    return AnalysisPlan(
        (
            events_metric("errors", options=required),
            events_metric("resolved", options=replace(required, higher_is_better=True)),
            score_metric("helpful", options=required),
            histogram_metric("latency", edges, options=required),
            sum_metric("cost", options=required),
            paired_metric("shadow", options=required),
        )
    )


def counts(metric: MetricPlan, n: int, rng: np.random.Generator) -> Counts:
    match metric.kind:
        case MetricKind.Events:
            return EventCounts(float(n), float(rng.binomial(n, 0.02)))
        case MetricKind.Score:
            return score_counts(rng.beta(8, 2, n).tolist())
        case MetricKind.Histogram:
            return histogram_counts(rng.lognormal(0.0, 0.5, n).tolist(), metric.edges)
        case MetricKind.Sum:
            return SumCounts(float(n), float(rng.gamma(2.0, 2.0, n).sum()))
        case MetricKind.Paired:
            values = rng.uniform(-0.3, 0.3, n)
            return PairedCounts(float(n), float(values.sum()), float((values**2).sum()))


def window(plan: AnalysisPlan, rng: np.random.Generator) -> Window:
    n_c, n_s = (int(n) for n in rng.poisson(REQUESTS))
    pairs = {}
    for metric in plan.metrics:
        candidate, stable = (counts(metric, n, rng) for n in (n_c, n_s))
        units = (candidate, stable) if metric.correlation.units else (None, None)
        assert not isinstance(candidate, HistogramCounts) or len(candidate.buckets) > 1
        pairs[metric.name] = Pair(candidate, stable, *units)  # type: ignore[arg-type]
    return Window(0.0, 30.0, 1, 1000, pairs, requests=ArmRequests(n_c, n_s))


def ticks(plan: AnalysisPlan) -> list[float]:
    """Milliseconds of each tick."""
    rng = np.random.default_rng(1)
    seed = {m.name: counts(m, 5000, rng) for m in plan.metrics if m.kind is not MetricKind.Paired}
    evidence = [Evidence.initial(plan, seed)] * ROLLOUTS
    windows = [window(plan, rng) for _ in range(ROLLOUTS)]
    spent = []
    for number in range(WARM + TICKS):
        start = 30.0 * number
        moved = [replace(w, start=start, end=start + 30.0) for w in windows]
        batch = [FoldItem(plan, e, (w,)) for e, w in zip(evidence, moved, strict=True)]
        began = time.process_time()
        evidence = fold_many(batch)
        spent.append(1e3 * (time.process_time() - began))
    return spent[WARM:]


def imports() -> float:
    """Seconds that `import promptrollout.analysis` takes in a new process; it must not need scipy.optimize."""
    code = (
        "import time; a=time.perf_counter(); import promptrollout.analysis; "
        "print(time.perf_counter()-a, __import__('sys').modules.get('scipy.optimize') is not None)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(5)
    ]
    assert all(optimize == "False" for _, optimize in runs), "scipy.optimize is imported at start-up"
    return min(float(seconds) for seconds, _ in runs)


def measure() -> dict[str, object]:
    found: dict[str, object] = {}
    for name, plan in (("presets", presets_plan()), ("kinds", kinds_plan())):
        spent = sorted(ticks(plan))
        half = spent[: len(spent) // 2]
        found[name] = {
            "median_ms": round(statistics.median(spent), 1),
            "quiet_ms": round(statistics.median(half), 1),
            "fastest_ms": round(spent[0], 1),
            "metrics": [f"{m.name} ({m.kind.value}, {m.role.value})" for m in plan.metrics],
        }
    return {
        "rollouts": ROLLOUTS,
        "metrics": 6,
        "requests_per_window": list(REQUESTS),
        "ticks": TICKS,
        "mixes": found,
        "import_seconds": round(imports(), 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a tick of the analysis costs.")
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    result = measure()
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    mixes = result["mixes"]
    assert isinstance(mixes, dict)
    figures = " ".join(f"{name}_ms={mix['quiet_ms']}" for name, mix in mixes.items())
    print(f"engine: {figures} import_s={result['import_seconds']}")


if __name__ == "__main__":
    main()
