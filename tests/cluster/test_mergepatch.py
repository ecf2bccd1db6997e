"""Merge patches: what a server makes of them is exactly what was wanted, and nothing is sent for nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.cluster.mergepatch import NotJsonError, apply_merge_patch, merge_patch, same

scalars = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, 1.0, -2.0]) | st.sampled_from("ab")
)
keys = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(keys, values, max_size=3)


def without_nulls(value):
    """What Kubernetes stores of a status: no key whose value is null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@given(objects, objects)
def test_applying_the_patch_gives_the_wanted_object(stored, wanted):
    current = without_nulls(stored)
    assert same(apply_merge_patch(current, merge_patch(current, wanted)), without_nulls(wanted))


@given(objects)
def test_nothing_is_sent_for_an_equal_object(stored):
    current = without_nulls(stored)
    assert merge_patch(current, stored) == {}


@given(objects, objects)
def test_the_patch_names_no_key_that_is_the_same_on_both_sides(stored, wanted):
    current, plain = without_nulls(stored), without_nulls(wanted)
    patch = merge_patch(current, wanted)
    assert not [key for key in patch if key in current and key in plain and same(current[key], plain[key])]


def test_a_key_that_is_gone_is_nulled_by_name_however_deep():
    current = {"candidate": {"revision": "abc", "progress": {"step": 2, "held": 1.5}}, "phase": "Progressing"}
    assert merge_patch(
        current, {"candidate": {"revision": "abc", "progress": {"step": 2}}, "phase": "Paused"}
    ) == {
        "candidate": {"progress": {"held": None}},
        "phase": "Paused",
    }


def test_a_list_is_sent_whole_since_a_merge_patch_replaces_it_whole():
    current = {"conditions": [{"type": "Healthy", "status": "True"}, {"type": "Valid", "status": "True"}]}
    wanted = {"conditions": [{"type": "Healthy", "status": "False"}, {"type": "Valid", "status": "True"}]}
    assert merge_patch(current, wanted) == wanted


def test_true_is_not_one_but_one_is_one_point_zero():
    assert merge_patch({"paused": 1}, {"paused": True}) == {"paused": True}
    assert merge_patch({"held": 1}, {"held": 1.0}) == {}


def test_an_object_that_becomes_empty_stays_an_object():
    assert merge_patch({"labels": {"a": "b"}}, {"labels": {}}) == {"labels": {"a": None}}
    assert merge_patch({}, {"labels": {}}) == {"labels": {}}


@pytest.mark.parametrize(
    ("status", "where"),
    [
        ({"analysis": {"wealth": [0.1, math.nan]}}, ".analysis.wealth[1]"),
        ({"held": math.inf}, ".held"),
        ({"at": {"x": object()}}, ".at.x"),
        ({"history": [{1: "a"}]}, ".history[0]"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(status, where):
    with pytest.raises(NotJsonError) as refused:
        merge_patch({}, status)
    assert where in str(refused.value)
