"""Advance evidence by windows: total, deterministic, and many rollouts at a time.

`fold_many` walks the windows of all rollouts in rounds: round j takes each rollout's j-th window, stacks the rows of
all metrics of one kind, and advances them together. After each round the guards are looked at, so that a crossing is
seen at the window it happened in, however many windows are folded at once; only then may cluster blocks close and
renew the design effect, which so never depends on outcomes it divides.

Nothing in here raises for bad data: what cannot be counted is left out, named in `Evidence.problems`, and counted in
`Evidence.rejected`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from promptrollout.analysis.counts import Window
from promptrollout.analysis.evidence import Evidence
from promptrollout.analysis.plan import AnalysisPlan
from promptrollout.analysis.rounds import Round
from promptrollout.analysis.working import Working


@dataclass(frozen=True, slots=True)
class FoldItem:
    """One rollout's share of a batch."""

    plan: AnalysisPlan
    evidence: Evidence
    windows: Sequence[Window]


def fold(plan: AnalysisPlan, evidence: Evidence, windows: Iterable[Window]) -> Evidence:
    """Evidence after `windows`, in order of time; windows that end no later than the last one seen are ignored."""
    return fold_many([FoldItem(plan, evidence, tuple(windows))])[0]


def fold_many(batch: Sequence[FoldItem]) -> list[Evidence]:
    """`fold` for many rollouts at once; each result is the same, bit for bit, as folding it alone."""
    working = [Working(item.plan, item.evidence, item.windows) for item in batch]
    active = [w for w in working if w.windows]
    while active:
        round_ = Round()
        for w in active:
            window = w.next_window()
            if window is not None:
                round_.add(w, window)
        round_.run()
        active = [w for w in active if w.windows]
    return [w.result() for w in working]
