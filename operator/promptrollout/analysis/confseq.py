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

#: From here on the series is taken for erfcx.
_FAR = 20.0


def best_rho(variance: float, alpha: float, *, one_sided: bool = False) -> float:
    """The rho whose boundary is about lowest when V = `variance`: V / (2 ln(1/alpha) + ln(1 + 2 ln(1/alpha))).

    The closed form of the authors' confseq package, within 0.01 % of the lowest boundary; one-sided at 2 alpha.
    """
    doubled = -2.0 * math.log(2.0 * alpha if one_sided else alpha)
    return variance / (doubled + math.log1p(doubled))


def log_mixture(total: Array, variance: Array, rho: float) -> Array:
    """Log e-value [B] of the half-normal mixture at S = `total`, V = `variance`; null: the mean of S is <= 0."""
    scale = variance + rho
    result: Array = 0.5 * np.log(4.0 * rho / scale) + _log_bent(total / np.sqrt(scale))
    return result


def _log_bent(t: Array) -> Array:
    """t^2 / 2 + ln Phi(t) [B], without the cancellation that adding the two has for negative t.

    For t < 0 it is ln(erfcx(y) / 2) with y = -t / sqrt(2): from erfc, and far out from its asymptotic series (DLMF
    7.12.1, whose next term is below 1e-14 there). `math.erfc` serves: scipy.special is 14 MiB of memory.
    """
    y = np.abs(t) / math.sqrt(2.0)
    tail = 0.5 * np.array(list(map(math.erfc, y.tolist())))
    square = y * y
    result: Array = square + np.where(t < 0.0, np.log(np.where(y < _FAR, tail, 0.5)), np.log1p(-tail))
    far = (t < 0.0) & (y >= _FAR)
    if far.any():
        x = 0.5 / square[far]
        series = 1.0 - x * (1.0 - x * (3.0 - x * (15.0 - x * (105.0 - x * 945.0))))
        result[far] = np.log(series / (2.0 * math.sqrt(math.pi) * y[far]))
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
