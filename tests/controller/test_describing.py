"""From evidence to what `decide` is told: of a test's arm also whether it is better, corrected for the choice."""

import math
import re
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.analysis import (
    EventCounts,
    Evidence,
    HistogramCounts,
    Pair,
    Role,
    SumCounts,
    Verdict,
    Window,
    fold,
    score_counts,
)
from promptrollout.api.spec import Analysis
from promptrollout.controller.describing import Reading, describe
from promptrollout.rollout import Sampling
from promptrollout.sources.planning import plan_of
from promptrollout.sources.protocol import NoData

NOW = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
PAIR = Sampling(
    ("test-1", 1), "b" * 10, "a" * 10, 3, 5_000, NOW, timedelta(seconds=30), timedelta(0), "terse", "stable"
)
TWO = Analysis.model_validate(
    {
        "metrics": [
            {"name": "errors", "preset": "sdk/errors"},
            {"name": "refusals", "preset": "sdk/errors", "role": "Guard"},
        ],
        "correlation": {"meanRequestsPerUnit": "1"},
    }
)


def windows(candidate_errors, stable_errors, many=40):
    pair = Pair(EventCounts(500, candidate_errors), EventCounts(500, stable_errors))
    metrics = dict.fromkeys(("errors", "refusals", "errors better"), pair)
    return [Window(30.0 * i, 30.0 * (i + 1), 3, 5_000, metrics) for i in range(many)]


def told(rivals, candidate_errors, stable_errors, problems=None):
    planned = plan_of(TWO, rivals)
    evidence = fold(
        planned.plan, Evidence.initial(planned.plan, {}), windows(candidate_errors, stable_errors)
    )
    return describe(planned, evidence, Reading(PAIR, NOW, NOW, problems or {}))


def test_a_canary_is_not_asked_whether_it_is_better():
    assert plan_of(TWO).contests == frozenset()
    assert told(0, 2, 10).better is None


@pytest.mark.parametrize("rivals", [1, 2, 7])
def test_every_required_metric_is_also_compared_without_a_margin_and_the_rest_is_not(rivals):
    planned = plan_of(TWO, rivals)
    assert planned.contests == {"errors better"}
    contest = planned.plan.metrics[-1]
    assert (contest.name, contest.role) == ("errors better", Role.Observe)
    assert (contest.promote_margin.r, contest.promote_margin.d) == (1.0, 0.0)
    assert len(planned.queries) == 3


@pytest.mark.parametrize("rivals", [1, 2, 7])
def test_promotion_needs_as_many_times_the_evidence_as_there_are_challengers_and_harm_does_not(rivals):
    plan = plan_of(TWO, rivals).plan
    assert math.exp(plan.promote_threshold) == pytest.approx(20 * rivals)
    assert math.exp(plan.harm_threshold) == pytest.approx(20)
    assert told(rivals, 2, 10).better.text.endswith(f" of {20 * rivals}")


def test_an_arm_with_fewer_errors_is_shown_better():
    said = told(2, 2, 10)
    assert (said.verdict, said.better.reached) == (Verdict.NonInferior, True)
    assert (said.arm, said.against, said.trial) == ("terse", "stable", ("test-1", 1))


def test_an_arm_that_is_as_good_is_shown_not_worse_but_not_better():
    said = told(2, 10, 10)
    assert (said.verdict, said.better.reached) == (Verdict.NonInferior, False)


def test_the_question_whether_it_is_better_is_no_metric_of_its_own_to_people():
    silent = NoData('promptrollout_requests_total{revision="b"}')
    said = told(2, 2, 10, {"errors": silent, "errors better": silent})
    assert [metric.name for metric in said.metrics] == ["errors", "refusals"]
    assert said.nothing_matched.count("promptrollout_requests_total") == 1


def test_each_kind_of_metric_is_told_whole_and_never_as_a_p_value():
    names = ("errors", "score", "latency", "cost")
    spec = Analysis.model_validate(
        {
            "metrics": [
                {"name": n, "preset": f"sdk/{n}", **({"score": "helpful"} if n == "score" else {})}
                for n in names
            ]
        }
    )
    planned = plan_of(spec)
    buckets = len(planned.plan.metrics[2].edges) + 1
    arm = [1.0] * (buckets - 1) + [300.0 - (buckets - 1)]
    pairs = {
        "errors": Pair(EventCounts(300, 9), EventCounts(300, 6)),
        "score": Pair(score_counts([0.5, 0.75, 0.75] * 100), score_counts([0.75, 0.75, 1.0] * 100)),
        "latency": Pair(HistogramCounts(tuple(arm)), HistogramCounts(tuple(arm[::-1]))),
        "cost": Pair(SumCounts(300, 330.0, 400.0), SumCounts(300, 300.0, 330.0)),
    }
    seed = {name: pair.stable for name, pair in pairs.items()}
    evidence = fold(planned.plan, Evidence.initial(planned.plan, seed), [Window(0.0, 30.0, 3, 5_000, pairs)])
    said = {m.name: m for m in describe(planned, evidence, Reading(PAIR, NOW, NOW, {})).metrics}
    assert (said["errors"].candidate, said["errors"].stable) == ("3%", "2%")
    assert said["errors"].difference.startswith("+1 pp ("), "percentage points: 3 % is by half more than 2 %"
    for name in names:
        one = said[name]
        assert (one.samples, one.stable_samples) == (300, 300)
        assert one.candidate
        assert one.stable
        assert re.fullmatch(r".+ \(.+ to .+\)", one.difference)
        for evidence_text in (one.harm, one.non_inferiority):
            assert re.fullmatch(r"[\d.,e+-]+ of 20", evidence_text)
        assert one.guarantee
        assert not re.search(r"p\s*[=<]|p-value|significan", " ".join(map(str, one.__dict__.values())))
    assert said["latency"].difference.startswith("larger than stable's in ")
    assert said["cost"].guarantee == "asymptotic"
    assert said["errors"].guarantee == "asymptotic (correlation assumed)"
