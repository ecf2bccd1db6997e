"""Advance stacked rows of one kind: counts arrive, small windows merge, windows close.

All functions here work on [B, size] rows (layout in kinds/base.py) and treat each row by itself.
"""

from __future__ import annotations

import numpy as np

from promptrollout.analysis.kinds import Kind
from promptrollout.analysis.kinds.base import HEADER, MERGE_BELOW, Closing, Mask, Slot
from promptrollout.analysis.mixture import Array

#: What remains of the recent candidate traffic after each window: it looks back some 30 windows.
_RATE_KEEP = 0.97
#: A larger count is a fault, and its squares would leave the range of floats; a smaller one is nothing.
_LARGEST, _SMALLEST = 1e30, 1e-30
#: Floats of the rows that are advanced at a time: 2 MB, so that they stay in the processor's cache.
_CHUNK = 2**18


def check(kind: Kind, counts: Array) -> tuple[Array, Mask]:
    """Counts [B, columns] completed, and [B] booleans: they are finite and such as can have been counted."""
    finite: Mask = np.ones(len(counts), dtype=np.bool_)
    size = counts
    # Not a number compares false.
    if not (counts.min(initial=0.0) >= 0.0 and counts.max(initial=0.0) <= _LARGEST):
        size = np.abs(counts)
        finite = np.logical_and.reduce(size <= _LARGEST, axis=1)
        # The kind sees zeros where something cannot be counted with, so that no warning comes of it.
        size[~finite] = 0.0
    # A negative zero becomes one that is none, too.
    completed = kind.complete(np.where(size < _SMALLEST, 0.0, counts))
    return completed, finite & kind.sound(completed)


def rows_at_a_time(kind: Kind) -> int:
    """How many rows to work on at a time."""
    return max(1, _CHUNK // kind.size)


def arrive(kind: Kind, rows: Array, counts: Array, params: Array, moment: Array) -> Array:
    """One window's counts arrive: a pending window closes when the exposure has changed, or once it is large enough.

    Args:
        kind: of all rows.
        rows: [B, size], advanced in place.
        counts: [B, columns], sound.
        params: [B, P] margins.
        moment: [B, 2], exposure and length in seconds of the window.

    Returns:
        `rows`.

    """
    step = rows_at_a_time(kind)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        _arrive(kind, rows[part], counts[part], params[part], moment[part])
    return rows


def _arrive(kind: Kind, rows: Array, counts: Array, params: Array, moment: Array) -> None:
    """`arrive` for some rows."""
    pending = rows[:, HEADER : HEADER + kind.columns]
    changed = rows[:, Slot.EXPOSURE] != moment[:, 0]
    untouched = not pending.any()
    waiting = np.zeros(len(rows)) if untouched else _samples(kind, pending)
    leaving = np.flatnonzero(changed & (waiting > 0.0))
    if leaving.size:
        _close_pending(kind, rows, leaving, params)
        waiting[leaving] = 0.0
    rows[:, Slot.EXPOSURE] = moment[:, 0]
    opening = waiting == 0.0
    for pending_slot, slot in ((Slot.PENDING_PHI, Slot.PHI), (Slot.PENDING_PHI_UNITS, Slot.PHI_UNITS)):
        rows[:, pending_slot] = np.where(opening, rows[:, slot], rows[:, pending_slot])
    rows[:, HEADER + kind.columns : HEADER + 2 * kind.columns] += counts
    n_c, n_s = kind.sizes(counts)
    kept = np.where(changed, 0.0, _RATE_KEEP)
    rows[:, Slot.RATE_COUNT] = kept * rows[:, Slot.RATE_COUNT] + n_c
    rows[:, Slot.RATE_SECONDS] = kept * rows[:, Slot.RATE_SECONDS] + moment[:, 1]
    full = waiting + (n_c + n_s) >= MERGE_BELOW
    if untouched and full.all():
        # Nearly always: nothing waits and nothing has to.
        close(kind, rows, counts, params, (rows[:, Slot.PENDING_PHI], rows[:, Slot.PENDING_PHI_UNITS]))
        return
    pending += counts
    if full.any():
        _close_pending(kind, rows, np.flatnonzero(full), params)


def _samples(kind: Kind, counts: Array) -> Array:
    n_c, n_s = kind.sizes(counts)
    return n_c + n_s


def _close_pending(
    kind: Kind, rows: Array, which: np.ndarray[tuple[int], np.dtype[np.intp]], params: Array
) -> None:
    """Close the pending windows of some rows in place."""
    chosen = rows[which]
    counts = chosen[:, HEADER : HEADER + kind.columns]
    close(
        kind, chosen, counts, params[which], (chosen[:, Slot.PENDING_PHI], chosen[:, Slot.PENDING_PHI_UNITS])
    )
    counts[:] = 0.0
    rows[which] = chosen


def close(kind: Kind, rows: Array, counts: Array, params: Array, phi: tuple[Array, Array]) -> None:
    """Close a window of `counts` [B, columns] on rows [B, size], in place; design effects (requests, units) [B]."""
    own = HEADER + 2 * kind.columns
    closing = Closing(
        state=rows[:, own:],
        counts=counts,
        totals=rows[:, HEADER + kind.columns : own],
        params=params,
        phi=phi[0].copy(),
        phi_units=phi[1].copy(),
    )
    closed = kind.close(closing)
    contrast = closed.contrast
    rows[:, Slot.HARM] = closed.harm
    rows[:, Slot.PROMOTE] = closed.promote
    rows[:, Slot.WEIGHT] += contrast.weight
    rows[:, Slot.CONTRAST] += contrast.weight * contrast.difference
    rows[:, Slot.VARIANCE] += contrast.weight * contrast.weight * contrast.variance
    rows[:, Slot.CLOSED] += 1.0


def close_late(
    kind: Kind, rows: Array, arrived: Array, closing: Array, context: tuple[Array, Array, Array]
) -> Array:
    """Late counts arrive; where they make up a window of an earlier exposure, it closes.

    Args:
        kind: of all rows.
        rows: [B, size] before.
        arrived: [B, columns] counts that are new.
        closing: [B, columns] counts of the window that closes, zero where none does.
        context: params [B, P], design effects of requests and of units [B].

    """
    params, phi, phi_units = context
    result = rows.copy()
    result[:, HEADER + kind.columns : HEADER + 2 * kind.columns] += arrived
    which = np.flatnonzero(_samples(kind, closing) > 0.0)
    if which.size:
        effects = (phi[which], phi_units[which])
        chosen = result[which]
        close(kind, chosen, closing[which], params[which], effects)
        result[which] = chosen
    return result
