"""The source on a real Prometheus that scrapes pods with the real SDK."""

import math
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest

from e2e.controlplane import prometheus as real
from e2e.controlplane.binaries import find
from e2e.processes.supervisor import Supervisor, wait_until
from promptrollout.analysis import (
    EventCounts,
    Evidence,
    HistogramCounts,
    History,
    ScoreCounts,
    SumCounts,
    fold,
)
from promptrollout.api.spec import Analysis
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.planning import Planned, plan_of
from promptrollout.sources.prometheus import PrometheusSource
from promptrollout.sources.protocol import (
    EventSelectors,
    MetricQuery,
    NoData,
    Reason,
    Sample,
    SourceError,
    Subject,
)
from tests.sources.pods import Application

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(180)]

_names = count()


@pytest.fixture(scope="module")
def prometheus() -> Iterator[real.Prometheus]:
    with Supervisor() as supervisor:
        running = real.start(supervisor, find(["prometheus"]), scrape_interval="200ms")
        running.wait()
        yield running


@pytest.fixture
def app(prometheus: real.Prometheus, tmp_path: Path) -> Iterator[Application]:
    application = Application(prometheus, tmp_path, f"app-{next(_names)}")
    application.add_pod()
    try:
        yield application
    finally:
        application.close()


@pytest.fixture
async def source(prometheus: real.Prometheus) -> AsyncIterator[PrometheusSource]:
    made = PrometheusSource(PrometheusConfig(prometheus.url, timeout=20))
    yield made
    await made.close()


ERRORS = MetricQuery("errors", preset="sdk/errors", correlated=True)
ALL = (
    ERRORS,
    MetricQuery("helpful", preset="sdk/score", score="helpfulness", correlated=True),
    MetricQuery("latency", preset="sdk/latency"),
    MetricQuery("ttft", preset="sdk/ttft"),
    MetricQuery("tokens", preset="sdk/tokens"),
    MetricQuery("cost", preset="sdk/cost"),
    MetricQuery(
        "refusals",
        events=EventSelectors(
            'app_refusals_total{rev="{{revision}}"}', 'app_answers_total{rev="{{revision}}"}'
        ),
    ),
)


def subject(app: Application, *queries: MetricQuery, since: float = 0.0) -> Subject:
    return Subject(app.key, app.candidate, app.stable, 3, 3000, queries, since)


def totals(sample: Sample, metric: str, arm: str) -> EventCounts:
    counts = [getattr(window.metrics[metric], arm) for window in sample.windows if metric in window.metrics]
    assert all(isinstance(c, EventCounts) for c in counts)
    return EventCounts(math.fsum(c.total for c in counts), math.fsum(c.bad for c in counts))


async def test_every_request_is_counted_once_over_restarts_and_new_pods(
    app: Application, prometheus: real.Prometheus, source: PrometheusSource
) -> None:
    app.wait_until_scraped()
    edges = [math.ceil(time.time())]
    app.wait_until_read_past(edges[0])
    live: list[Sample] = []
    for window in range(6):
        app.serve(97)
        if window == 2:
            app.add_pod()
        if window == 3:
            app.wait_until_scraped()  # what is counted after the last scrape is lost with the process, to any reader
            app.pods[0] = app.pods[0].restart()
        edges.append(math.ceil(max(time.time(), edges[-1] + 1)))
        app.wait_until_read_past(edges[-1])
        live.append((await source.sample([subject(app, *ALL)], edges[-2], edges[-1]))[app.key])
    edges.append(math.ceil(app.wait_until_scraped()))
    app.wait_until_read_past(edges[-1])
    live.append((await source.sample([subject(app, *ALL)], edges[-2], edges[-1]))[app.key])

    seen = Sample(tuple(w for sample in live for w in sample.windows))
    assert not any(sample.unreadable for sample in live)
    assert totals(seen, "errors", "candidate") == EventCounts(app.truth["c"], app.truth["c bad"])
    assert totals(seen, "errors", "stable") == EventCounts(app.truth["s"], app.truth["s bad"])
    assert totals(seen, "refusals", "candidate") == EventCounts(app.truth["c"], app.truth["c bad"])
    assert [(w.start, w.end) for w in seen.windows] == list(pairwise(edges))
    assert all(w.exposure == 3 and not w.late for w in seen.windows)

    again = PrometheusSource(PrometheusConfig(prometheus.url, timeout=20))
    replayed = (await again.sample([subject(app, *ALL)], edges[0], edges[-1], 1.0))[app.key]
    step_by_step = [
        (await again.sample([subject(app, *ALL)], start, start + 1))[app.key].windows[0]
        for start in range(edges[0], edges[-1])
    ]
    await again.close()
    assert replayed.windows == tuple(step_by_step)
    for arm in ("candidate", "stable"):
        assert totals(replayed, "errors", arm) == totals(seen, "errors", arm)


async def test_each_preset_reads_what_the_sdk_exports(app: Application, source: PrometheusSource) -> None:
    start = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(start)
    app.serve(300)
    end = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(end)
    found = (await source.sample([subject(app, *ALL)], start, end))[app.key]
    assert found.problems == {}
    (window,) = found.windows
    n, bad = app.truth["c"], app.truth["c bad"]
    counts = {name: pair.candidate for name, pair in window.metrics.items()}
    assert counts["errors"] == EventCounts(n, bad)
    nodes = tuple({0: n - bad, 15: bad}.get(i, 0.0) for i in range(21))
    assert counts["helpful"] == ScoreCounts(n, nodes, n - 0.75 * bad, n - bad + bad / 16)
    assert counts["tokens"] == SumCounts(n, app.truth["c tokens"])
    assert counts["cost"] == SumCounts(n, 0)
    assert counts["refusals"] == EventCounts(n, bad)
    latency, ttft = counts["latency"], counts["ttft"]
    assert isinstance(latency, HistogramCounts)
    assert isinstance(ttft, HistogramCounts)
    assert (len(latency.buckets), sum(latency.buckets), sum(ttft.buckets)) == (62, n, 0)
    assert window.metrics["errors"].candidate_units == EventCounts(
        n, bad
    )  # each request is a unit of its own
    assert window.requests is not None
    assert (window.requests.candidate, window.requests.stable) == (n, app.truth["s"])


async def test_cluster_sums_come_with_the_window_their_block_ends_in(
    app: Application, source: PrometheusSource
) -> None:
    # No block may end in the middle of it.
    wait_until(lambda: time.time() % 300 < 270, "a block that has only just begun", 40)
    start = app.wait_until_scraped()
    app.wait_until_read_past(start)
    app.serve(300)
    now = app.wait_until_scraped()
    # The next multiple of five minutes has not come yet: ask up to it as if it had, nothing more will be counted.
    end = math.ceil(now / 300) * 300
    found = (await source.sample([subject(app, *ALL, since=start)], start, end))[app.key]
    (window,) = found.windows
    for name, sums in (
        ("errors", app.truth["c bad"]),
        ("helpful", app.truth["c"] - 0.75 * app.truth["c bad"]),
    ):
        clusters = window.clusters[name].requests
        assert clusters is not None
        assert clusters.candidate is not None
        assert (clusters.start, clusters.end) == (start, end)
        assert (sum(clusters.candidate.requests), sum(clusters.candidate.sums)) == (app.truth["c"], sums)
        assert sum(clusters.stable.requests) == app.truth["s"]
        assert sum(n > 0 for n in clusters.stable.requests) == 16


async def test_pods_say_what_they_serve_and_since_when(app: Application, source: PrometheusSource) -> None:
    app.add_pod()
    app.wait_until_scraped()
    words = await source.acknowledgements([app.key, "shop/nobody"])
    assert isinstance(words, dict)
    assert words["shop/nobody"] == ()
    assert {(w.namespace, w.pod, w.instance, w.sequence, w.hash) for w in words[app.key]} == {
        ("shop", pod.name, f"127.0.0.1:{pod.port}", 4, app.hash) for pod in app.pods
    }
    assert all(0 <= time.time() - w.loaded_at < 60 for w in words[app.key])


async def test_stables_past_seeds_the_analysis(app: Application, source: PrometheusSource) -> None:
    app.serve(200)
    now = app.wait_until_scraped()
    found = await source.history(subject(app, *ALL), now - 3600, now)
    errors = found["errors"]
    assert isinstance(errors, History)
    assert errors.counts == EventCounts(app.truth["s"], app.truth["s bad"])
    assert errors.units == EventCounts(app.truth["s"], app.truth["s bad"])
    helpful = found["helpful"]
    assert isinstance(helpful, History)
    assert isinstance(helpful.counts, ScoreCounts)
    assert helpful.counts.count == app.truth["s"]


async def test_a_spec_goes_all_the_way_to_evidence(app: Application, source: PrometheusSource) -> None:
    planned = plan_of(
        Analysis.model_validate(
            {
                "metrics": [
                    {"name": "errors", "preset": "sdk/errors"},
                    {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"},
                    {"name": "latency", "preset": "sdk/latency"},
                    {"name": "tokens", "preset": "sdk/tokens"},
                ]
            }
        )
    )
    assert isinstance(planned, Planned)
    start = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(start)
    app.serve(300)
    end = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(end)
    found = (await source.sample([subject(app, *planned.queries)], start, end, 1.0))[app.key]
    evidence = fold(planned.plan, Evidence.initial(planned.plan), found.windows)
    assert (found.problems, evidence.rejected, evidence.problems) == ({}, 0, ())
    assert evidence.last_end == end


async def test_what_matches_nothing_and_what_is_refused_are_told_apart(
    app: Application, source: PrometheusSource
) -> None:
    now = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(now)
    who = subject(
        app,
        MetricQuery("score", preset="sdk/score", score="nobody-gave-it"),
        MetricQuery(
            "typo",
            events=EventSelectors('app_x{rev="{{revision}}"}', 'app_answers_total{rev="{{revision}}"}'),
        ),
        MetricQuery("regex", events=EventSelectors('a{rev="{{revision}}",p=~"("}', 'b{rev="{{revision}}"}')),
        ERRORS,
    )
    found = (await source.sample([who], now - 1, now))[app.key]
    score, regex = found.problems["score"], found.problems["regex"]
    assert isinstance(score, NoData)
    assert (score.arm, 'score="nobody-gave-it"' in score.selector) == ("both", True)
    assert isinstance(found.problems["typo"], NoData)
    assert isinstance(regex, SourceError)
    assert regex.reason is Reason.REJECTED
    assert "error parsing regexp" in regex.message
    assert "errors" in found.windows[0].metrics


async def test_a_prometheus_that_freezes_times_out_and_is_read_again_afterwards(
    app: Application, prometheus: real.Prometheus
) -> None:
    now = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(now)
    source = PrometheusSource(PrometheusConfig(prometheus.url, timeout=0.5))
    prometheus.process.pause()
    try:
        frozen = (await source.sample([subject(app, ERRORS)], now - 1, now))[app.key]
    finally:
        prometheus.process.resume()
    assert frozen.unreadable is not None
    assert frozen.unreadable.reason is Reason.TIMEOUT
    prometheus.wait()
    for _ in range(20):  # half a second is little on a busy machine
        awake = (await source.sample([subject(app, ERRORS)], now - 1, now))[app.key]
        if awake.unreadable is None:
            break
    await source.close()
    assert awake.unreadable is None
    assert len(awake.windows) == 1


async def test_a_prometheus_that_was_killed_is_unreachable() -> None:
    with Supervisor() as supervisor:
        running = real.start(supervisor, find(["prometheus"]))
        running.wait()
        source = PrometheusSource(PrometheusConfig(running.url))
        who = Subject("shop/x", "c", "s", 1, 100, (ERRORS,))
        before = (await source.sample([who], 60, 90))["shop/x"]
        running.process.kill()
        after = (await source.sample([who], 90, 120))["shop/x"]
        await source.close()
    assert isinstance(before.problems["errors"], NoData)
    assert after.unreadable is not None
    assert after.unreadable.reason is Reason.UNREACHABLE
