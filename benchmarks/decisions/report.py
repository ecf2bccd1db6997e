"""From the results file to the final line, the tables of docs/evidence-benchmark.md and its picture."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.decisions.cells import LATE, TRAFFIC
from benchmarks.decisions.rivals import RULES
from benchmarks.decisions.run import ORACLE, ORACLE_ZERO, OURS, OURS_ZERO
from benchmarks.generated import replace_section

DOCS = Path(__file__).parents[2] / "docs" / "evidence-benchmark.md"
PICTURE = DOCS.parent / "images" / "decisions.svg"
PAIRS = ((OURS, ORACLE), (OURS_ZERO, ORACLE_ZERO))
#: A cell counts for the comparison with the oracle where the oracle itself decides at least so often.
DECIDED = 0.5
#: The targets of the benchmark: false rollbacks, mean and worst cost against the oracle, mean for late onsets.
TARGETS = {"false": 0.05, "mean": 1.3, "max": 1.7, "late": 2.5}

Cell = Mapping[str, Any]


def harmless(data: Mapping[str, Any]) -> list[Cell]:
    return [cell for cell in data["cells"] if cell["effect"] is None]


def harmful(data: Mapping[str, Any]) -> list[Cell]:
    return [cell for cell in data["cells"] if cell["effect"] is not None]


def false_rate(cell: Cell, method: str) -> float:
    figures = cell["methods"][method]
    return float(figures["stopped"] / figures["runs"])


def ratio(cell: Cell, ours: str, oracle: str) -> float | None:
    """Mean exposed requests over the oracle's, where the oracle decides."""
    mine, best = cell["methods"][ours], cell["methods"][oracle]
    if best["stopped"] < DECIDED * best["runs"] or not best["exposed_mean"]:
        return None
    return float(mine["exposed_mean"] / best["exposed_mean"])


def ratios(data: Mapping[str, Any], *, late: bool) -> list[tuple[Cell, str, float]]:
    return [
        (cell, ours, value)
        for cell in harmful(data)
        if bool(cell["onset"]) == late
        for ours, oracle in PAIRS
        if (value := ratio(cell, ours, oracle)) is not None
    ]


def last_line(data: Mapping[str, Any]) -> str:
    false = max((false_rate(c, ours) for c in harmless(data) for ours, _ in PAIRS), default=float("nan"))
    values = [value for _, _, value in ratios(data, late=False)]
    mean, worst = (sum(values) / len(values), max(values)) if values else (float("nan"),) * 2
    return f"decisions: false_rollback_max={false:.4f} vs_oracle_mean={mean:.3f} vs_oracle_max={worst:.3f}"


def valid(data: Mapping[str, Any]) -> dict[str, float]:
    """The worst share of false rollbacks of each rival."""
    return {name: max(false_rate(c, name) for c in harmless(data)) for name in RULES}


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(header)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def false_table(data: Mapping[str, Any]) -> str:
    cells = harmless(data)
    worlds = list(dict.fromkeys((c["metric"], c["world"]) for c in cells))
    parts = []
    for metric, world in worlds:
        some = [c for c in cells if (c["metric"], c["world"]) == (metric, world)]
        some.sort(key=lambda c: list(TRAFFIC).index(c["traffic"]))
        rows = [
            [name, *(f"{100 * false_rate(c, name):.1f} %" for c in some)]
            for name in (OURS, OURS_ZERO, *RULES)
        ]
        head = [f"{metric}, {world}", *(f"{c['traffic']} ({c['runs']} runs)" for c in some)]
        parts.append(_table(head, rows))
    return "\n\n".join(parts)


def _what(cell: Cell) -> str:
    return str(cell["name"]).rsplit(", ", 2)[0].removeprefix(f"{cell['metric']} ")


def _exposed(figures: Mapping[str, Any]) -> str:
    if figures["exposed_mean"] is None:
        return "-"
    missed = 1.0 - figures["stopped"] / max(figures["runs"] - figures["early"], 1)
    note = f" (misses {100 * missed:.0f} %)" if missed >= 0.005 else ""
    return f"{figures['exposed_mean']:,.0f}{note}"


def cost_table(data: Mapping[str, Any], metric: str, *, late: bool) -> str:
    rows = []
    for cell in harmful(data):
        if cell["metric"] != metric or bool(cell["onset"]) != late:
            continue
        for ours, oracle in PAIRS:
            mine, best, least = cell["methods"][ours], cell["methods"][oracle], cell["bound"][ours]
            value = ratio(cell, ours, oracle)
            if best["stopped"] == 0:
                continue
            rows.append(
                [
                    f"{_what(cell)}, {cell['traffic']}{', no margin' if ours == OURS_ZERO else ''}",
                    str(mine["runs"]),
                    f"{100 * mine['stopped'] / max(mine['runs'] - mine['early'], 1):.0f} %",
                    f"{mine['exposed_mean']:,.0f}",
                    f"{mine['exposed_p90']:,.0f}",
                    "-" if mine["minutes_median"] is None else f"{mine['minutes_median']:.0f}",
                    f"{best['exposed_mean']:,.0f}",
                    "-" if value is None else f"{value:.2f}",
                    "-" if not least else f"{mine['exposed_mean'] / least:.2f}",
                ]
            )
    head = [
        "candidate",
        "runs",
        "found",
        "exposed, mean",
        "p90",
        "minutes, median",
        "oracle",
        "x oracle",
        "x bound",
    ]
    return _table(head, rows)


def rival_table(data: Mapping[str, Any]) -> str:
    names = (OURS_ZERO, *RULES)
    rows = [
        [f"{cell['metric']} {_what(cell)}, {cell['traffic']}", *(_exposed(cell["methods"][n]) for n in names)]
        for cell in harmful(data)
        if not cell["onset"]
    ]
    worst = valid(data)
    mine = max(false_rate(c, OURS_ZERO) for c in harmless(data))
    last = ["*worst false rollback*", f"{100 * mine:.1f} %", *(f"{100 * worst[n]:.0f} %" for n in RULES)]
    return _table(["candidate", *names], [*rows, last])


def target_table(data: Mapping[str, Any]) -> str:
    false = [(c, ours, false_rate(c, ours)) for c in harmless(data) for ours, _ in PAIRS]
    now, later = ratios(data, late=False), ratios(data, late=True)
    rows = []

    def row(what: str, found: float, limit: float, where: str) -> None:
        rows.append([what, f"≤ {limit:g}", f"{found:.3f}", "met" if found <= limit else "**not met**", where])

    def place(values: list[tuple[Cell, str, float]]) -> str:
        cell, ours, _ = max(values, key=lambda item: item[2])
        return f"{cell['name']}{', no margin' if ours == OURS_ZERO else ''}"

    def mean(values: list[tuple[Cell, str, float]]) -> float:
        return sum(value for *_, value in values) / len(values)

    row("false rollback, worst cell", max(v for *_, v in false), TARGETS["false"], place(false))
    row("cost against the oracle, mean", mean(now), TARGETS["mean"], f"{len(now)} comparisons")
    row("cost against the oracle, worst", max(v for *_, v in now), TARGETS["max"], place(now))
    for metric in ("events", "score", "latency"):
        some = [item for item in now if item[0]["metric"] == metric]
        if some:
            row(f"the same, {metric} only, mean", mean(some), TARGETS["mean"], f"worst: {place(some)}")
    if later:
        row(
            "late onsets, mean",
            mean(later),
            TARGETS["late"],
            f"worst {max(v for *_, v in later):.2f}: {place(later)}",
        )
        for onset in LATE:
            some = [item for item in later if item[0]["onset"] == onset]
            if some:
                row(f"onset in minute {onset}, mean", mean(some), TARGETS["late"], f"{len(some)} comparisons")
    ahead = ahead_of_us(data)
    sound = [name for name, worst in valid(data).items() if worst <= TARGETS["false"]]
    rows.append(
        [
            "cells in which a method with valid A/A is ahead by more than 10 %",
            "0",
            str(len(ahead)),
            "met" if not ahead else "**not met**",
            "; ".join(ahead[:3]) or f"valid in every harmless cell: {', '.join(sound) or 'no rival'}",
        ]
    )
    return _table(["target", "limit", "measured", "", "where"], rows)


def ahead_of_us(data: Mapping[str, Any]) -> list[str]:
    """Cells in which a rival that is valid in every harmless cell exposes 10 % fewer requests."""
    sound = [name for name, worst in valid(data).items() if worst <= TARGETS["false"]]
    found = []
    for cell in harmful(data):
        mine = cell["methods"][OURS_ZERO]["exposed_mean"]
        for name in sound:
            other = cell["methods"][name]["exposed_mean"]
            if mine and other is not None and other < 0.9 * mine:
                found.append(f"{name} in {cell['name']}")
    return found


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "targets": target_table,
    "false rollbacks": false_table,
    "events": lambda data: cost_table(data, "events", late=False),
    "scores": lambda data: cost_table(data, "score", late=False),
    "latency": lambda data: cost_table(data, "latency", late=False),
    "late onsets": lambda data: "\n\n".join(
        cost_table(data, m, late=True) for m in ("events", "score", "latency")
    ),
    "rivals": rival_table,
}


def write_docs(data: Mapping[str, Any], *, check: bool) -> int:
    """Write the generated sections, or say which of them are not what the results say; 0 if all is well."""
    text = DOCS.read_text()
    for name, build in SECTIONS.items():
        text = replace_section(text, f"decisions: {name}", build(data))
    if check:
        if text != DOCS.read_text():
            print(
                "docs/evidence-benchmark.md is not what its results say: run make bench-decisions",
                file=sys.stderr,
            )
            return 1
        return 0
    DOCS.write_text(text)
    draw(data)
    return 0


def draw(data: Mapping[str, Any]) -> None:
    """False rollbacks against exposed requests, one point a method: left and down is better."""
    import matplotlib as mpl  # noqa: PLC0415 - only where a picture is drawn

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "decisions"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same

    cells = [
        c for c in harmful(data) if c["metric"] == "events" and c["traffic"] == "100K/day" and not c["onset"]
    ]
    figure, axes = plt.subplots(figsize=(9, 5))
    places: list[tuple[float, float]] = []
    names = [OURS_ZERO, OURS, *RULES]
    for name in names:
        false = 100 * max(false_rate(c, name) for c in harmless(data) if c["metric"] == "events")
        exposed = next(c["methods"][name]["exposed_mean"] for c in cells if c["effect"] == 2.0)
        places.append((exposed, max(false, 0.5)))
    for i, (name, (x, y)) in enumerate(zip(names, places, strict=True)):
        points = axes.scatter([x], [y], s=70, marker="*" if name.startswith("this") else "o")
        # Labels of points that lie close together stand below each other, in their points' colours.
        close = [j for j, (a, b) in enumerate(places) if abs(math.log10(x / a)) < 1 and 0.8 < y / b < 1.25]
        down = -8 - 13 * (1 + close.index(i)) if len(close) > 1 else -3
        axes.annotate(
            name,
            (x, y),
            xytext=(-4 if len(close) > 1 else 8, down),
            textcoords="offset points",
            fontsize=8,
            color=points.get_facecolor()[0],
        )
    axes.axhline(5, color="grey", lw=0.8, ls="--")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(3, 2e5)
    axes.set_ylim(0.4, 150)
    axes.set_yticks([0.5, 1, 2, 5, 10, 20, 50, 100], ["0.5", "1", "2", "5", "10", "20", "50", "100"])
    axes.set_xlabel(
        "candidate requests that saw an error rate of 4 % instead of 2 % (mean, 100K requests a day)"
    )
    axes.set_ylabel("worst share of harmless candidates rolled back, %")
    axes.set_title("Fast and wrong is easy")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
