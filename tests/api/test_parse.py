from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.canary import CanaryStep
from promptrollout.api.parse import Problem, parse_spec, read_spec
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Phase, RolloutStatus
from promptrollout.rollout import Observations, decide
from promptrollout.rollout.payload import payload_of
from tests.api.cases import BASE, RIGHT, WRONG, Wrong, spec_with

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
)


def problems_in(raw: object) -> tuple[Problem, ...]:
    parsed = parse_spec(raw)
    assert not isinstance(parsed, RolloutSpec)
    return parsed


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_spec_is_refused_at_the_field_with_a_cure(wrong: Wrong):
    found = {problem.path: problem for problem in problems_in(wrong.spec)}

    assert wrong.at in found
    assert found[wrong.at].message
    assert found[wrong.at].cure


@pytest.mark.parametrize("raw", RIGHT.values(), ids=RIGHT)
def test_a_right_spec_is_read(raw: dict[str, object]):
    assert isinstance(parse_spec(raw), RolloutSpec)


@pytest.mark.parametrize("raw", RIGHT.values(), ids=RIGHT)
def test_a_spec_survives_being_written_and_read_again(raw: dict[str, object]):
    spec = parse_spec(raw)

    assert isinstance(spec, RolloutSpec)
    assert parse_spec(spec.to_wire()) == spec


def test_all_problems_are_named_at_once():
    raw = spec_with("analysis.metrics", [{"name": "a"}, {"name": "a", "preset": "sdk/score"}])
    raw["strategy"] = {}

    assert [problem.path for problem in problems_in(raw)] == [
        "spec.strategy",
        "spec.analysis.metrics[0]",
        "spec.analysis.metrics[1].name",
        "spec.analysis.metrics[1].score",
    ]


def test_a_problem_reads_as_a_sentence_with_place_and_cure():
    (problem,) = problems_in(spec_with("analysis.interval", "soon"))

    assert str(problem) == (
        "spec.analysis.interval: 'soon' is not a duration; write for example 90s, 10m or 1h30m"
    )


def test_a_problem_never_repeats_a_whole_prompt():
    secret = "the whole secret prompt " * 100
    (problem,) = problems_in(spec_with("prompt.inline.templateFormat", secret))

    assert len(str(problem)) < 250


@pytest.mark.parametrize("raw", [None, [], "spec", 7, True])
def test_what_is_no_map_is_no_spec(raw: object):
    (problem,) = problems_in(raw)

    assert problem.path == "spec"


def test_a_tool_nested_deeper_than_can_be_written_is_refused():
    tool: dict[str, object] = {}
    for _ in range(5_000):
        tool = {"a": tool}

    (problem,) = problems_in(spec_with("prompt.inline.tools", [tool]))

    assert problem.path.startswith("spec.prompt.inline.tools[0].a.a")


def test_fields_of_a_newer_version_are_ignored():
    raw = spec_with("delivery.fromTheFuture", {"x": 1})

    assert isinstance(parse_spec(raw), RolloutSpec)


def test_names_of_the_code_are_no_names_of_the_api():
    raw = spec_with("progress_deadline", "1m")

    spec = parse_spec(raw)

    assert isinstance(spec, RolloutSpec)
    assert spec.progress_deadline == "72h"


@given(JSON)
def test_reading_any_json_never_raises(raw: object):
    parse_spec(raw)


PATHS = st.sampled_from(
    [
        "prompt", "prompt.inline", "prompt.inline.messages", "prompt.inline.parts", "prompt.inline.tools",
        "prompt.inline.model", "delivery", "delivery.podSelector", "delivery.podSelector.matchExpressions",
        "delivery.acknowledge.quorum", "delivery.acknowledge.timeout", "assignment", "strategy",
        "strategy.canary", "strategy.canary.steps", "analysis", "analysis.interval", "analysis.metrics",
        "analysis.confidence", "analysis.correlation", "progressDeadline", "revisionHistoryLimit",
    ]
)  # fmt: skip


@given(PATHS, JSON)
def test_any_json_in_any_field_never_raises(path: str, value: object):
    parsed = parse_spec(spec_with(path, value))

    assert isinstance(parsed, RolloutSpec) or all(
        problem.path.startswith("spec") and problem.message and problem.cure for problem in parsed
    )


NUMBERS = st.integers(0, 10_000)
WEIGHTS = st.integers(0, 100) | NUMBERS.map(lambda n: f"{n / 100:g}%")


@given(st.lists(WEIGHTS, min_size=1, max_size=20))
def test_steps_are_read_exactly_when_their_weights_do_not_fall(weights: list[int | str]):
    def share(weight: int | str) -> float:
        return float(weight.rstrip("%")) if isinstance(weight, str) else float(weight)

    shares = [share(weight) for weight in weights]
    raw = spec_with("strategy.canary.steps", [{"weight": weight, "duration": "1m"} for weight in weights])

    assert isinstance(parse_spec(raw), RolloutSpec) == (shares == sorted(shares))


def test_a_step_may_be_changed_without_touching_the_original():
    spec = parse_spec(BASE)
    assert isinstance(spec, RolloutSpec)
    assert spec.strategy.canary is not None
    step = spec.strategy.canary.steps[0]

    assert step.but(weight=20) == CanaryStep(weight=20, duration="10m")
    assert step.weight == 10


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_spec_still_says_how_to_take_back_what_is_served_unless_that_is_what_is_wrong(wrong: Wrong):
    reading = read_spec(wrong.spec)

    assert reading.problems
    if reading.spec is not None:
        assert not wrong.at.startswith(("spec.delivery", "spec.assignment"))
        assert payload_of("shop/support", reading.spec, RolloutStatus()) is None
        told = decide(reading.spec, RolloutStatus(), Observations("uid", 1, problems=reading.problems), NOON)
        assert told.status.phase is Phase.INVALID


def test_a_step_that_contradicts_itself_does_not_hide_where_the_prompt_is_delivered():
    reading = read_spec(spec_with("strategy.canary.steps", [{"weight": 5}]))

    assert [problem.path for problem in reading.problems] == ["spec.strategy.canary.steps[0]"]
    assert reading.spec is not None
