"""The planner of a rollout: near what simulated rollouts do, honest about what cannot be decided, and constructive."""

import math

import pytest
import yaml

from promptrollout.analysis import EventCounts, SumCounts, expected_crossing, forecast, score_counts
from promptrollout.api.spec import RolloutSpec
from promptrollout.cli.assuming import given
from promptrollout.rollout.forecasting import (
    better_ramp,
    describe_change,
    effects_of,
    is_better,
    plan_rollout,
)
from promptrollout.rollout.outlook import Facts, decidable
from promptrollout.rollout.ramp import Ramp, as_yaml_steps, round_duration
from promptrollout.simulation import CoverageWorld, EventWorld, Outcome, ScoreWorld, Traffic, World, simulate
from promptrollout.sources.planning import plan_of

STEPS = [
    {"weight": 5, "duration": "1h"},
    {"weight": 25, "duration": "1h"},
    {"weight": 50, "until": "Evidence", "timeout": "24h"},
]
ERRORS = [{"name": "errors", "preset": "sdk/errors"}]
INDEPENDENT = {"meanRequestsPerUnit": "1", "icc": "0"}
DAY = 86_400.0


def spec_of(steps=STEPS, metrics=ERRORS, **more):
    analysis = {"interval": "60s", "metrics": metrics, "correlation": INDEPENDENT, **more.pop("analysis", {})}
    raw = {"prompt": {"inline": {"text": "x"}}, "strategy": {"canary": {"steps": list(steps)}}, **more}
    return RolloutSpec.model_validate({**raw, "analysis": analysis})


def planned(spec, per_second, stable=0.02):
    plan = plan_of(spec.analysis).plan
    facts = Facts(per_second, {"errors": EventCounts(1e6, stable * 1e6)})
    return Ramp.of(spec, per_second), plan, facts


@pytest.mark.parametrize("candidate", [0.04, 0.1])
def test_a_rollback_comes_about_when_simulated_ones_do(candidate):
    spec = spec_of()
    ramp, plan, facts = planned(spec, 1.0)
    row = next(
        row
        for row in plan_rollout(ramp, plan, facts).effects
        if row.effect.endswith(f"→ {100 * candidate:g} %")
    )
    world = World(Traffic(1.0), {"errors": EventWorld(0.02, candidate)}, seconds=DAY / 2)
    report = simulate(spec, plan, world, runs=60, seed=5)
    rolled = next(e for e in report.endings if e.outcome is Outcome.RolledBack)
    assert rolled.share.value > 0.9
    # statistics.md, "Planner": up to a third pessimistic against simulated medians.
    assert 0.7 < row.harm.seconds / rolled.seconds.median < 1.6
    # The mean is far above the median: a late rollback is one at a larger weight.
    assert 0.6 < row.requests / rolled.candidate_requests.mean < 1.6


@pytest.mark.parametrize("candidate", [0.75, 0.7])
def test_scores_that_fall_are_found_about_when_simulated_ones_are(candidate):
    # Moving a share of the answers to the worst score, with the same mean, would take up to 1.8 times as long.
    spec = spec_of(metrics=[{"name": "helpful", "preset": "sdk/score", "score": "helpful"}])
    ramp, plan = Ramp.of(spec, 0.2), plan_of(spec.analysis).plan
    told = given(plan, ["helpful=0.8:0.2", "helpful-coverage=1"])
    row = next(
        row
        for row in plan_rollout(ramp, plan, Facts(0.2, told)).effects
        if row.effect == f"0.8 → {candidate:g}"
    )
    worlds = {"helpful": ScoreWorld(0.8, candidate), "helpful-coverage": CoverageWorld("helpful")}
    report = simulate(spec, plan, World(Traffic(0.2), worlds, seconds=DAY / 2), runs=60, seed=5)
    rolled = next(e for e in report.endings if e.outcome is Outcome.RolledBack)
    assert rolled.share.value > 0.9
    assert 0.8 < row.harm.seconds / rolled.seconds.median < 1.5
    assert 0.8 < row.requests / rolled.candidate_requests.mean < 1.5


@pytest.mark.parametrize("squares", [2e6, None])
def test_only_what_the_margin_allows_is_called_tolerated(squares):
    # Half as dear again is harm, whether or not it can be said when it is shown.
    spec = spec_of(metrics=[{"name": "cost", "preset": "sdk/cost"}])
    ramp, plan = Ramp.of(spec, 1e-6), plan_of(spec.analysis).plan
    told = SumCounts(1e6, 1e6, squares)
    rows = {row.effect: row for row in plan_rollout(ramp, plan, Facts(1e-6, {"cost": told})).effects}
    assert not rows["mean x 1.5"].tolerated
    assert rows["mean x 1.1"].tolerated is (squares is not None)


def test_a_promotion_comes_about_when_simulated_ones_do():
    spec = spec_of()
    ramp, plan, facts = planned(spec, 2.0)
    found = plan_rollout(ramp, plan, facts)
    assert found.decidable.status is True
    world = World(Traffic(2.0), {"errors": EventWorld(0.02, 0.02)}, seconds=DAY)
    report = simulate(spec, plan, world, runs=60, seed=6)
    promoted = next(e for e in report.endings if e.outcome is Outcome.Promoted)
    assert promoted.share.value > 0.8
    assert 0.6 < found.promotion / promoted.seconds.median < 1.7


def test_the_closed_form_is_near_the_forecast():
    spec = spec_of()
    ramp, plan, facts = planned(spec, 1.0)
    steps = ramp.undecided()
    metric = plan.metrics[0]
    for _, candidate in effects_of(metric, facts.stable["errors"])[2:]:
        scenario = facts.scenario(metric, candidate)
        quick = expected_crossing(scenario, steps, 1.0, plan.harm_threshold)
        slow = forecast([scenario], steps, 1.0, plan)[0].harm
        assert 0.5 < quick.candidate_samples / slow.candidate_samples < 2.0
    same = facts.scenario(metric)
    quick = expected_crossing(same, steps, 1.0, plan.promote_threshold, promote=True)
    slow = forecast([same], steps, 1.0, plan)[0].promote
    assert 0.5 < quick.seconds / slow.seconds < 2.0


@pytest.mark.parametrize(
    ("per_day", "status", "reason"),
    [(200_000, True, "Decidable"), (200, False, "TooLittleTraffic"), (0, None, "NoTraffic")],
)
def test_whether_it_can_be_decided_depends_on_the_traffic(per_day, status, reason):
    ramp, plan, facts = planned(spec_of(), per_day / DAY)
    found = decidable(ramp, plan, facts)
    assert (found.status, found.reason) == (status, reason)
    if status is False:
        assert "progressDeadline is 3 days" in found.message
        assert "widen promoteMargin" in found.message


def test_without_a_required_metric_nothing_can_be_shown():
    ramp, plan, facts = planned(spec_of(metrics=[{**ERRORS[0], "role": "Guard"}]), 10.0)
    found = decidable(ramp, plan, facts)
    assert (found.status, found.reason) == (False, "NothingRequired")


def test_without_knowledge_of_stable_nothing_is_said():
    ramp, plan, _ = planned(spec_of(), 10.0)
    assert decidable(ramp, plan, Facts(10.0, {})).status is None
    assert decidable(None, plan, Facts(10.0, {})).status is None


def test_what_waits_for_evidence_waits_until_the_deadline_and_no_longer():
    ramp = Ramp.of(spec_of([{"weight": 5, "until": "Evidence", "timeout": "6h"}, *STEPS]), 1.0)
    assert [(s.weight, s.seconds) for s in ramp.undecided()] == [(500, 72 * 3600.0)]
    assert ramp.promoted(3600.0) == 3600.0 + 2 * 3600.0
    assert ramp.promoted(80 * 3600.0) is None
    assert ramp.promoted(None) is None
    ends = Ramp.of(spec_of(analysis={"onInconclusive": "Rollback"}), 1.0)
    assert sum(s.seconds for s in ends.undecided()) == 26 * 3600.0
    assert ends.promoted(30 * 3600.0) is None


def test_a_step_with_min_samples_lasts_until_they_are_there():
    ramp = Ramp.of(spec_of([{"weight": 10, "minSamples": 360}]), 1.0)
    assert ramp.stages[0].seconds == pytest.approx(3600.0)


def test_a_ramp_that_is_too_timid_is_bettered_and_the_proposal_is_a_spec():
    spec = spec_of([{"weight": 1, "until": "Evidence", "timeout": "20h"}], progressDeadline="24h")
    ramp, plan, facts = planned(spec, 1.0)
    better = better_ramp(ramp, plan, facts)
    mine, other = plan_rollout(ramp, plan, facts), plan_rollout(better, plan, facts)
    assert other.promotion is not None
    assert is_better((other.promotion, other.exposure), (mine.promotion or math.inf, mine.exposure))
    steps = yaml.safe_load(yaml.safe_dump(as_yaml_steps(better.stages)))
    assert Ramp.of(spec_of(steps), 1.0).stages[0].weight == better.stages[0].weight


def test_a_proposal_is_not_bettered_again():
    ramp, plan, facts = planned(spec_of(), 1.0)
    better = better_ramp(ramp, plan, facts) or ramp
    assert better_ramp(better, plan, facts) is None


def test_too_little_traffic_gets_a_proposal_with_more_time():
    ramp, plan, facts = planned(spec_of(progressDeadline="12h"), 4_000 / DAY)
    assert decidable(ramp, plan, facts).status is False
    better = better_ramp(ramp, plan, facts)
    assert better.deadline > ramp.deadline
    assert decidable(better, plan, facts).status is True


def test_correlated_requests_take_longer():
    ramp, plan, facts = planned(spec_of(), 1.0)
    slow = Facts(1.0, facts.stable, {"errors": 4.0})
    quick, slower = (decidable(ramp, plan, f).needs["errors"] for f in (facts, slow))
    assert slower > 1.5 * quick


def test_effects_are_said_as_readers_of_the_metric_say_them():
    plan = plan_of(spec_of(metrics=[{"name": "h", "preset": "sdk/score", "score": "h"}]).analysis).plan
    stable = score_counts([0.8] * 100)
    said = [label for label, _ in effects_of(plan.metrics[0], stable)]
    assert said == ["0.8 → 0.78", "0.8 → 0.75", "0.8 → 0.7", "0.8 → 0.6"]
    errors = plan_of(spec_of().analysis).plan.metrics[0]
    assert describe_change(errors, EventCounts(100, 0), EventCounts(100, 1)) == "0 % → 1 %"
    assert next(label for label, _ in effects_of(errors, EventCounts(100, 0))) == "0 % → 0.5 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1m"), (3600, "60m"), (3 * 3600, "3h"), (48 * 3600, "48h"), (49 * 3600, "3d")]
)
def test_durations_are_rounded_up_to_what_people_write(seconds, text):
    assert round_duration(seconds) == text
