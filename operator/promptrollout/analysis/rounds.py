"""One round of folding: a window of each rollout, all metrics of one kind together."""

from __future__ import annotations

import struct
from itertools import compress
from operator import getitem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis.advance import arrive, check, rows_at_a_time
from promptrollout.analysis.aside import run_blocks, run_late
from promptrollout.analysis.counts import Pair, Window
from promptrollout.analysis.evidence import FLOAT, Harm
from promptrollout.analysis.guards import guards_log_e
from promptrollout.analysis.kinds import Kind
from promptrollout.analysis.kinds.base import Mask, Slot
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.working import UNREADABLE, Working, read, reject_counts, stack, unstack

Places = NDArray[np.intp]

#: What a metric queues: its rollout's rows, its position there, the window's place in the round, what was counted and
#: packed margins. They stand in one flat list, since thousands of tuples a tick would keep the garbage collector busy.
_QUEUED = 5


class Round:
    """One window of each rollout."""

    def __init__(self) -> None:
        self._queued: dict[tuple[Kind, bool], list[Any]] = {}
        self._windows: list[tuple[Working, Window]] = []

    def add(self, w: Working, window: Window) -> None:
        """Queue a rollout's window."""
        place = len(self._windows)
        self._windows.append((w, window))
        counted, groups, rows = window.metrics, self._queued, w.rows
        for position, metric in enumerate(w.compiled):
            pair = counted.get(metric.name)
            if pair is None:
                w.incomplete = True
                continue
            group = groups.get(metric.group)
            if group is None:
                group = groups[metric.group] = []
            group += (rows, position, place, pair, metric.params)

    def run(self) -> None:
        """Advance everything queued, look at the guards, then renew design effects."""
        moments = [(window.exposure, window.end - window.start) for _, window in self._windows]
        moment = np.array(moments, dtype=np.float64).reshape(-1, 2)
        thresholds = np.array([w.threshold for w, _ in self._windows])
        hot: set[int] = set()
        for (kind, _), queued in self._queued.items():
            step = _QUEUED * rows_at_a_time(kind)
            for start in range(0, len(queued), step):
                places, harm = self._advance(kind, queued[start : start + step], moment)
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

    def _advance(self, kind: Kind, queued: list[Any], moment: Array) -> tuple[Places, Array]:
        """Advance rows of one kind; returns the places of their windows and their log evidence of harm."""
        owners, positions, places, pairs, params = (queued[i::_QUEUED] for i in range(_QUEUED))
        counts, fine = self._read(kind, places, positions, pairs)
        if not fine.all():
            good = fine.tolist()
            owners, positions, places, params = (
                list(compress(column, good)) for column in (owners, positions, places, params)
            )
            counts = counts[fine]
        place = np.array(places, dtype=np.intp)
        if not places:
            return place, np.empty(0)
        rows = stack(list(map(getitem, owners, positions)))
        arrive(kind, rows, counts, stack(params), moment[place])
        for owner, position, row in zip(owners, positions, unstack(rows), strict=True):
            owner[position] = row
        return place, rows[:, Slot.HARM]

    def _read(
        self, kind: Kind, places: list[int], positions: list[int], pairs: list[Pair]
    ) -> tuple[Array, Mask]:
        """Counts [B, columns], and which can be counted with; the others are left out, with a problem each."""
        w = self._windows[places[0]][0]
        try:
            gathered = kind.gather(pairs, w.compiled[positions[0]].metric)
        except UNREADABLE:
            gathered = None
        readable = np.ones(len(pairs), dtype=np.bool_)
        if gathered is None:
            nothing = bytes(kind.columns * FLOAT.itemsize)
            rows = []
            for i, (place, position, pair) in enumerate(zip(places, positions, pairs, strict=True)):
                w, window = self._windows[place]
                row = read(w, position, pair, window.end)
                readable[i] = row is not None
                rows.append(nothing if row is None else row)
            gathered = stack(rows)
        counts, sound = check(kind, gathered)
        for i in np.flatnonzero(readable & ~sound).tolist():
            w, window = self._windows[places[i]]
            reject_counts(w, positions[i], window.end, "are negative, not finite or impossible")
        return counts, readable & sound


def _look(w: Working, end: float) -> None:
    """Latch harm where the guards' mean has reached its threshold."""
    harm = [struct.unpack_from("<d", row, Slot.HARM * FLOAT.itemsize)[0] for row in w.rows]
    log_e = guards_log_e(w.plan.metrics, harm)
    if log_e >= w.threshold:
        w.harmed = Harm(end, log_e)
