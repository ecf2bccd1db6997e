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


def check(kind: Kind, counts: Array) -> tuple[Array, Mask]:
    """Counts [B, columns] completed, and [B] booleans: they are finite and such as can have been counted."""
    size = np.abs(counts)
    # Not a number compares false.
    finite: Mask = np.logical_and.reduce(size <= _LARGEST, axis=1)
    dust = (size < _SMALLEST) & (size > 0.0)
    if dust.any():
        counts = np.where(dust, 0.0, counts)
    # The kind sees zeros where something cannot be counted with, so that no warning comes of it.
    completed = kind.complete(counts if finite.all() else np.where(finite[:, None], counts, 0.0))
    return completed, finite & kind.sound(completed)


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
    pending = rows[:, HEADER : HEADER + kind.columns]
    totals = rows[:, HEADER + kind.columns : HEADER + 2 * kind.columns]
    changed = rows[:, Slot.EXPOSURE] != moment[:, 0]
    waiting = _samples(kind, pending)
    leaving = np.flatnonzero(changed & (waiting > 0.0))
    if leaving.size:
        _close_rows(kind, rows, leaving, params)
        waiting[leaving] = 0.0
    rows[:, Slot.EXPOSURE] = moment[:, 0]
    opening = waiting == 0.0
    for pending_slot, slot in ((Slot.PENDING_PHI, Slot.PHI), (Slot.PENDING_PHI_UNITS, Slot.PHI_UNITS)):
        rows[:, pending_slot] = np.where(opening, rows[:, slot], rows[:, pending_slot])
    pending += counts
    totals += counts
    n_c, _ = kind.sizes(counts)
    kept = np.where(changed, 0.0, _RATE_KEEP)
    rows[:, Slot.RATE_COUNT] = kept * rows[:, Slot.RATE_COUNT] + n_c
    rows[:, Slot.RATE_SECONDS] = kept * rows[:, Slot.RATE_SECONDS] + moment[:, 1]
    full = np.flatnonzero(_samples(kind, pending) >= MERGE_BELOW)
    if full.size:
        _close_rows(kind, rows, full, params)
    return rows


def _samples(kind: Kind, counts: Array) -> Array:
    n_c, n_s = kind.sizes(counts)
    return n_c + n_s


def _close_rows(
    kind: Kind, rows: Array, which: np.ndarray[tuple[int], np.dtype[np.intp]], params: Array
) -> None:
    """Close the pending windows of some rows in place."""
    everything = len(which) == len(rows)
    chosen = rows if everything else rows[which]
    counts = chosen[:, HEADER : HEADER + kind.columns]
    phi, phi_units = chosen[:, Slot.PENDING_PHI].copy(), chosen[:, Slot.PENDING_PHI_UNITS].copy()
    close(kind, chosen, counts, params if everything else params[which], (phi, phi_units))
    chosen[:, HEADER : HEADER + kind.columns] = 0.0
    if not everything:
        rows[which] = chosen


def close(kind: Kind, rows: Array, counts: Array, params: Array, phi: tuple[Array, Array]) -> None:
    """Close a window of `counts` [B, columns] on rows [B, size], in place; design effects (requests, units) [B]."""
    own = HEADER + 2 * kind.columns
    closing = Closing(
        state=rows[:, own:].copy(),
        counts=np.ascontiguousarray(counts),
        totals=np.ascontiguousarray(rows[:, HEADER + kind.columns : own]),
        params=np.ascontiguousarray(params),
        phi=phi[0],
        phi_units=phi[1],
    )
    closed = kind.close(closing)
    contrast = closed.contrast
    rows[:, own:] = closed.state
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
