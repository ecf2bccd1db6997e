"""The guards' joint evidence: a weighted mean of e-processes is an e-process, so no correction is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from promptrollout.analysis.plan import MetricPlan


def guards_log_e(metrics: Sequence[MetricPlan], harm: Sequence[float]) -> float:
    """Logarithm of the weighted mean of the guards' e-values (statistics.md, "Defaults"); zero without guards.

    Args:
        metrics: of the plan.
        harm: log evidence of harm of each, 0 for a metric without data.

    """
    terms = [(math.log(m.weight) + h, m.weight) for m, h in zip(metrics, harm, strict=True) if m.guards]
    if not terms:
        return 0.0
    top = max(log_wealth for log_wealth, _ in terms)
    total = math.fsum(math.exp(log_wealth - top) for log_wealth, _ in terms)
    return top + math.log(total) - math.log(math.fsum(weight for _, weight in terms))
