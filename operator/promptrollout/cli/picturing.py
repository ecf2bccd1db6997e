"""The picture of simulated rollouts: how they stand in the course of time, and who meets a bad prompt."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from promptrollout.cli.printing import USAGE, fail
from promptrollout.simulation import Outcome, Report

_COLOURS = {
    Outcome.Promoted: "#2e8b57",
    Outcome.RolledBack: "#c0392b",
    Outcome.Paused: "#d9a400",
    Outcome.Running: "#9aa5b1",
}
_WORDS = {Outcome.RolledBack: "rolled back"}
_DAY, _HOUR = 86_400.0, 3600.0


def check_picture(file: Path) -> None:
    """Refuse by CliError what cannot be drawn, before there is anything to lose."""
    known = FigureCanvasAgg.get_supported_filetypes()
    if file.suffix.lstrip(".").lower() not in known:
        fail(f"--picture {file}: its name must end in one of .{', .'.join(sorted(known))}", USAGE)
    if not file.parent.is_dir():
        fail(f"--picture {file}: there is no folder {file.parent}", USAGE)


def draw(report: Report, file: Path, name: str) -> None:
    """Write it; the file's ending says in which format. CliError where that cannot be."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    _course(report, above)
    _exposure(report, below)
    figure.suptitle(f"{name or 'rollout'}: {len(report.runs):,} simulated rollouts")
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        fail(f"--picture {file}: {error}")


def _course(report: Report, axes: Axes) -> None:
    """Shares of the runs that are over by then, one upon the other, and the mean weight."""
    unit, size = ("days", _DAY) if report.seconds > 3 * _DAY else ("hours", _HOUR)
    times = [moment.seconds / size for moment in report.timeline]
    promoted = [100.0 * m.promoted for m in report.timeline]
    rolled = [100.0 * m.rolled_back for m in report.timeline]
    kinds = (Outcome.Promoted, Outcome.RolledBack)
    axes.stackplot(
        times,
        promoted,
        rolled,
        labels=[f"{_word(kind)} ({100.0 * report.share(kind).value:.1f} %)" for kind in kinds],
        colors=[_COLOURS[kind] for kind in kinds],
        alpha=0.75,
    )
    weights = [m.weight for m in report.timeline]
    axes.plot(times, weights, color="black", ls="--", lw=1.2, label="candidate's weight, mean of all runs")
    axes.set(xlabel=unit, ylabel="% of runs", xlim=(0.0, times[-1]), ylim=(0.0, 100.0))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3, frameon=False)


def _exposure(report: Report, axes: Axes) -> None:
    """How many candidate requests each run took to its end, from the fewest to the most."""
    what = "bad requests" if report.harmful else "candidate requests"
    for kind in Outcome:
        some = sorted(
            run.bad_requests if report.harmful else run.candidate_requests
            for run in report.runs
            if run.outcome is kind
        )
        if some:
            shares = [100.0 * (i + 1) / len(some) for i in range(len(some))]
            axes.step(some, shares, where="post", color=_COLOURS[kind], label=_word(kind))
    axes.set(xlabel=f"{what} until the end of a run", ylabel="% of them, at most", ylim=(0.0, 101.0))
    axes.set_xlim(left=0.0)
    axes.legend(loc="lower right", frameon=False)


def _word(kind: Outcome) -> str:
    return _WORDS.get(kind, kind.value.lower())
