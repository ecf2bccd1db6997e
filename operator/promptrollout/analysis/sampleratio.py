r"""Sample-ratio mismatch: do requests split between the arms as the weights say?

Sequential multinomial test (Lindon & Malek, NeurIPS 2022): under the null the counts are multinomial with the
weights' probabilities theta, under the alternative with a Dirichlet(100 theta) draw. The Bayes factor

    BF = B(alpha + n) / B(alpha) / prod theta_i^{n_i}

is an e-process. It starts anew with every exposure: weights are different hypotheses.

Requests of one unit go to one arm together, so raw request counts vary more than a multinomial's, by
E n^2 / E n of the requests per unit. The counts are divided by that design effect. Where requests per hash cluster
are known it is estimated from how the candidate's share differs between clusters: a heavy unit moves one cluster, a
broken assignment moves them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from promptrollout.analysis.counts import ArmRequests
from promptrollout.analysis.dispersion import FEWEST_CLUSTERS

CONCENTRATION = 100.0
FULL_WEIGHT = 10_000
#: Weight of the assumed design effect, in expected Bernoulli variance of the candidate's count.
_NU = 10.0

Clusters = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class RatioCounts:
    """Requests per arm since the exposure began, and per cluster where every window so far had them."""

    exposure: int
    weight: int
    candidate: float = 0.0
    stable: float = 0.0
    clusters: Clusters | None = None

    def plus(self, requests: ArmRequests) -> RatioCounts:
        """With one more window of the same exposure."""
        first = self.candidate == 0.0 and self.stable == 0.0
        return RatioCounts(
            self.exposure,
            self.weight,
            self.candidate + requests.candidate,
            self.stable + requests.stable,
            requests.clusters if first else _add(self.clusters, requests.clusters),
        )


@dataclass(frozen=True, slots=True)
class RatioAssessment:
    """Whether the assignment is to be trusted, with what was expected and what was seen."""

    mismatch: bool
    log_e: float
    threshold: float
    expected: float  #: the candidate's share by the weights
    observed: float  #: the candidate's share of requests, nan without requests
    requests: float
    design_effect: float


def _add(one: Clusters | None, two: Clusters | None) -> Clusters | None:
    if one is None or two is None or len(one[0]) != len(two[0]):
        return None
    return (
        tuple(a + b for a, b in zip(one[0], two[0], strict=True)),
        tuple(a + b for a, b in zip(one[1], two[1], strict=True)),
    )


def log_bayes_factor(counts: tuple[float, ...], shares: tuple[float, ...]) -> float:
    """Log evidence against `shares` (positive, summing to one) given `counts` (any real numbers of at least 0)."""
    terms = [math.lgamma(CONCENTRATION), -math.lgamma(CONCENTRATION + math.fsum(counts))]
    for n, theta in zip(counts, shares, strict=True):
        alpha = CONCENTRATION * theta
        terms += [math.lgamma(alpha + n), -math.lgamma(alpha), -n * math.log(theta)]
    return math.fsum(terms)


def allocation_effect(counts: RatioCounts, assumed: float) -> float:
    """Design effect of the arm counts: estimated from clusters with its error added, or the assumed one."""
    total = counts.candidate + counts.stable
    if counts.clusters is None or not total:
        return assumed
    candidate, stable = (np.asarray(arm, dtype=float) for arm in counts.clusters)
    clusters = len(candidate)
    if clusters < FEWEST_CLUSTERS:
        return assumed
    both = candidate + stable
    share = float(candidate.sum() / max(both.sum(), 1.0))
    off = candidate - share * both
    num = clusters / (clusters - 1.0) * float((off * off).sum())
    den = share * (1.0 - share) * float(both.sum())
    estimate = (num + _NU * assumed) / (den + _NU)
    error = estimate * float(np.sqrt(6.0 / (clusters - 1.0))) * den / (den + _NU)
    return max(1.0, estimate + error)


def assess_ratio(counts: RatioCounts | None, assumed: float, alpha: float) -> RatioAssessment | None:
    """The test of the current exposure; None where there is nothing to test (no requests, all weight on one arm)."""
    if counts is None or not 0 < counts.weight < FULL_WEIGHT:
        return None
    total = counts.candidate + counts.stable
    expected = counts.weight / FULL_WEIGHT
    effect = allocation_effect(counts, assumed)
    seen = (counts.candidate / effect, counts.stable / effect)
    log_e = log_bayes_factor(seen, (expected, 1.0 - expected))
    threshold = -math.log(alpha)
    observed = counts.candidate / total if total else float("nan")
    return RatioAssessment(log_e >= threshold, log_e, threshold, expected, observed, total, effect)
