"""Run the grid.

    python -m benchmarks.decisions [--quick] [--only TEXT] [--minutes N] [--check] [--output FILE]

Every cell's figures are kept in the results file as soon as they are there: a run that was stopped goes on where it
stood (`--again` starts anew). The last line names the worst false rollback and the cost against the oracle.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.decisions.cells import Cell, grid, is_quick, runs_of
from benchmarks.decisions.report import last_line, write_docs
from benchmarks.decisions.run import run_cell
from promptrollout.analysis.mixture import (
    BOUNDED,
    CLOCK_END,
    CLOCK_UNIT,
    EVENTS_DOWN,
    EVENTS_UP,
    STARTING_MASS,
)

RESULT = Path(__file__).parent.parent / "results" / "decisions.json"
SEED = 20_261_124


def parameters() -> dict[str, object]:
    """What the engine's weights were: results of other weights are not this engine's."""
    grids = {"eventsUp": EVENTS_UP, "eventsDown": EVENTS_DOWN, "bounded": BOUNDED}
    return {
        "onset": [STARTING_MASS, CLOCK_UNIT, CLOCK_END],
        **{
            name: [round(float(v), 9) for v in (*grid.values, *np.exp(grid.log_weights))]
            for name, grid in grids.items()
        },
    }


def chosen(only: str, *, quick: bool) -> list[Cell]:
    return [cell for cell in grid() if only in cell.name and (is_quick(cell) or not quick)]


def earlier(output: Path | None) -> dict[str, dict[str, object]]:
    """Cells that a results file has from this engine."""
    if output is None or not output.exists():
        return {}
    data = json.loads(output.read_text())
    if data.get("engine") != parameters():
        print("the results file is of an engine with other weights: it is begun anew", file=sys.stderr)
        return {}
    known = {cell.name for cell in grid()}
    return {cell["name"]: cell for cell in data["cells"] if cell["name"] in known}


def main() -> int:
    parser = argparse.ArgumentParser(description="This engine's decisions and those of other tools' rules.")
    parser.add_argument("--quick", action="store_true", help="some minutes, fewer runs; nothing is written")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--most", type=int, default=2000, help="at most so many runs a cell")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further cell after so long")
    parser.add_argument("--again", action="store_true", help="forget the cells that the results file has")
    parser.add_argument(
        "--check", action="store_true", help="fail where the docs are not what the results say"
    )
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.check:
        return write_docs(json.loads(RESULT.read_text()), check=True)
    output = args.output or (None if args.quick else RESULT)
    found = {} if args.again else earlier(output)
    cells, until = chosen(args.only, quick=args.quick), time.monotonic() + 60.0 * args.minutes
    for cell in cells:
        runs = min(runs_of(cell, quick=args.quick), args.most)
        if cell.name in found and int(str(found[cell.name]["runs"])) >= runs:
            continue
        if time.monotonic() > until:
            break
        began = time.perf_counter()
        found[cell.name] = run_cell(cell, runs, SEED)
        print(f"{cell.name}: {runs} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if output:
            # Another run may have written other cells meanwhile.
            beside = {} if args.again else earlier(output)
            found = {**found, **beside, cell.name: found[cell.name]}
            output.write_text(json.dumps(results(found), indent=1) + "\n")
    if output == RESULT and any(cell.harmless for cell in cells if cell.name in found):
        write_docs(results(found), check=False)
    print(last_line(results(found)))
    return 0


def results(found: Mapping[str, dict[str, object]]) -> dict[str, object]:
    """The results file: its cells in the grid's order."""
    return {
        "seed": SEED,
        "engine": parameters(),
        "cells": [found[cell.name] for cell in grid() if cell.name in found],
    }


if __name__ == "__main__":
    sys.exit(main())
