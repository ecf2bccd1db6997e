"""The stable arm's past."""

import pytest

from promptrollout.analysis import EventCounts, Evidence, History
from promptrollout.analysis.plan import AnalysisPlan, Correlation, MetricOptions, events_metric
from promptrollout.sources.history import read_history
from promptrollout.sources.protocol import MetricQuery, NoData, Reason, SourceError
from promptrollout.sources.responses import Fault
from promptrollout.sources.strands import Series
from promptrollout.sources.tally import Reading
from tests.sources.doubles import requests, series, subject

NOW = 100_000.0
CORRELATED = MetricQuery("errors", preset="sdk/errors", correlated=True)


Counter = tuple[str, float, dict[str, str], float]


class Grid:
    """A store of counters that grow steadily: series by name, each (growth a second, labels, since)."""

    def __init__(self, *counters: Counter) -> None:
        self.counters = counters
        self.asked: list[tuple[str, float, float]] = []

    async def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((query, start, end))
        times = [start + i * step for i in range(round((end - start) / step) + 1)]
        return [
            series(name, [(t, rate * (t - since)) for t in times if t >= since], **labels)
            for name, rate, labels, since in self.counters
            if query.startswith(f"{name}{{")
        ]


def counted(
    rate: float, *, revision: str = "s", outcome: str = "ok", since: float = 0.0
) -> tuple[str, float, dict[str, str], float]:
    labels = dict(requests(revision, [], outcome=outcome).labels)
    return labels.pop("__name__"), rate, labels, since


async def test_the_shortest_past_with_enough_requests_is_taken() -> None:
    grid = Grid(counted(9.0), counted(1.0, outcome="error"), counted(50.0, revision="c"))
    found = await read_history(Reading.of(subject()), grid, NOW - 86400, NOW)
    assert found == {"errors": History(EventCounts(6000, 600))}
    assert [(start, end) for _, start, end in grid.asked] == [(NOW - 600, NOW)]


async def test_with_little_traffic_it_reaches_further_back_as_far_as_it_may() -> None:
    grid = Grid(counted(0.02))
    found = await read_history(Reading.of(subject()), grid, NOW - 30_000, NOW)
    (past,) = found.values()
    assert isinstance(past, History)
    assert past.counts == EventCounts(pytest.approx(600), 0)
    assert min(start for _, start, _ in grid.asked) == NOW - 30_000


async def test_pods_that_are_younger_than_the_past_began_at_zero() -> None:
    grid = Grid(counted(1.0, since=NOW - 300))
    found = await read_history(Reading.of(subject()), grid, NOW - 600, NOW)
    assert found == {"errors": History(EventCounts(300, 0))}


async def test_a_first_rollout_has_no_past() -> None:
    found = await read_history(Reading.of(subject()), Grid(), NOW - 86400, NOW)
    assert found == {
        "errors": NoData(
            'promptrollout_requests_total{rollout="shop/support",revision="ssssssssss"}', "stable"
        )
    }


async def test_a_store_that_is_down_is_an_error() -> None:
    class Down:
        async def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
            raise Fault(Reason.UNREACHABLE, "Connection refused")

    found = await read_history(Reading.of(subject(CORRELATED)), Down(), NOW - 86400, NOW)
    assert found == {"errors": SourceError(Reason.UNREACHABLE, "Connection refused")}


async def test_clusters_come_hour_by_hour_and_the_analysis_takes_them() -> None:
    labels = {"rollout": "shop/support", "arm": "stable"}
    clusters = [
        ("promptrollout_cluster_requests_total", 0.1, {**labels, "cluster": str(k)}, 0.0) for k in range(16)
    ]
    events = [
        (
            "promptrollout_cluster_events_total",
            0.01 * (k % 3),
            {**labels, "cluster": str(k), "metric": "errors"},
            0.0,
        )
        for k in range(16)
    ]
    grid = Grid(counted(1.6), *clusters, *events)
    found = await read_history(Reading.of(subject(CORRELATED)), grid, NOW - 4 * 3600, NOW)
    past = found["errors"]
    assert isinstance(past, History)
    assert [(b.requests.start, b.requests.end) for b in past.clusters if b.requests] == [
        (NOW - hours * 3600, NOW - (hours - 1) * 3600) for hours in (4, 3, 2, 1)
    ]
    assert past.clusters[0].requests is not None
    assert past.clusters[0].requests.stable.requests == pytest.approx([360.0] * 16)
    options = MetricOptions(correlation=Correlation.clusters(units=True))
    plan = AnalysisPlan((events_metric("errors", options=options),))
    assert Evidence.initial(plan, {"errors": past}).blocks != Evidence.initial(plan).blocks
