"""Rollouts in virtual time: the real decision core and the real analysis against generated traffic. No I/O.

    world = World(Traffic(per_second=10_000 / 86_400), {"errors": EventWorld(stable=0.02, candidate=0.06)})
    report = simulate(spec, plan, world, runs=1000, processes=2)
    report.share(Outcome.RolledBack).value, report.endings, report.to_dict()

Canaries, A/B tests (`Plans.contests`, `World.arms`) and shadows (`Plans.shadow`), with gates and calendars.
Windows are the spec's intervals; a weight takes effect with the first window after the pods have loaded it.
"""

from promptrollout.simulation.plans import Plans, challengers
from promptrollout.simulation.report import Ending, Moment, Report, Share, Spread
from promptrollout.simulation.simulate import Progress, simulate
from promptrollout.simulation.trial import Outcome, RunResult
from promptrollout.simulation.world import (
    Course,
    CoverageWorld,
    EventWorld,
    LatencyWorld,
    MetricWorld,
    Outage,
    ScoreWorld,
    SumWorld,
    Traffic,
    World,
    is_worse,
)

__all__ = [
    "Course",
    "CoverageWorld",
    "Ending",
    "EventWorld",
    "LatencyWorld",
    "MetricWorld",
    "Moment",
    "Outage",
    "Outcome",
    "Plans",
    "Progress",
    "Report",
    "RunResult",
    "ScoreWorld",
    "Share",
    "Spread",
    "SumWorld",
    "Traffic",
    "World",
    "challengers",
    "is_worse",
    "simulate",
]
