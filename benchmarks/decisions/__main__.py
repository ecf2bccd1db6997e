"""Run the grid.

    python -m benchmarks.decisions [--quick | --full] [--only TEXT] [--check] [--output FILE]

Every cell's figures are kept in the results file as soon as they are there: a run that was stopped goes on where it
stood (`--again` starts anew). The last line names the worst false rollback and the cost against the oracle.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.decisions.cells import Cell, grid, runs_of
from benchmarks.decisions.report import last_line, write_docs
from benchmarks.decisions.run import run_cell

RESULT = Path(__file__).parent.parent / "results" / "decisions.json"
SEED = 20_261_124


def chosen(only: str, *, quick: bool) -> list[Cell]:
    cells = [cell for cell in grid() if only in cell.name]
    if not quick:
        return cells
    # The quick form leaves out late onsets, tails, and the costliest conversations.
    dear = {("correlated", "10 rps"), ("correlated", "100K/day")}
    return [c for c in cells if c.onset == 0 and (c.world, c.traffic) not in dear and c.tail == 0.0]


def main() -> int:
    parser = argparse.ArgumentParser(description="This engine's decisions and those of other tools' rules.")
    parser.add_argument(
        "--quick", action="store_true", help="some minutes, fewer runs; nothing is written by default"
    )
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--most", type=int, default=2000, help="at most so many runs a cell")
    parser.add_argument("--again", action="store_true", help="forget the cells that the results file has")
    parser.add_argument(
        "--check", action="store_true", help="fail where the docs are not what the results say"
    )
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.check:
        return write_docs(json.loads(RESULT.read_text()), check=True)
    output = args.output or (None if args.quick else RESULT)
    found: dict[str, dict[str, object]] = {}
    if output and output.exists() and not args.again:
        found = {cell["name"]: cell for cell in json.loads(output.read_text())["cells"]}
    for cell in chosen(args.only, quick=args.quick):
        runs = min(runs_of(cell, quick=args.quick), args.most)
        if cell.name in found and int(str(found[cell.name]["runs"])) >= runs:
            continue
        began = time.perf_counter()
        found[cell.name] = run_cell(cell, runs, SEED)
        print(f"{cell.name}: {runs} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if output:
            output.write_text(json.dumps({"seed": SEED, "cells": list(found.values())}, indent=1) + "\n")
    data = {"seed": SEED, "cells": list(found.values())}
    if output == RESULT:
        write_docs(data, check=False)
    print(last_line(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
