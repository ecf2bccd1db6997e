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

The candidate may be more correlated than stable, and at a small weight nearly all of the variance of the difference is
its own, while nearly all of the sums are stable's. So phi is at least the candidate's own estimate, by the same formula
from its sums alone, with a prior worth OWN_SHARE of nu events. What is believed before it has any outcomes is
OWN_CAUTION times phi0, but not more than requests of one unit can bring about at all: phi = 1 + (m - 1) icc <= m with
m = E n^2 / E n, which the spread of the clusters' numbers of requests tells, K / (K-1) sum_k (n_k - N/K)^2 / N, again
with a prior and its error.
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
#: How much of nu the candidate's own prior is worth, and how many times phi0 it is: at a correlation of .4
#: conversations of 8 have 6.6, and with phi0 alone such a candidate on the margin was rolled back in 5.8 % of 2,500
#: runs, most of them in its first hours (docs/evidence-benchmark.md, "Requests of one conversation").
OWN_SHARE, OWN_CAUTION = 0.4, 1.5
#: Prior of E n^2 / E n of requests per unit (geometric conversations of 8), worth so many requests.
_LENGTH, _NU_LENGTH = 15.0, 100.0
#: Fewer clusters than this say nothing about their spread.
FEWEST_CLUSTERS = 2
_ARMS = 2


class _Sum(IntEnum):
    """Running sums over blocks of one estimate."""

    NUM = 0
    DEN = 1
    NUM2 = 2
    NUM_DEN = 3
    DEN2 = 4
    DOF = 5
    SAMPLES = 6


_SUMS = len(_Sum)
#: Both arms together, and the candidate by itself.
_BOTH, _OWN = slice(0, _SUMS), slice(_SUMS, 2 * _SUMS)


class _At(IntEnum):
    """What follows them: the spread of the clusters' requests, then the ends of the current and the previous block."""

    LENGTHS = 2 * _SUMS
    REQUESTS = 2 * _SUMS + 1
    FREEDOM = 2 * _SUMS + 2
    START = 2 * _SUMS + 3  #: of the block being filled; nan while there is none
    END = 2 * _SUMS + 4
    PREVIOUS_END = 2 * _SUMS + 5


_HEAD = _At.PREVIOUS_END + 1
#: Leading floats that change only when a block closes.
SUMS = int(_At.START)
#: States of operators before the candidate had sums of its own: both arms' sums and the three times.
_OLD_HEAD = _SUMS + 3


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


def modern(state: Array) -> Array:
    """A state [width] as this version keeps it; of an older one the candidate's own sums begin anew.

    Both arms' cluster sums come in fours of K and twice an odd number, by which the two can be told apart.
    """
    if (len(state) - _OLD_HEAD) % 4 or len(state) < _OLD_HEAD:
        return state
    return np.concatenate([state[:_SUMS], np.zeros(_HEAD - _OLD_HEAD), state[_SUMS:]])


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
    arm_size = size // _ARMS
    clusters = (arm_size - 1) // 2
    result = state.copy()
    both = np.zeros((len(state), _SUMS))
    for start in (0, arm_size):  # stable, candidate
        z, information, n = _deviations(block[:, start : start + arm_size])
        z_before, _, _ = _deviations(before[:, start : start + arm_size])
        product = np.where(joined[:, None], z * z_before, 0.0)
        own = np.zeros((len(state), _SUMS))
        own[:, _Sum.NUM] = clusters / (clusters - 1.0) * (z * z + 2.0 * product).sum(axis=1)
        own[:, _Sum.DEN] = information
        own[:, _Sum.DOF] = np.where(information > 0.0, clusters - 1.0, 0.0)
        own[:, _Sum.SAMPLES] = n
        both += own
        if start:
            result[:, _OWN] += _squared(own)
        requests = block[:, start : start + clusters]
        off = requests - n[:, None] / clusters
        result[:, _At.LENGTHS] += clusters / (clusters - 1.0) * (off * off).sum(axis=1)
        result[:, _At.REQUESTS] += n
        result[:, _At.FREEDOM] += np.where(n > 0.0, clusters - 1.0, 0.0)
    result[:, _BOTH] += _squared(both)
    result[:, _At.PREVIOUS_END] = state[:, _At.END]
    result[:, [_At.START, _At.END]] = np.nan
    result[:, _HEAD + size :] = block
    result[:, _HEAD : _HEAD + size] = 0.0
    return result


def _squared(sums: Array) -> Array:
    """A block's sums [B, 7] with the squares of num and den filled in."""
    num, den = sums[:, _Sum.NUM], sums[:, _Sum.DEN]
    sums[:, _Sum.NUM2], sums[:, _Sum.NUM_DEN], sums[:, _Sum.DEN2] = num * num, num * den, den * den
    return sums


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
    return bool(modern(state)[_Sum.DOF] > 0.0)


def design_effect(state: Array, prior: Prior) -> Array:
    """Design effects phi [B] of states [B, width]."""
    both = state[:, _BOTH]
    worth, most = _worth(both, prior), _longest(state)
    own = _estimate(state[:, _OWN], np.minimum(OWN_CAUTION * prior.phi0, most), OWN_SHARE * worth)
    result: Array = np.maximum(shared_effect(state, prior), np.minimum(own, most))
    return result


def shared_effect(state: Array, prior: Prior) -> Array:
    """Those [B] of both arms together: what phi comes to where the candidate turns out to be like stable."""
    both = state[:, _BOTH]
    pooled = _estimate(both, np.full(len(state), prior.phi0), _worth(both, prior))
    result: Array = np.maximum(1.0, pooled)
    return result


def _worth(sums: Array, prior: Prior) -> Array:
    """What a prior weighs, in units of den [B]."""
    nu = np.full(len(sums), prior.nu)
    if prior.scores:
        samples = sums[:, _Sum.SAMPLES]
        nu *= sums[:, _Sum.DEN] / np.where(samples > 0.0, samples, 1.0)
    return nu


def _estimate(sums: Array, phi0: Array, nu: Array) -> Array:
    """The estimate and its standard error, added up [B], of running sums [B, 7]."""
    den, dof = sums[:, _Sum.DEN], sums[:, _Sum.DOF]
    total = den + nu
    safe = np.where(total > 0.0, total, 1.0)
    estimate = np.where(total > 0.0, (np.maximum(sums[:, _Sum.NUM], 0.0) + nu * phi0) / safe, phi0)
    residual = sums[:, _Sum.NUM2] - 2.0 * estimate * sums[:, _Sum.NUM_DEN] + estimate**2 * sums[:, _Sum.DEN2]
    between = np.maximum(residual, 0.0) / safe**2
    within = 6.0 * estimate**2 / np.where(dof > 0.0, dof, 1.0) * (den / safe) ** 2
    error = np.where(dof > 0.0, np.sqrt(np.maximum(between, within)), 0.0)
    result: Array = estimate + error
    return result


def _longest(state: Array) -> Array:
    """E n^2 / E n of requests per unit, with its error on top [B]."""
    requests, freedom = state[:, _At.REQUESTS], state[:, _At.FREEDOM]
    estimate = (state[:, _At.LENGTHS] + _NU_LENGTH * _LENGTH) / (requests + _NU_LENGTH)
    error = np.sqrt(6.0 / np.where(freedom > 0.0, freedom, 1.0)) * (freedom > 0.0)
    result: Array = estimate * (1.0 + error)
    return result
