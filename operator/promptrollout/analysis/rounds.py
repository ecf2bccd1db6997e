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
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.working import Working, read, reject_counts, stack, unstack

#: Floats of the rows that are advanced at a time: 2 MB, so that they stay in the processor's cache.
_CHUNK = 2**18

#: A metric's counts in a window: the rollout, the metric's position, the window's place in the round, packed counts.
#: A plain tuple, since there are thousands of them a tick.
Queued = tuple[Working, int, int, bytes]


class Round:
    """One window of each rollout."""

    def __init__(self) -> None:
        self._queued: dict[Kind, list[Queued]] = {}
        self._windows: list[tuple[Working, Window]] = []

    def add(self, w: Working, window: Window) -> None:
        """Queue a rollout's window."""
        place = len(self._windows)
        self._windows.append((w, window))
        positions, compiled, groups = w.plan.positions, w.compiled, self._queued
        queued = 0
        for name, pair in window.metrics.items():
            position = positions.get(name)
            if position is None:
                continue
            counts = read(w, position, pair, window.end)
            if counts is None:
                continue
            kind = compiled[position].kind
            group = groups.get(kind)
            if group is None:
                group = groups[kind] = []
            group.append((w, position, place, counts))
            queued += 1
        w.incomplete = w.incomplete or queued < len(compiled)

    def run(self) -> None:
        """Advance everything queued, look at the guards, then renew design effects."""
        moments = [(window.exposure, window.end - window.start) for _, window in self._windows]
        moment = np.array(moments, dtype=np.float64).reshape(-1, 2)
        thresholds = np.array([w.threshold for w, _ in self._windows])
        hot: set[int] = set()
        for kind, queued in self._queued.items():
            size = max(1, _CHUNK // kind.size)
            for start in range(0, len(queued), size):
                places, harm = self._advance(kind, queued[start : start + size], moment)
                hot.update(places[harm >= thresholds[places]].tolist())
        late = [(w, window) for w, window in self._windows if window.late]
        if late:
            run_late(late)
        for place, (w, window) in enumerate(self._windows):
            # A metric without counts in this window may hold the evidence that makes another one's matter.
            if w.harmed is None and (place in hot or w.incomplete or window.late):
                _look(w, window.end)
        blocks = [(w, window) for w, window in self._windows if window.clusters]
        if blocks:
            run_blocks(blocks)

    def _advance(
        self, kind: Kind, queued: list[Queued], moment: Array
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Array]:
        """Advance rows of one kind; returns the places of their windows and their log evidence of harm."""
        counts, fine = check(kind, stack([one[3] for one in queued]))
        if not fine.all():
            for i in np.flatnonzero(~fine).tolist():
                w, position, place, _ = queued[i]
                end = self._windows[place][1].end
                reject_counts(w, position, end, "are negative, not finite or impossible")
            queued = [one for one, good in zip(queued, fine.tolist(), strict=True) if good]
            counts = counts[fine]
        places = np.array([place for _, _, place, _ in queued], dtype=np.intp)
        if not queued:
            return places, np.empty(0)
        rows = stack([w.rows[position] for w, position, _, _ in queued])
        params = stack([w.compiled[position].params for w, position, _, _ in queued])
        arrive(kind, rows, counts, params, moment[places])
        for (w, position, _, _), row in zip(queued, unstack(rows), strict=True):
            w.rows[position] = row
        return places, rows[:, Slot.HARM]


def _look(w: Working, end: float) -> None:
    """Latch harm where the guards' mean has reached its threshold."""
    harm = [struct.unpack_from("<d", row, Slot.HARM * FLOAT.itemsize)[0] for row in w.rows]
    log_e = guards_log_e(w.plan.metrics, harm)
    if log_e >= w.threshold:
        w.harmed = Harm(end, log_e)
