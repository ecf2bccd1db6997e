"""From a spec to what is wanted, or to what is wrong with it."""

from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.parsed import Known, parse

CANARY = {"canary": {"steps": [{"weight": 1, "duration": "10m"}]}}


def parsed(prompt, sources=("default",), **spec):
    raw = {"prompt": {"inline": prompt}, "strategy": CANARY, **spec}
    seen = RolloutObject(ObjectKey("shop", "support"), "u1", 1, "1", raw, {})
    return parse(seen, Known(frozenset(sources)))


def test_a_sound_spec_has_a_revision_and_a_plan():
    found = parsed({"text": "Hello {{name}}", "variables": ["name"]})
    assert found.problems == ()
    assert len(found.wanted.short) == 10
    assert [metric.name for metric in found.planned.plan.metrics] == ["errors"]


def test_variables_that_differ_are_named_with_their_path():
    found = parsed({"text": "Hello {{name}}", "variables": ["shop"]})
    assert found.wanted is None
    (problem,) = found.problems
    assert problem.path.startswith("spec.prompt.inline")
    assert "name" in problem.message
    assert "shop" in problem.message


def test_a_source_that_is_not_configured_is_said_with_the_known_ones():
    (problem,) = parsed({"text": "Hello"}, sources=("main", "other")).problems
    assert problem.path == "spec.analysis.source"
    assert "main, other" in problem.cure


def test_an_unknown_preset_and_a_bad_selector_are_said():
    metrics = [
        {"name": "one", "preset": "sdk/nonsense"},
        {
            "name": "two",
            "events": {"bad": 'rate(x{rev="{{revision}}"}[1m])', "total": 'y{rev="{{revision}}"}'},
        },
    ]
    paths = [problem.path for problem in parsed({"text": "Hello"}, analysis={"metrics": metrics}).problems]
    assert paths == ["spec.analysis.metrics[0].preset", "spec.analysis.metrics[1].events.bad"]


def test_a_prompt_too_large_for_a_configmap_is_refused_with_its_size():
    found = parsed({"parts": {f"p{i}": {"text": "x" * 399_000} for i in range(3)}})
    assert any("1,048,576" in problem.message for problem in found.problems)


def test_the_same_prompt_in_another_order_is_the_same_revision():
    one = parsed({"text": "{{a}} {{b}}", "variables": ["a", "b"]})
    two = parsed({"variables": ["b", "a"], "text": "{{a}} {{b}}"})
    assert one.wanted.hash == two.wanted.hash


def test_a_wrong_spec_still_says_what_a_trial_that_is_on_is_compared_by_unless_that_is_what_is_wrong():
    found = parsed({"text": "Hello"}, strategy={"canary": {"steps": [{"weight": 5}]}})
    assert (found.wanted, found.spec is None) == (None, False)
    assert [metric.name for metric in found.planned.plan.metrics] == ["errors"]
    assert parsed({"text": "Hello"}, analysis={"interval": "1ms"}).planned is None


def test_a_source_that_is_not_configured_is_never_asked():
    assert parsed({"text": "Hello"}, sources=("other",)).planned is None
    assert (
        parsed({"text": "Hello"}, sources=(), strategy={"canary": {"steps": [{"weight": 5}]}}).planned is None
    )
