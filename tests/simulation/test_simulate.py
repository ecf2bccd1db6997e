"""The simulator: the real core and engine must behave in it as they do outside."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    MetricOptions,
    Role,
    events_metric,
    histogram_metric,
    paired_metric,
    score_metric,
    sum_metric,
)
from promptrollout.api.spec import RolloutSpec
from promptrollout.simulation import (
    Course,
    EventWorld,
    LatencyWorld,
    Outage,
    Outcome,
    Report,
    ScoreWorld,
    SumWorld,
    Traffic,
    World,
    simulate,
)
from promptrollout.simulation.crowd import until_first

HOUR = 3600.0
EDGES = tuple(float(e) for e in np.geomspace(0.1, 10.0, 12))
STEPS = [{"weight": 5, "duration": "1h"}, {"weight": 50, "until": "Evidence", "timeout": "20h"}]


def spec(steps: list[dict[str, object]] | None = None, **analysis: object) -> RolloutSpec:
    return RolloutSpec.model_validate(
        {
            "prompt": {"inline": {"text": "unused: the simulation names revisions itself"}},
            "strategy": {"canary": {"steps": steps or STEPS}},
            "analysis": {"interval": "60s", **analysis},
        }
    )


def plan(correlation: Correlation | None = None) -> AnalysisPlan:
    options = MetricOptions(role=Role.Required, correlation=correlation or Correlation.independent())
    return AnalysisPlan((events_metric("errors", options=options),))


def errors(stable: float = 0.02, candidate: float = 0.02, rate: float = 5.0, **world: object) -> World:
    course = world.pop("course", Course())
    traffic = world.pop("traffic", Traffic(rate))
    return World(traffic, {"errors": EventWorld(stable, candidate, course)}, **world)  # type: ignore[arg-type]


def run(world: World, runs: int = 8, **more: object) -> Report:
    return simulate(spec(), plan(), world, runs=runs, **more)  # type: ignore[arg-type]


def test_a_harmless_candidate_is_promoted_and_a_bad_one_rolled_back() -> None:
    good, bad = run(errors()), run(errors(candidate=0.2))
    assert good.share(Outcome.Promoted).value == 1.0
    assert bad.share(Outcome.RolledBack, "Harmed").value == 1.0
    assert not good.harmful
    assert bad.harmful
    assert bad.endings[0].seconds.median < HOUR < good.endings[0].seconds.median


def test_the_same_seed_gives_the_same_report_on_any_number_of_processes() -> None:
    world = errors(candidate=0.05, seconds=2 * HOUR)
    one = run(world, runs=66, seed=3)
    assert run(world, runs=66, seed=3, processes=2) == one
    assert run(world, runs=66, seed=4) != one


def test_progress_is_told_up_to_the_last_run() -> None:
    told: list[tuple[int, int]] = []
    run(errors(seconds=HOUR), runs=130, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (130, 130)
    assert len(told) > 1


def test_a_regression_is_not_found_before_it_begins() -> None:
    report = run(errors(candidate=0.4, course=Course(onset=3 * HOUR)), runs=4)
    for result in report.runs:
        if result.outcome is Outcome.RolledBack:
            assert result.seconds > 3 * HOUR
            assert result.bad_requests < result.candidate_requests
    steady = simulate(
        spec([{"weight": 5, "duration": "9h"}]),
        plan(),
        errors(candidate=0.4, course=Course(onset=3 * HOUR)),
        runs=4,
    )
    assert steady.share(Outcome.RolledBack, "Harmed").value == 1.0


def test_an_outage_of_the_source_holds_the_rollout_and_loses_no_window() -> None:
    outage = (Outage(0.1 * HOUR, 0.2 * HOUR),)
    for seed in range(4):
        seeing = run(errors(candidate=0.06), runs=1, seed=seed).runs[0]
        blind = run(errors(candidate=0.06, outages=outage), runs=1, seed=seed).runs[0]
        # Windows missed in the outage are read after it: nothing later than that changes.
        during = 0.1 * HOUR < seeing.seconds < 0.31 * HOUR
        assert blind.reason == "Harmed"
        assert blind.seconds == (pytest.approx(0.3 * HOUR, abs=61.0) if during else seeing.seconds)


def test_a_source_that_stays_away_pauses_the_rollout() -> None:
    report = run(errors(outages=(Outage(0.5 * HOUR, 100 * HOUR),), seconds=3 * HOUR), runs=2)
    assert report.share(Outcome.Paused, "MetricsUnavailable").value == 1.0


def test_what_cannot_be_shown_is_paused_as_the_spec_says() -> None:
    short = spec([{"weight": 5, "duration": "10m"}])
    report = simulate(short, plan(), errors(rate=0.1, seconds=2 * HOUR), runs=3)
    assert report.share(Outcome.Paused, "Inconclusive").value == 1.0
    promoting = spec([{"weight": 5, "duration": "10m"}], onInconclusive="Promote")
    report = simulate(promoting, plan(), errors(rate=0.1, seconds=2 * HOUR), runs=3)
    assert report.share(Outcome.Promoted).value == 1.0


def test_conversations_cause_false_rollbacks_only_where_requests_are_taken_for_independent() -> None:
    traffic = Traffic(5.0, requests_per_unit=20.0, pause=(1.0, 20.0))
    world = errors(traffic=traffic, course=Course(icc=0.6), seconds=8 * HOUR)
    naive = simulate(spec(), plan(), world, runs=24, seed=1)
    clusters = plan(Correlation.clusters(units=True))
    measured = simulate(spec(), clusters, world, runs=24, seed=1)
    assert naive.share(Outcome.RolledBack).count >= 8
    assert measured.share(Outcome.RolledBack).count <= 3


def test_traffic_of_conversations_splits_as_the_weights_say() -> None:
    # Otherwise the sample-ratio test would pause these runs.
    traffic = Traffic(2.0, daily=0.9, requests_per_unit=8.0)
    report = simulate(
        spec(), plan(Correlation.declared(8.0)), errors(traffic=traffic, seconds=6 * HOUR), runs=6
    )
    assert report.share(Outcome.Paused, "SampleRatioMismatch").count == 0
    requests = [r.candidate_requests for r in report.runs]
    assert 100 < min(requests) < max(requests) < 40_000


def test_cold_caches_look_like_harm_unless_they_are_excluded() -> None:
    options = MetricOptions(role=Role.Required, correlation=Correlation.independent())
    latency = AnalysisPlan((histogram_metric("latency", EDGES, options=options),))
    cold = Course(cold_seconds=600.0, cold_factor=2.0)
    world = World(Traffic(5.0), {"latency": LatencyWorld(1.0, course=cold)}, seconds=1.5 * HOUR)
    steps = [{"weight": 20, "duration": "2h"}]
    assert simulate(spec(steps), latency, world, runs=4).share(Outcome.RolledBack).value == 1.0
    patient = replace(latency, warm_up=660.0)
    assert simulate(spec(steps), patient, world, runs=4).share(Outcome.RolledBack).value == 0.0


@pytest.mark.parametrize("delay", [0.0, 1800.0])
def test_scores_of_a_slow_judge_are_compared_with_their_own_step(delay: float) -> None:
    options = MetricOptions(role=Role.Required, correlation=Correlation.independent())
    scores = AnalysisPlan((score_metric("helpful", options=options),))

    def report(candidate: float) -> Report:
        world = ScoreWorld(0.8, candidate, judged=0.5, delay=delay, course=Course(drift=2.0))
        return simulate(spec(), scores, World(Traffic(5.0), {"helpful": world}), runs=6)

    assert report(0.8).share(Outcome.Promoted).value == 1.0
    assert report(0.6).share(Outcome.RolledBack, "Harmed").value == 1.0


def test_every_kind_of_metric_that_is_compared_by_arms_can_be_simulated() -> None:
    options = MetricOptions(role=Role.Guard, correlation=Correlation.clusters())
    everything = AnalysisPlan(
        (
            events_metric("errors", options=MetricOptions(correlation=Correlation.clusters(units=True))),
            score_metric("helpful", options=options),
            histogram_metric("latency", EDGES, options=options),
            sum_metric("cost", options=options),
        )
    )
    worlds = {
        "errors": EventWorld(0.02, 0.02),
        "helpful": ScoreWorld(0.8, 0.8),
        "latency": LatencyWorld(1.0, tail=0.0),
        "cost": SumWorld(0.01, 1.0, factor=2.0),
    }
    for per_unit in (1.0, 4.0):
        world = World(Traffic(5.0, requests_per_unit=per_unit), worlds, seconds=6 * HOUR)
        report = simulate(spec(), everything, world, runs=2)
        assert report.share(Outcome.RolledBack, "Harmed").value == 1.0


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"typo": EventWorld(0.1, 0.1)}, "which the rollout does not compare"),
        ({"errors": ScoreWorld(0.8, 0.8)}, "needs a EventWorld"),
    ],
)
def test_a_world_that_does_not_fit_the_rollout_is_refused(metrics: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate(spec(), plan(), World(Traffic(1.0), metrics), runs=1)  # type: ignore[arg-type]
    paired = AnalysisPlan((paired_metric("errors"),))
    with pytest.raises(ValueError, match="needs a ScoreWorld"):
        simulate(spec(), paired, errors(), runs=1)
    with pytest.raises(ValueError, match="an arm other; the rollout's challengers are candidate"):
        simulate(spec(), plan(), errors(arms={"other": {}}), runs=1)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Traffic(-1.0),
        lambda: Traffic(1.0, daily=1.5),
        lambda: Traffic(float("nan")),
        lambda: EventWorld(0.1, 1.1),
        lambda: Course(icc=2.0),
        lambda: World(Traffic(1.0), seconds=0.0),
    ],
)
def test_a_world_that_cannot_be_is_refused(build: object) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        build()  # type: ignore[operator]


def test_a_report_is_json_with_shares_and_a_timeline() -> None:
    report = run(errors(candidate=0.2), runs=5)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["endings"][0]["outcome"] == "RolledBack"
    assert data["endings"][0]["share"] == 1.0
    assert data["timeline"][0][1:] == [0.0, 0.0, 0.0]
    assert data["timeline"][-1][2] == 1.0
    low, high = report.share(Outcome.RolledBack).interval
    assert low < 1.0 == pytest.approx(high)


def test_no_traffic_at_all_decides_nothing() -> None:
    report = run(errors(rate=0.0, seconds=3 * HOUR), runs=2)
    assert report.share(Outcome.Running).value == 1.0
    assert report.runs[0].candidate_requests == 0.0


def test_a_unit_counts_up_to_its_first_bad_request() -> None:
    unit = np.array([7, 3, 7, 3, 7, 9])
    bad = np.array([False, True, True, True, False, False])
    assert until_first(unit, bad).tolist() == [True, True, True, False, False, True]
    assert until_first(unit, np.zeros(6, dtype=bool)).all()
