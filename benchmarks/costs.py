"""The tables of costs in the documents, from benchmarks/results: `python -m benchmarks.costs [--check]`.

`make bench-footprint`, `bench-latency`, `bench-propagation` and `bench-sdk` write the results and then these tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generated import replace_section

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Results = Mapping[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; figures stand at the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def footprint(found: Results) -> str:
    """Memory, CPU, requests and queries of each phase."""
    phases = found["phases"]
    wide = {
        "nothing to do": "no rollouts",
        "idle": "{n} rollouts, idle",
        "active": "all {n} on trial",
        "many": "{n} on trial",
    }
    head = ["", *(wide[phase["name"]].format(n=phase["rollouts"]) for phase in phases)]
    each = [f"{p['api_requests_per_min'] / p['rollouts']:.1f}" if p["rollouts"] else "-" for p in phases]
    return table(
        head,
        [
            ["memory (RSS), MiB", *(f"{phase['rss_mib']:.1f}" for phase in phases)],
            [
                "… what others share counted in part (PSS), MiB",
                *(f"{phase['pss_mib']:.1f}" for phase in phases),
            ],
            ["CPU seconds a minute", *(f"{phase['cpu_s_per_min']:.2f}" for phase in phases)],
            ["requests to the API server a minute and rollout, watches not counted", *each],
            [
                "queries to Prometheus a minute, all rollouts together",
                *(f"{phase['prometheus_queries_per_min']:.1f}" for phase in phases),
            ],
        ],
    )


PARTS = {
    "window_to_readable": "window's end -> its data read",
    "readable_to_decided": "data read -> decided",
    "readable_to_status_written": "data read -> a watcher has the status",
    "readable_to_written": "data read -> ConfigMap written",
    "written_to_acknowledged": "ConfigMap written -> last pod has loaded it",
    "readable_to_acknowledged": "data read -> last pod has loaded it",
}


def latency(found: Results) -> str:
    """The parts of a rollback, in milliseconds."""
    parts = found["parts"]
    head = [f"{found['rollbacks']} rollbacks, milliseconds", "median", "p99", "worst"]
    return table(
        head,
        [
            [title, *(str(parts[name][f"{which}_ms"]) for which in ("median", "p99", "worst"))]
            for name, title in PARTS.items()
        ],
    )


LAGS = {
    "rollback": "a rollback's decision -> file in each container",
    "file": "ConfigMap written -> file in each container",
    "acknowledged": "ConfigMap written -> last pod has loaded it",
}


def propagation(found: Results) -> str:
    """By delivery mode, in seconds."""
    columns = ("median_s", "p90_s", "worst_s")
    rows = [
        [f"`{mode}`, {title}", *(f"{lags[name][column]:.2f}" for column in columns), str(lags[name]["n"])]
        for mode, lags in found["modes"].items()
        for name, title in LAGS.items()
        if name in lags
    ]
    return table([f"{found['pods']} pods, seconds", "median", "p90", "worst", "n"], rows)


CALLS = {
    "assign": "`assign(unit)`",
    "assign_pinned": "`assign(unit, pin)`",
    "request": "`request()` around nothing",
    "request_full": "… with first token, tokens, cost",
    "score": "`score`",
    "render": "`render`",
}


def sdk(found: Results) -> str:
    """What calls take, and what a rollout does."""
    python, typescript = found["python"], found["typescript"]
    rows = [
        [
            title,
            str(python[f"{name}_us"]),
            str(python.get(f"multiprocess_{name}_us", "")),
            str(typescript[f"{name}_us"]),
        ]
        for name, title in CALLS.items()
    ]
    waits = [f"{python['reload_request_max_ms']}", "", f"{typescript['reload_event_loop_max_ms']}"]
    rows += [
        ["one more rollout, KiB", str(python["memory_kib"]), "", str(typescript["memory_kib"])],
        ["500 KB loaded, ms", str(python["reload_500kb_ms"]), "", str(typescript["reload_500kb_ms"])],
        ["… the longest that a request took or the event loop stood meanwhile, ms", *waits],
    ]
    return table(["microseconds, median", "Python", "… several processes", "TypeScript"], rows)


COSTS = ROOT / "cost-analysis.md"
SECTIONS: Mapping[str, tuple[Path, Callable[[Results], str]]] = {
    "footprint": (COSTS, footprint),
    "latency": (COSTS, latency),
    "propagation": (COSTS, propagation),
    "sdk": (ROOT / "docs" / "sdk.md", sdk),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Tables of costs in the documents, from the results files.")
    parser.add_argument("--check", action="store_true", help="fail where a table is not what its results say")
    check = parser.parse_args().check
    stale = 0
    for name, (document, render) in SECTIONS.items():
        before = document.read_text()
        after = replace_section(before, name, render(json.loads((RESULTS / f"{name}.json").read_text())))
        if check and after != before:
            print(
                f"{document.name}: the table {name} is not what its results say: python -m benchmarks.costs",
                file=sys.stderr,
            )
            stale = 1
        elif not check:
            document.write_text(after)
    return stale


if __name__ == "__main__":
    sys.exit(main())
