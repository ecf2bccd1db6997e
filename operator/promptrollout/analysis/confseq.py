r"""Normal-mixture boundaries: anytime-valid confidence sequences, and the e-process of unbounded sums.

For a sum S with variance process V (both cumulative), mixing exp(l S - l^2 V / 2) over l ~ N(0, 1/rho) gives
sqrt(rho / (V + rho)) exp{S^2 / (2 (V + rho))}; mixing over the half-normal gives twice that times Phi(S/sqrt(V+rho)).
Source: Howard, Ramdas, McAuliffe, Sekhon (1810.08240), "two-sided / one-sided normal mixture"; stratified use with
estimated variances is asymptotic (Waudby-Smith et al., 2103.06476).
"""

from __future__ import annotations

import math

import numpy as np

from promptrollout.analysis.mixture import Array


def best_rho(variance: float, alpha: float, *, one_sided: bool = False) -> float:
    """The rho whose boundary is about lowest when V = `variance`: V / (2 ln(1/alpha) + ln(1 + 2 ln(1/alpha))).

    The closed form of the authors' confseq package, within 0.01 % of the lowest boundary; one-sided at 2 alpha.
    """
    doubled = -2.0 * math.log(2.0 * alpha if one_sided else alpha)
    return variance / (doubled + math.log1p(doubled))


def log_mixture(total: Array, variance: Array, rho: float) -> Array:
    """Log e-value [B] of the half-normal mixture at S = `total`, V = `variance`; null: the mean of S is <= 0."""
    # Imported here, as in `one_sided_bound`: it takes longer to import than all the rest, and only sums need it.
    from scipy.special import log_ndtr  # noqa: PLC0415

    scale = variance + rho
    result: Array = (
        0.5 * np.log(4.0 * rho / scale) + total * total / (2.0 * scale) + log_ndtr(total / np.sqrt(scale))
    )
    return result


def two_sided_bound(variance: float, rho: float, alpha: float) -> float:
    """|S| stays below this for ever with probability 1 - alpha."""
    scale = variance + rho
    return math.sqrt(scale * (math.log(scale / rho) - 2.0 * math.log(alpha)))


def one_sided_bound(variance: float, rho: float, alpha: float) -> float:
    """S stays below this for ever with probability 1 - alpha."""
    # The operator never needs it.
    from scipy.optimize import brentq  # noqa: PLC0415

    def excess(total: float) -> float:
        value = log_mixture(np.array([total]), np.array([variance]), rho)[0]
        return float(value) + math.log(alpha)

    return float(brentq(excess, 0.0, 10.0 + two_sided_bound(variance, rho, alpha), xtol=1e-12))
