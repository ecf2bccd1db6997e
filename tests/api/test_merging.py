"""A rollout's spec over its policy's: who wins, what is locked, and whose fault it is."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.merging import PolicyRules, merge, policy_problems
from promptrollout.api.parse import parse_spec
from promptrollout.api.policy import FIELDS, LOCKABLE, MOST_BYTES
from promptrollout.api.spec import RolloutSpec

STEPS = [{"weight": 5, "duration": "30m"}, {"weight": 50, "duration": "1h"}]
OFFICE = {"timeZone": "Europe/Zurich", "windows": ["Mon-Fri 09:00-17:00"]}
ERRORS = {"name": "errors", "preset": "sdk/errors", "role": "Guard"}
LATENCY = {"name": "latency", "preset": "sdk/latency", "margin": "0.05"}
POLICY = {
    "strategy": {"canary": {"steps": STEPS, "schedule": OFFICE}},
    "analysis": {"interval": "1m", "onInconclusive": "Rollback", "metrics": [ERRORS, LATENCY]},
    "gates": [{"name": "evals", "job": {"templateRef": {"name": "evals"}}, "timeout": "10m"}],
    "assignment": {"onRollback": "Drain"},
    "progressDeadline": "24h",
}
OWN = {"prompt": {"inline": {"text": "Hello"}}, "policyRef": {"name": "production"}}


def rules(*locked, **spec):
    return PolicyRules(
        "PromptRolloutPolicy", "production", {**POLICY, **spec, "locked": list(locked)}, "u", 3
    )


def merged(own=None, policy=None):
    return merge({**OWN, **(own or {})}, policy or rules())


def test_ten_lines_are_enough():
    spec = parse_spec(merged().spec)
    assert isinstance(spec, RolloutSpec)
    assert [step.weight for step in spec.strategy.canary.steps] == [5, 50]
    assert spec.progress_deadline == "24h"
    assert spec.assignment.on_rollback.value == "Drain"
    assert spec.assignment.unit == "conversation"


def test_what_the_rollout_writes_wins_and_the_rest_of_the_same_map_is_the_policys():
    own = {"analysis": {"interval": "10s"}, "progressDeadline": "3h"}
    spec = merged(own).spec
    assert spec["analysis"] == {**POLICY["analysis"], "interval": "10s"}
    assert spec["progressDeadline"] == "3h"


def test_steps_are_replaced_as_a_whole_and_the_schedule_stays():
    mine = [{"weight": 100, "duration": "5m"}]
    canary = merged({"strategy": {"canary": {"steps": mine}}}).spec["strategy"]["canary"]
    assert canary == {"steps": mine, "schedule": OFFICE}


@pytest.mark.parametrize("mine", [{"immediate": {}}, {"abTest": {"arms": [], "horizon": "1h"}}])
def test_another_strategy_takes_the_place_of_the_policys(mine):
    assert merged({"strategy": mine}).spec["strategy"] == mine


def test_a_metric_of_the_same_name_changes_single_fields_and_others_are_added_behind():
    mine = [{"name": "latency", "margin": "0.1"}, {"name": "cost", "preset": "sdk/cost"}]
    metrics = merged({"analysis": {"metrics": mine}}).spec["analysis"]["metrics"]
    assert metrics == [ERRORS, {**LATENCY, "margin": "0.1"}, {"name": "cost", "preset": "sdk/cost"}]


def test_a_metric_that_measures_something_else_takes_no_margin_over():
    mine = {"name": "latency", "preset": "sdk/score", "score": "speed"}
    assert merged({"analysis": {"metrics": [mine]}}).spec["analysis"]["metrics"] == [ERRORS, mine]


def test_a_gate_of_ones_own_comes_after_the_policys_and_one_of_the_same_name_in_its_place():
    approval, other = {"name": "me", "approval": {}}, {"name": "evals", "approval": {}}
    assert merged({"gates": [approval]}).spec["gates"] == [*POLICY["gates"], approval]
    assert merged({"gates": [approval, other]}).spec["gates"] == [other, approval]


def test_null_means_not_written():
    assert merged({"progressDeadline": None, "analysis": None}).spec == merged().spec


def test_a_policy_gives_nothing_but_what_a_policy_may_say():
    policy = rules(prompt={"inline": {"text": "Mine"}}, delivery={"configMapName": "mine"})
    assert merged({}, policy).spec.keys() - {"prompt", "policyRef"} <= set(FIELDS)
    assert merged({}, policy).spec["prompt"] == OWN["prompt"]


def problems(own, policy):
    found = merged(own, policy)
    assert len({str(problem) for problem in found.lock_problems}) == len(found.lock_problems)
    return [str(problem) for problem in found.lock_problems]


@pytest.mark.parametrize(
    ("locked", "own", "said"),
    [
        (
            "analysis.onInconclusive",
            {"analysis": {"onInconclusive": "Promote"}},
            "spec.analysis.onInconclusive: policy production locks analysis.onInconclusive at Rollback; ",
        ),
        (
            "analysis.metrics",
            {"analysis": {"metrics": [{"name": "cost", "preset": "sdk/cost"}]}},
            "spec.analysis.metrics: policy production locks analysis.metrics; ",
        ),
        (
            "strategy.canary.steps",
            {"strategy": {"immediate": {}}},
            "spec.strategy: policy production locks strategy.canary.steps; ",
        ),
        (
            "strategy",
            {"strategy": {"canary": {"schedule": {"windows": ["Mon-Sun 00:00-24:00"]}}}},
            "spec.strategy: policy production locks strategy; ",
        ),
        (
            "gates",
            {"gates": [{"name": "evals", "approval": {}}]},
            "spec.gates: policy production locks gates; ",
        ),
        (
            "analysis.confidence",
            {"analysis": {"confidence": "0.5"}},
            "spec.analysis.confidence: policy production locks analysis.confidence and leaves it at its default; ",
        ),
    ],
)
def test_a_locked_field_that_differs_is_told_with_its_path_who_locked_it_and_the_cure(locked, own, said):
    (problem,) = problems(own, rules(locked))
    assert problem == f"{said}leave it out here, or ask the policy's owners to change or unlock it"


@pytest.mark.parametrize("locked", LOCKABLE)
def test_the_same_value_or_none_breaks_no_lock(locked):
    assert problems({}, rules(locked)) == []
    assert problems(copy.deepcopy(POLICY), rules(locked)) == []


def attributed(own, policy=None):
    found = merged(own, policy)
    spec = parse_spec(found.spec)
    assert isinstance(spec, tuple)
    return [str(found.attributed(problem)) for problem in spec]


def test_a_problem_of_the_policy_says_so_and_names_its_field():
    bad = rules(strategy={"canary": {"steps": [{"weight": 5}]}})
    assert attributed({}, bad) == [
        "policy production: spec.strategy.canary.steps[0]: nothing ends this step; "
        "give it a duration, minSamples or until: Evidence (the policy's owners can)"
    ]


def test_a_problem_of_the_rollout_has_its_own_index_among_merged_metrics():
    mine = [{"name": "mine", "preset": "sdk/score"}]
    (problem,) = attributed({"analysis": {"metrics": mine}})
    assert problem.startswith("spec.analysis.metrics[0].score: is missing")


def test_of_a_metric_that_both_write_each_answers_for_its_own_fields():
    mine = [{"name": "latency", "ratio": "0.5"}]
    (own,) = attributed({"analysis": {"metrics": mine}})
    assert own.startswith("spec.analysis.metrics[0].ratio: 0.5 is not between")
    broken = rules(analysis={"metrics": [ERRORS, {**LATENCY, "promoteRatio": "0.5"}]})
    (policys,) = attributed({"analysis": {"metrics": [{"name": "latency", "ratio": "2"}]}}, broken)
    assert policys.startswith("policy production: spec.analysis.metrics[1].promoteRatio: 0.5 is not between")


def test_what_nobody_wrote_is_the_rollouts_to_write():
    (problem,) = attributed({}, rules(strategy=None))
    assert problem.startswith("spec.strategy: names no strategy")


def test_a_slip_in_locked_is_told_and_not_silently_unlocked():
    (problem,) = policy_problems(rules("analysis.metric"))
    assert str(problem).startswith(
        "policy production: spec.locked[0]: 'analysis.metric' is no field that can be locked"
    )
    assert policy_problems(rules("analysis.metrics")) == ()


def test_a_policy_too_large_to_be_kept_with_each_rollout_is_refused_with_its_size():
    big = {"name": "big", "job": {"template": {"x": "y" * MOST_BYTES}}}
    (problem,) = policy_problems(rules(gates=[big]))
    assert "65,536" in problem.message


def test_the_digest_follows_the_rules_and_nothing_else():
    assert rules().digest == PolicyRules("ClusterPromptRolloutPolicy", "b", rules().spec, "v", 9).digest
    assert rules().digest != rules("gates").digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "preset", "canary", "steps", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SPECS = st.dictionaries(st.sampled_from(FIELDS), JSON) | st.fixed_dictionaries(
    {"analysis": st.fixed_dictionaries({"metrics": st.lists(JSON, max_size=3)}), "gates": JSON}
)


@given(own=SPECS, policy=SPECS, locked=st.lists(st.sampled_from(LOCKABLE), max_size=3))
def test_whatever_is_written_nothing_raises_and_every_problem_has_a_place(own, policy, locked):
    found = merge({**OWN, **own}, PolicyRules("PromptRolloutPolicy", "p", {**policy, "locked": locked}))
    spec = parse_spec(found.spec)
    for problem in spec if isinstance(spec, tuple) else ():
        where = found.attributed(problem).path
        assert where.startswith(("spec", "policy p: spec"))
    for problem in found.lock_problems:
        assert problem.path.startswith("spec.")
    assert policy_problems(found.rules) is not None


@given(own=SPECS)
def test_a_policy_that_says_nothing_changes_nothing(own):
    assert merge(own, PolicyRules("PromptRolloutPolicy", "p")).spec == own
