"""What comes beside a window's own counts: late counts of earlier exposures, and cluster sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from promptrollout.analysis import dispersion
from promptrollout.analysis.advance import check, close_late
from promptrollout.analysis.counts import ClusterCounts, LateCounts, Window
from promptrollout.analysis.evidence import FLOAT, LatePending, ProblemCode, prior
from promptrollout.analysis.kinds import Kind
from promptrollout.analysis.kinds.base import MERGE_BELOW, Slot
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.plan import CorrelationBasis
from promptrollout.analysis.working import Working, read, reject_counts, stack, unstack

#: Earlier exposures a metric may have small windows open for; the oldest closes when there are more.
_MOST_LATE = 4


@dataclass(frozen=True, slots=True)
class _Step:
    """Late counts of one metric that arrive, and the window that closes by them (zeros: none)."""

    w: Working
    position: int
    arrived: Array
    closing: Array
    phi: tuple[float, float]


@dataclass(slots=True)
class _Steps:
    """Steps of all rollouts: those in one layer touch different rows and are taken together."""

    layers: list[dict[Kind, list[_Step]]] = field(default_factory=list)
    depth: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, kind: Kind, step: _Step) -> None:
        """Queue a step behind earlier ones of the same row."""
        key = (id(step.w), step.position)
        depth = self.depth.get(key, 0)
        self.depth[key] = depth + 1
        if depth == len(self.layers):
            self.layers.append({})
        self.layers[depth].setdefault(kind, []).append(step)


def run_late(late: Sequence[tuple[Working, Window]]) -> None:
    """Count what belongs to earlier exposures: it is compared within the exposure it was answered under."""
    steps = _Steps()
    for w, window in late:
        for item in window.late:
            _arrive_late(w, item, window.end, steps)
    for layer in steps.layers:
        for kind, group in layer.items():
            _run_steps(kind, group)


def _arrive_late(w: Working, item: LateCounts, end: float, steps: _Steps) -> None:
    position = w.plan.positions.get(item.metric)
    if position is None:
        return
    packed = read(w, position, item.pair, end)
    if packed is None:
        return
    kind = w.compiled[position].kind
    completed, fine = check(kind, stack([packed]))
    counts = completed[0]
    if not (isinstance(item.exposure, int) and fine[0]):
        reject_counts(w, position, end, "of an earlier exposure are negative, not finite or impossible")
        return
    pending = {(p.position, p.exposure): p for p in w.late}
    key = (position, item.exposure)
    kept, phi = _merged(w, pending.pop(key, None), counts, position)
    n_c, n_s = kind.sizes(kept[None])
    nothing = np.zeros_like(counts)
    if n_c[0] + n_s[0] >= MERGE_BELOW:
        steps.add(kind, _Step(w, position, counts, kept, phi))
    else:
        steps.add(kind, _Step(w, position, counts, nothing, phi))
        pending[key] = LatePending(position, item.exposure, *phi, kept.astype(FLOAT).tobytes())
    mine = sorted(k for k in pending if k[0] == position)
    if len(mine) > _MOST_LATE:
        oldest = pending.pop(mine[0])
        closing = np.frombuffer(oldest.counts, dtype=FLOAT)
        steps.add(kind, _Step(w, position, nothing, closing, (oldest.phi, oldest.phi_units)))
    w.late = tuple(pending[k] for k in sorted(pending))


def _merged(
    w: Working, before: LatePending | None, counts: Array, position: int
) -> tuple[Array, tuple[float, float]]:
    """Counts of a pending late window with the new ones, and the design effects in force when it opened."""
    if before is not None:
        return np.frombuffer(before.counts, dtype=FLOAT) + counts, (before.phi, before.phi_units)
    row = np.frombuffer(w.rows[position], dtype=FLOAT)
    return counts, (float(row[Slot.PHI]), float(row[Slot.PHI_UNITS]))


def _run_steps(kind: Kind, steps: Sequence[_Step]) -> None:
    rows = stack([s.w.rows[s.position] for s in steps])
    params = stack([s.w.compiled[s.position].params for s in steps])
    phi = np.array([s.phi for s in steps])
    context = (params, phi[:, 0].copy(), phi[:, 1].copy())
    after = close_late(
        kind, rows, np.stack([s.arrived for s in steps]), np.stack([s.closing for s in steps]), context
    )
    for step, packed in zip(steps, unstack(after), strict=True):
        step.w.rows[step.position] = packed


@dataclass(frozen=True, slots=True)
class _Block:
    """Cluster sums of one metric's requests (or units) that came with a window."""

    w: Working
    position: int
    units: bool
    values: Array


def run_blocks(blocks: Sequence[tuple[Working, Window]]) -> None:
    """Add cluster sums, close full blocks, and put renewed design effects in force for windows that open later."""
    groups: dict[tuple[int, int], list[_Block]] = {}
    for w, window in blocks:
        for name, clusters in window.clusters.items():
            position = w.plan.positions.get(name)
            if (
                position is None
                or w.plan.metrics[position].correlation.basis is not CorrelationBasis.Clusters
            ):
                continue
            pairs = [(False, clusters.requests)]
            if w.plan.metrics[position].correlation.units:
                pairs.append((True, clusters.units))
            for units, counts in pairs:
                if (
                    counts is not None
                    and (block := _read_block(w, position, counts, units=units)) is not None
                ):
                    groups.setdefault((len(block.values), int(units)), []).append(block)
    for group in groups.values():
        _run_block_group(group)


def _read_block(w: Working, position: int, counts: ClusterCounts, *, units: bool) -> _Block | None:
    name = w.plan.metrics[position].name
    try:
        found = dispersion.read(counts)
    except (TypeError, ValueError, AttributeError, OverflowError):
        found = "are no numbers"
    if isinstance(found, str):
        w.reject(ProblemCode.InvalidClusters, f"cluster sums of {name} {found}: left out", name, w.last_end)
        return None
    values, clusters = found
    state = w.blocks[position][units]
    if len(state) != dispersion.width(clusters) * FLOAT.itemsize:
        # The first block, or another number of clusters than before: nothing to compare with.
        _store(w, position, dispersion.fresh(clusters).astype(FLOAT).tobytes(), units=units)
    return _Block(w, position, units, values)


def _store(w: Working, position: int, state: bytes, *, units: bool) -> None:
    pairs = list(w.blocks)
    requests, of_units = pairs[position]
    pairs[position] = (requests, state) if units else (state, of_units)
    w.blocks = tuple(pairs)


def _run_block_group(group: Sequence[_Block]) -> None:
    """Blocks with one number of clusters, all of requests or all of units."""
    before = stack([b.w.blocks[b.position][b.units] for b in group])
    after = dispersion.absorb(before, np.stack([b.values for b in group]))
    # A block closed where the running sums moved; only then is there a new design effect.
    closed = (after[:, : dispersion.SUMS] != before[:, : dispersion.SUMS]).any(axis=1)
    for i, (block, packed) in enumerate(zip(group, unstack(after), strict=True)):
        _store(block.w, block.position, packed, units=block.units)
        if not closed[i]:
            continue
        metric = block.w.plan.metrics[block.position]
        phi = dispersion.design_effect(after[i : i + 1], prior(metric, units=block.units))[0]
        row = np.frombuffer(bytearray(block.w.rows[block.position]), dtype=FLOAT)
        row[Slot.PHI_UNITS if block.units else Slot.PHI] = phi
        block.w.rows[block.position] = row.tobytes()
