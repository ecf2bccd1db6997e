"""One round of folding: a window of each rollout, all metrics of one kind together."""

from __future__ import annotations

import struct

import numpy as np

from promptrollout.analysis.advance import arrive, check
from promptrollout.analysis.aside import run_blocks, run_late
from promptrollout.analysis.counts import Window
from promptrollout.analysis.evidence import FLOAT, Harm
from promptrollout.analysis.guards import guards_log_e
from promptrollout.analysis.kinds import Kind
from promptrollout.analysis.kinds.base import Slot
from promptrollout.analysis.working import Working, floats, packed, read, reject_counts, stack, unstack


class Group:
    """The metrics of one kind that have counts in this round."""

    __slots__ = ("counts", "ends", "kind", "moments", "owners", "params", "positions")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.owners: list[Working] = []
        self.positions: list[int] = []
        self.counts: list[bytes] = []
        self.params: list[bytes] = []
        self.moments: list[float] = []
        self.ends: list[float] = []

    def run(self) -> list[Working]:
        """Advance all rows; returns the rollouts in which a metric alone has reached its rollout's threshold."""
        counts, fine = check(self.kind, stack(self.counts))
        if not fine.all():
            for i in np.flatnonzero(~fine).tolist():
                reject_counts(
                    self.owners[i], self.positions[i], self.ends[i], "are negative, not finite or impossible"
                )
        rows = stack([w.rows[p] for w, p in zip(self.owners, self.positions, strict=True)])
        params = stack(self.params)
        moments = floats(self.moments, 2)
        if not fine.all():
            kept = np.flatnonzero(fine)
            rows, counts, params, moments = rows[kept], counts[kept], params[kept], moments[kept]
        else:
            kept = np.arange(len(rows))
        after = arrive(self.kind, rows, counts, params, moments)
        for i, row in zip(kept.tolist(), unstack(after), strict=True):
            self.owners[i].rows[self.positions[i]] = row
        harm = after[:, Slot.HARM].tolist()
        return [w for i, h in zip(kept.tolist(), harm, strict=True) if h >= (w := self.owners[i]).threshold]


class Round:
    """One window of each rollout."""

    def __init__(self) -> None:
        self._groups: dict[Kind, Group] = {}
        self._windows: list[tuple[Working, Window]] = []

    def add(self, w: Working, window: Window) -> None:
        """Queue a rollout's window."""
        self._windows.append((w, window))
        positions, compiled = w.plan.positions, w.compiled
        length = window.end - window.start
        queued = 0
        for name, pair in window.metrics.items():
            position = positions.get(name)
            if position is None:
                continue
            row = read(w, position, pair, window.end)
            if row is None:
                continue
            _, kind, params = compiled[position]
            group = self._groups.get(kind)
            if group is None:
                group = self._groups[kind] = Group(kind)
            group.owners.append(w)
            group.positions.append(position)
            group.counts.append(packed(row))
            group.params.append(params)
            group.moments += (window.exposure, length)
            group.ends.append(window.end)
            queued += 1
        w.incomplete = w.incomplete or queued < len(compiled)

    def run(self) -> None:
        """Advance everything queued, look at the guards, then renew design effects."""
        hot: dict[int, Working] = {}
        for group in self._groups.values():
            for w in group.run():
                hot[id(w)] = w
        late = [(w, window) for w, window in self._windows if window.late]
        if late:
            run_late(late)
        for w, window in self._windows:
            # A metric without counts in this window may hold the evidence that makes another one's matter.
            if w.harmed is None and (id(w) in hot or w.incomplete or window.late):
                _look(w, window.end)
        blocks = [(w, window) for w, window in self._windows if window.clusters]
        if blocks:
            run_blocks(blocks)


def _look(w: Working, end: float) -> None:
    """Latch harm where the guards' mean has reached its threshold."""
    harm = [struct.unpack_from("<d", row, Slot.HARM * FLOAT.itemsize)[0] for row in w.rows]
    log_e = guards_log_e(w.plan.metrics, harm)
    if log_e >= w.threshold:
        w.harmed = Harm(end, log_e)
