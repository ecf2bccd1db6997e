"""What a Prometheus knows of a rollout's traffic and of stable, for the planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from promptrollout.analysis import AnalysisPlan, Counts, Evidence, History, dispersion
from promptrollout.analysis.evidence import FLOAT, prior
from promptrollout.analysis.kinds.base import Slot
from promptrollout.cli.printing import fail
from promptrollout.sources.client import PrometheusClient
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.planning import Planned
from promptrollout.sources.prometheus import PrometheusSource
from promptrollout.sources.promql import duration
from promptrollout.sources.protocol import Subject
from promptrollout.sources.responses import Fault

#: Matches no revision.
_NOBODY = "none"


@dataclass(frozen=True)
class Measured:
    """Requests a second, stable's counts and design effects by metric; `problem` says what was not found."""

    per_second: float = 0.0
    stable: Mapping[str, Counts] = field(default_factory=dict)
    design_effects: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


async def measure(
    url: str,
    planned: Planned,
    key: str,
    span: tuple[float, float],
    options: tuple[str | None, str | None],
) -> Measured:
    """Ask a Prometheus.

    Args:
        url: of its HTTP API; from the user's command line, never from an object.
        planned: what the rollout compares.
        key: namespace/name of the rollout.
        span: the moment until which is read (Unix seconds), and how many seconds before it.
        options: a counter of requests, instead of the SDK's; and stable's revision, instead of the one that got the
            most requests.

    """
    (now, seconds), (selector, revision) = span, options
    try:
        config = PrometheusConfig(url, timeout=30.0)
    except ValueError as error:
        fail(f"--from-prometheus: {error}", 2)
    counter = selector or f'promptrollout_requests_total{{rollout="{key}"}}'
    client, source = PrometheusClient(config), PrometheusSource(config)
    try:
        window = duration(seconds)
        by = "" if selector else " by (revision)"
        found = await client.instant(f"sum{by} (increase({counter}[{window}]))", now, "plan")
        rates = {dict(s.labels).get("revision", ""): s.points[-1][1] / seconds for s in found if s.points}
        if not rates:
            return Measured(problem=f"{counter} has no samples in the last {window} at {url}")
        stable = revision or max(rates, key=lambda r: rates[r])
        subject = Subject(key, _NOBODY, stable, 0, 0, planned.queries)
        past = await source.history(subject, now - seconds, now)
    except Fault as fault:
        fail(f"{url}: {fault.message}")
    finally:
        await source.close()
        await client.close()
    seed = {name: one for name, one in past.items() if isinstance(one, History)}
    counts = {name: one.counts for name, one in seed.items() if one.counts is not None}
    return Measured(sum(rates.values()), counts, _effects(planned.plan, seed))


def _effects(plan: AnalysisPlan, seed: Mapping[str, History]) -> dict[str, float]:
    """Those of both arms together: a plan supposes that the candidate's requests resemble each other as stable's do."""
    evidence = Evidence.initial(plan, seed)
    found = {}
    for i, metric in enumerate(plan.metrics):
        blocks = np.frombuffer(evidence.blocks[i][0], dtype=FLOAT)
        known = dispersion.shared_effect(blocks[None], prior(metric, units=False)) if len(blocks) else None
        found[metric.name] = float(evidence.array(i)[Slot.PHI] if known is None else known[0])
    return found
