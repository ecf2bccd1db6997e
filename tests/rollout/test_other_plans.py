"""The planner beyond canaries: A/B tests, shadows, and what compares nothing."""

from dataclasses import replace

import pytest

from promptrollout.analysis import EventCounts, PairedCounts, score_counts
from promptrollout.api.spec import RolloutSpec
from promptrollout.rollout.abplan import decidable_test, plan_test
from promptrollout.rollout.forecasting import in_pairs, plan_rollout, usual_ramp
from promptrollout.rollout.outlook import Facts, decidable
from promptrollout.rollout.ramp import Ramp
from promptrollout.simulation import EventWorld, Outcome, Plans, ScoreWorld, Traffic, World, simulate
from promptrollout.sources.planning import plan_of

HOUR = 3600.0
ERRORS = {"name": "errors", "preset": "sdk/errors"}
HELPFUL = {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"}
INDEPENDENT = {"meanRequestsPerUnit": "1", "icc": "0"}


def spec_of(strategy, *metrics, **more):
    analysis = {"interval": "60s", "metrics": list(metrics or (ERRORS,)), "correlation": INDEPENDENT}
    raw = {"prompt": {"inline": {"text": "x"}}, "strategy": strategy, "analysis": analysis, **more}
    return RolloutSpec.model_validate(raw)


def ab_test(*weights, horizon="48h"):
    control, *others = weights
    arms = [
        {"name": f"arm-{i}", "weight": weight, "prompt": {"inline": {"text": str(i)}}}
        for i, weight in enumerate(others)
    ]
    test = {
        "horizon": horizon,
        "onWinner": "Promote",
        "arms": [{"name": "control", "weight": control}, *arms],
    }
    return spec_of({"abTest": test})


def planned_test(spec, per_second, rate=0.1):
    rivals = len(spec.strategy.ab_test.arms) - 1
    planned = plan_of(spec.analysis, rivals)
    return planned, Facts(per_second, {"errors": EventCounts(1e6, rate * 1e6)})


def test_an_arm_wins_about_when_simulated_ones_do():
    spec = ab_test(34, 33, 33)
    planned, facts = planned_test(spec, 1.0)
    found = plan_test(spec.strategy.ab_test, planned.plan, planned.contests, facts)
    row = next(row for row in found.wins if row.effect == "10 % → 5 %")
    better = {"arm-1": {"errors": EventWorld(0.1, 0.05)}}
    world = World(Traffic(1.0), {"errors": EventWorld(0.1, 0.1)}, seconds=40 * HOUR, arms=better)
    report = simulate(spec, Plans(planned.plan, None, planned.contests), world, runs=24, seed=3)
    won = next(e for e in report.endings if e.arm == "arm-1")
    assert won.share.value > 0.8
    assert 0.6 < row.seconds / won.seconds.median < 1.7


def test_larger_improvements_win_sooner_and_harmful_arms_are_dropped_the_sooner_the_worse():
    spec = ab_test(50, 50)
    planned, facts = planned_test(spec, 1.0)
    found = plan_test(spec.strategy.ab_test, planned.plan, planned.contests, facts)
    wins = [row.seconds for row in found.wins if row.seconds is not None]
    assert wins == sorted(wins, reverse=True)
    assert len(wins) >= 2
    harms = [row.harm.seconds for row in found.effects if row.harm]
    assert harms == sorted(harms, reverse=True)
    assert {row.metric for row in found.effects} == {"errors"}


def test_more_arms_and_less_weight_take_longer():
    def smallest(*weights):
        spec = ab_test(*weights)
        planned, facts = planned_test(spec, 1.0)
        found = plan_test(spec.strategy.ab_test, planned.plan, planned.contests, facts)
        return float(found.smallest["errors"].split("→")[1].strip(" %"))

    assert smallest(50, 50) > smallest(34, 33, 33) > smallest(80, 10, 10)


@pytest.mark.parametrize(
    ("per_day", "status", "reason"),
    [(100_000, True, "Decidable"), (50, False, "TooLittleTraffic"), (0, None, "NoTraffic")],
)
def test_whether_a_test_can_be_decided_depends_on_the_traffic(per_day, status, reason):
    spec = ab_test(50, 50)
    planned, facts = planned_test(spec, per_day / 86_400)
    found = decidable_test(spec.strategy.ab_test, planned.plan, planned.contests, facts)
    assert (found.status, found.reason) == (status, reason)
    if status is not None:
        assert "horizon of 2 days" in found.message


def shadow(sample=20, duration="3h", then=None):
    return {"shadow": {"sample": sample, "duration": duration, **({"then": then} if then else {})}}


def in_shadow(spec, facts):
    planned = plan_of(spec.analysis, shadow=True)
    return Ramp.of(spec, facts.per_second), planned.plan, in_pairs(facts, planned.plan)


SCORES = Facts(
    2.0, {"helpful": score_counts([1.0, 0.9, 0.8, 0.6, 0.7] * 20), "helpful-coverage": EventCounts(1e6, 1e6)}
)


def test_nobody_meets_a_bad_prompt_in_the_shadow():
    spec = spec_of(shadow(), HELPFUL)
    found = plan_rollout(*in_shadow(spec, SCORES))
    shown = [row for row in found.effects if row.metric == "helpful" and row.harm]
    assert shown
    assert all(row.users == 0.0 and row.requests > 0.0 for row in shown)
    assert shown[0].effect == "-0.02 on average" or shown[0].effect.startswith("-0.0")


def test_a_shadow_finds_harm_about_when_simulated_ones_do():
    spec = spec_of(shadow(duration="20h"), HELPFUL)
    _, plan, facts = in_shadow(spec, SCORES)
    assert isinstance(facts.stable["helpful"], PairedCounts)
    spread = (facts.stable["helpful"].sumsq / facts.stable["helpful"].count) ** 0.5
    found = plan_rollout(*in_shadow(spec, SCORES))
    row = next(row for row in found.effects if row.effect == "-0.1 on average")
    live = plan_of(spec.analysis).plan
    world = World(Traffic(2.0), {"helpful": ScoreWorld(0.8, 0.7, spread=spread)}, seconds=20 * HOUR)
    report = simulate(spec, Plans(live, plan), world, runs=16, seed=4)
    ended = next(e for e in report.endings if e.outcome is Outcome.RolledBack)
    assert ended.share.value > 0.9
    assert 0.4 < row.harm.seconds / ended.seconds.median < 2.5


def test_a_shadow_that_cannot_be_decided_says_to_sample_more():
    spec = spec_of(shadow(sample=1, duration="1h"), HELPFUL, progressDeadline="6h")
    ramp, plan, facts = in_shadow(spec, replace(SCORES, per_second=0.1))
    found = decidable(ramp, plan, facts)
    assert (found.status, found.reason) == (False, "TooLittleTraffic")
    assert "sample more than 1% of the requests" in found.message


def test_a_shadow_of_all_requests_still_has_all_of_stables_to_compare_with():
    spec = spec_of(shadow(sample=100))
    planned = plan_of(spec.analysis, shadow=True)
    facts = Facts(1.0, {"errors": EventCounts(1e6, 2e4)})
    assert decidable(Ramp.of(spec, 1.0), planned.plan, facts).status is True


def test_a_canary_after_a_shadow_is_planned_by_itself():
    canary = {
        "canary": {
            "steps": [{"weight": 5, "duration": "1h"}, {"weight": 50, "until": "Evidence", "timeout": "9h"}]
        }
    }
    spec = spec_of(shadow(then=canary), HELPFUL)
    assert [stage.weight for stage in Ramp.of(spec, 1.0).stages] == [2000]
    assert [(s.number, s.weight) for s in Ramp.after_shadow(spec, 1.0).stages] == [(2, 500), (3, 5000)]
    assert Ramp.after_shadow(spec_of(shadow(), HELPFUL), 1.0) is None


def test_what_compares_nothing_gets_a_canary_proposed():
    spec = spec_of({"immediate": {}})
    facts = Facts(1.0, {"errors": EventCounts(1e6, 2e4)})
    plan = plan_of(spec.analysis).plan
    assert Ramp.of(spec, 1.0) is None
    assert decidable(None, plan, facts).status is None
    found = plan_rollout(usual_ramp(spec, plan, facts), plan, facts)
    assert found.decidable.status is True
