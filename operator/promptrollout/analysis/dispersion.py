r"""The design effect of requests that share a unit, estimated from hash-cluster sums (statistics-correlated.md).

Units are hashed into K clusters. In a block of an hour the cluster sums of an arm vary more than those of
independent requests by the design effect. With p = sum_k s / N per arm and block, z_k = s_k - n_k p and the variance
of one outcome v = sum of squares / N - p^2,

    num_b = sum_arms K / (K-1) sum_k (z_{k,b}^2 + 2 z_{k,b} z_{k,b-1}),      den_b = sum_arms N v,
    phi_hat = (max(sum num, 0) + nu phi0) / (sum den + nu),
    SE^2 = max(sum_b (num_b - phi_hat den_b)^2 / (sum den + nu)^2, 6 phi_hat^2 / dof (sum den / (sum den + nu))^2),
    phi = max(1, phi_hat + SE).

The product with the neighbouring block catches conversations that straddle two. phi must be fixed before the
outcomes it divides: `fold` applies a block's phi only to windows that open after the block has closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from promptrollout.analysis.counts import ArmClusters, ClusterCounts
from promptrollout.analysis.mixture import Array

#: Length of a block; a product with the block before needs it to have ended no longer ago than this share of one.
BLOCK_SECONDS = 3600.0
_LARGEST_GAP = 0.25
#: Priors: design effect of requests and of first events per unit, worth this many expected events (or scores).
PHI0_REQUESTS, PHI0_UNITS = 4.0, 2.0
NU_EVENTS, NU_SCORES = 10.0, 20.0
#: Fewer clusters than this say nothing about their spread.
FEWEST_CLUSTERS = 2
_ARMS = 2


class _At(IntEnum):
    """Running sums over blocks, then the ends of the current and the previous block."""

    NUM = 0
    DEN = 1
    NUM2 = 2
    NUM_DEN = 3
    DEN2 = 4
    DOF = 5
    SAMPLES = 6
    START = 7  #: of the block being filled; nan while there is none
    END = 8
    PREVIOUS_END = 9


_HEAD = len(_At)
#: Leading floats that change only when a block closes.
SUMS = 7


@dataclass(frozen=True, slots=True)
class Prior:
    """What phi is before any block: `phi0`, worth `nu` events; with `scores`, `nu` outcomes' variance instead."""

    phi0: float = PHI0_REQUESTS
    nu: float = NU_EVENTS
    scores: bool = False


def _arm_width(clusters: int) -> int:
    return 2 * clusters + 1


def width(clusters: int) -> int:
    """Floats of one metric's dispersion state: running sums, the block being filled, the one before."""
    return _HEAD + 2 * _ARMS * _arm_width(clusters)


def fresh(clusters: int) -> Array:
    """No block seen yet."""
    state = np.zeros(width(clusters))
    state[[_At.START, _At.END, _At.PREVIOUS_END]] = np.nan
    return state


def read(counts: ClusterCounts) -> tuple[Array, int] | str:
    """Cluster sums as [start, end, then per arm requests K, sums K, sum of squares], or what is wrong with them."""
    clusters = len(counts.stable.requests)
    if clusters < FEWEST_CLUSTERS:
        return f"has {clusters} clusters, at least {FEWEST_CLUSTERS} are needed"
    row: list[float] = [counts.start, counts.end]
    for arm in (counts.stable, counts.candidate):
        if arm is None:
            row += [0.0] * _arm_width(clusters)
            continue
        if len(arm.requests) != clusters or len(arm.sums) != clusters:
            return f"has {len(arm.requests)} and {len(arm.sums)} entries for {clusters} clusters"
        row += [*arm.requests, *arm.sums, _square(arm)]
    values = np.array(row, dtype=float)
    if not (np.isfinite(values).all() and (values[2:] >= 0.0).all() and counts.end > counts.start):
        return "has a negative or non-finite entry, or ends before it starts"
    return values, clusters


def _square(arm: ArmClusters) -> float:
    # Of events the sum of squares is their number.
    return float(sum(arm.sums)) if arm.sumsq is None else arm.sumsq


def absorb(state: Array, counts: Array) -> Array:
    """Add cluster sums to the block being filled, and close it when it spans an hour.

    Args:
        state: [B, width(K)].
        counts: [B, 2 + 2 (2 K + 1)] as made by `read`.

    """
    result = state.copy()
    body = counts[:, 2:]
    filled = slice(_HEAD, _HEAD + body.shape[1])
    result[:, filled] += body
    result[:, _At.START] = np.fmin(result[:, _At.START], counts[:, 0])
    result[:, _At.END] = counts[:, 1]
    rows = np.flatnonzero(result[:, _At.END] - result[:, _At.START] >= BLOCK_SECONDS * (1.0 - 1e-9))
    if rows.size:
        result[rows] = _close(result[rows])
    return result


def _close(state: Array) -> Array:
    """Move the filled block into the running sums."""
    size = (state.shape[1] - _HEAD) // 2
    block, before = state[:, _HEAD : _HEAD + size], state[:, _HEAD + size :]
    gap = state[:, _At.START] - state[:, _At.PREVIOUS_END]
    joined = np.abs(gap) <= _LARGEST_GAP * BLOCK_SECONDS  # nan compares false: no block before
    num = np.zeros(len(state))
    den, dof, samples = num.copy(), num.copy(), num.copy()
    arm_size = size // _ARMS
    clusters = (arm_size - 1) // 2
    for start in (0, arm_size):
        z, information, n = _deviations(block[:, start : start + arm_size])
        z_before, _, _ = _deviations(before[:, start : start + arm_size])
        product = np.where(joined[:, None], z * z_before, 0.0)
        num += clusters / (clusters - 1.0) * (z * z + 2.0 * product).sum(axis=1)
        den += information
        samples += n
        dof += np.where(information > 0.0, clusters - 1.0, 0.0)
    result = state.copy()
    for slot, value in (
        (_At.NUM, num),
        (_At.DEN, den),
        (_At.NUM2, num * num),
        (_At.NUM_DEN, num * den),
        (_At.DEN2, den * den),
        (_At.DOF, dof),
        (_At.SAMPLES, samples),
    ):
        result[:, slot] += value
    result[:, _At.PREVIOUS_END] = state[:, _At.END]
    result[:, [_At.START, _At.END]] = np.nan
    result[:, _HEAD + size :] = block
    result[:, _HEAD : _HEAD + size] = 0.0
    return result


def _deviations(arm: Array) -> tuple[Array, Array, Array]:
    """Deviations z [B, K], N v [B] and N [B] of one arm's block."""
    clusters = (arm.shape[1] - 1) // 2
    n, s = arm[:, :clusters], arm[:, clusters : 2 * clusters]
    total = np.ascontiguousarray(n).sum(axis=1)
    safe = np.where(total > 0.0, total, 1.0)
    p = np.ascontiguousarray(s).sum(axis=1) / safe
    v = np.maximum(arm[:, -1] / safe - p * p, 0.0)
    z: Array = s - n * p[:, None]
    return z, total * v, total


def learned(state: Array) -> bool:
    """Whether a state [width] holds at least one closed block with outcomes."""
    return bool(state[_At.DOF] > 0.0)


def design_effect(state: Array, prior: Prior) -> Array:
    """Design effects phi [B] of states [B, width]; the prior's phi0 before the first block."""
    den, samples = state[:, _At.DEN], state[:, _At.SAMPLES]
    nu = np.full(len(state), prior.nu)
    if prior.scores:
        nu *= den / np.where(samples > 0.0, samples, 1.0)
    total = den + nu
    safe = np.where(total > 0.0, total, 1.0)
    known = total > 0.0
    estimate = np.where(known, (np.maximum(state[:, _At.NUM], 0.0) + nu * prior.phi0) / safe, prior.phi0)
    residual = state[:, _At.NUM2] - 2.0 * estimate * state[:, _At.NUM_DEN] + estimate**2 * state[:, _At.DEN2]
    between = np.maximum(residual, 0.0) / safe**2
    dof = np.where(state[:, _At.DOF] > 0.0, state[:, _At.DOF], 1.0)
    within = 6.0 * estimate**2 / dof * (den / safe) ** 2
    error = np.where(state[:, _At.DOF] > 0.0, np.sqrt(np.maximum(between, within)), 0.0)
    result: Array = np.maximum(1.0, estimate + error)
    return result
