"""Scores by token from another process through a real Pushgateway; coverage and shadows as presets read them."""

import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e import pushgateway
from e2e.controlplane import prometheus as real
from e2e.controlplane.binaries import find
from e2e.controlplane.build import BuildError
from e2e.processes.supervisor import Supervisor, wait_until
from promptrollout.analysis import EventCounts, Evidence, PairedCounts, ScoreCounts, fold
from promptrollout.api.spec import Analysis
from promptrollout.delivery import ArmWeight, Payload, Shadow, render
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.planning import Planned, plan_of
from promptrollout.sources.prometheus import PrometheusSource
from promptrollout.sources.protocol import MetricQuery, Sample, Subject
from tests.sources.pods import Application

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(180)]

JUDGE = """
import json, sys
from promptrollout_sdk import Judge
judge = Judge()
for line in sys.stdin:
    token, value = json.loads(line)
    assert judge.score(token, "helpfulness", value)
judge.push(sys.argv[1], job="judge", grouping={"run": sys.argv[2]})
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[real.Prometheus, pushgateway.Pushgateway]]:
    try:
        program = pushgateway.find()
    except BuildError as error:
        pytest.skip(str(error))
    with Supervisor() as supervisor:
        prometheus = real.start(supervisor, find(["prometheus"]), scrape_interval="200ms")
        gateway = pushgateway.start(supervisor, program)
        prometheus.wait()
        yield prometheus, gateway


@pytest.fixture
def app(stack: tuple[real.Prometheus, pushgateway.Pushgateway], tmp_path: Path) -> Iterator[Application]:
    application = Application(stack[0], tmp_path, "answers")
    application.add_pod()
    try:
        yield application
    finally:
        application.close()


@pytest.fixture
async def source(stack: tuple[real.Prometheus, pushgateway.Pushgateway]) -> AsyncIterator[PrometheusSource]:
    made = PrometheusSource(PrometheusConfig(stack[0].url, timeout=20))
    yield made
    await made.close()


@contextmanager
def scraped_too(prometheus: real.Prometheus, gateway: pushgateway.Pushgateway) -> Iterator[None]:
    """The gateway among Prometheus' targets."""
    own: dict[str, object] = {"targets": [gateway.address], "labels": {"honored": "yes"}}
    known = json.loads(prometheus.targets.read_text())
    prometheus.targets.write_text(json.dumps([*known, own]))
    try:
        yield
    finally:
        known = json.loads(prometheus.targets.read_text())
        prometheus.targets.write_text(json.dumps([target for target in known if target != own]))


def judge(gateway: pushgateway.Pushgateway, run: str, tokens: list[tuple[str, float]]) -> None:
    """Another process: it has no payload, only tokens."""
    subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", JUDGE, gateway.address, run],
        input="\n".join(json.dumps(pair) for pair in tokens),
        check=True,
        text=True,
        timeout=60,
    )


def subject(app: Application, *queries: MetricQuery) -> Subject:
    return Subject(app.key, app.candidate, app.stable, 3, 3000, queries)


async def read(app: Application, source: PrometheusSource, start: float, *queries: MetricQuery) -> Sample:
    end = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(end)
    return (await source.sample([subject(app, *queries)], start, end))[app.key]


async def test_scores_by_token_arrive_through_a_pushgateway_in_the_step_of_their_answer(
    app: Application, stack: tuple[real.Prometheus, pushgateway.Pushgateway], source: PrometheusSource
) -> None:
    prometheus, gateway = stack
    start = math.ceil(app.wait_until_scraped())
    app.wait_until_read_past(start)
    tokens: dict[str, list[str]] = {app.candidate: [], app.stable: []}
    for unit in range(200):
        a = app.pods[0].rollout.assign(f"late-{unit}")
        with a.request():
            pass
        tokens[a.revision].append(a.token)
    half = len(tokens[app.candidate]) // 2
    # Hours later, in another process: all of stable's answers are scored, half of the candidate's.
    judge(gateway, "1", [(token, 0.75) for token in tokens[app.stable]])
    judge(gateway, "2", [(token, 0.25) for token in tokens[app.candidate][:half]])
    with scraped_too(prometheus, gateway):
        pushed = f'sum(promptrollout_score_count{{rollout="{app.key}",honored="yes"}})'
        wait_until(
            lambda: prometheus.value(pushed) == len(tokens[app.stable]) + half, "the pushed scores", 30
        )
        score = MetricQuery("helpful", preset="sdk/score", score="helpfulness", correlated=True)
        coverage = MetricQuery("coverage", preset="sdk/score-coverage", score="helpfulness")
        found = await read(app, source, start, score, coverage)
    assert found.problems == {}
    (window,) = found.windows
    counts = window.metrics["helpful"].candidate
    assert isinstance(counts, ScoreCounts)
    assert (counts.count, counts.sum) == (half, 0.25 * half)
    candidate, stable = len(tokens[app.candidate]), len(tokens[app.stable])
    assert window.metrics["coverage"].candidate == EventCounts(candidate, half)
    assert window.metrics["coverage"].stable == EventCounts(stable, stable)
    assert not window.late  # the tokens carry the step


async def test_shadow_pairs_are_read_as_differences(app: Application, source: PrometheusSource) -> None:
    documents = {r: json.loads((app.mount / f"{r}.json").read_text()) for r in (app.candidate, app.stable)}
    for document in documents.values():
        for field in ("schema", "revision", "hash"):
            document.pop(field)
    payload = Payload(
        app.key,
        sequence=5,
        exposure=3,
        unit="conversation",
        salt="salt",
        arms=(ArmWeight("stable", app.stable, 10_000),),
        shadow=Shadow(app.candidate, 10_000, 8, "100"),
    )
    for file, text in render(payload, documents).items():
        (app.mount / file).write_text(text)
    rollout = app.pods[0].rollout
    assert rollout.refresh()
    query = MetricQuery("pairs", preset="sdk/shadow-score", score="helpfulness")
    start = math.ceil(app.prometheus.value("vector(time())") or 0)
    app.wait_until_read_past(start)
    for unit in range(40):
        a = rollout.assign(f"s{unit}")
        done: list[bool] = []
        assert a.shadow(
            lambda candidate, /, *, shadow, unit=unit, done=done: (
                candidate.score("helpfulness", 0.9 if unit % 4 else 0.1),
                done.append(shadow),
            )
        )
        wait_until(lambda done=done: bool(done), "the shadow run", 10)
        a.score("helpfulness", 0.5)
    counted = f'sum(promptrollout_shadow_difference_count{{rollout="{app.key}"}})'
    wait_until(lambda: app.prometheus.value(counted) == 40, "the pairs to be scraped", 30)
    end = math.ceil(time.time())
    app.wait_until_read_past(end)
    found = (await source.sample([subject(app, query)], start, end))[app.key]
    assert found.problems == {}
    (window,) = found.windows
    pairs = window.metrics["pairs"].candidate
    assert isinstance(pairs, PairedCounts)
    assert (pairs.count, pairs.sum, pairs.sumsq) == pytest.approx((40, 30 * 0.4 - 10 * 0.4, 40 * 0.16))
    metric = {"name": "pairs", "preset": "sdk/shadow-score", "score": "helpfulness"}
    planned = plan_of(Analysis.model_validate({"metrics": [metric]}))
    assert isinstance(planned, Planned)
    evidence = fold(planned.plan, Evidence.initial(planned.plan), found.windows)
    assert (evidence.rejected, evidence.problems) == (0, ())


async def test_each_score_of_a_spec_is_guarded_by_its_coverage() -> None:
    metrics = [
        {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"},
        {"name": "tone", "preset": "sdk/score", "score": "tone", "role": "Observe"},
        {"name": "refusals", "preset": "sdk/event", "event": "refusals"},
        {"name": "beside", "preset": "sdk/shadow-score", "score": "helpfulness"},
        {"name": "slow", "preset": "otel/latency"},
    ]
    planned = plan_of(Analysis.model_validate({"metrics": metrics}))
    assert isinstance(planned, Planned)
    assert [m.name for m in planned.plan.metrics] == [*(str(m["name"]) for m in metrics), "helpful-coverage"]
    guard = planned.plan.metrics[-1]
    assert (guard.role.value, guard.higher_is_better, guard.weight) == ("Guard", True, 0.25)
    assert not fold(planned.plan, Evidence.initial(planned.plan), []).problems
