"""What a new revision changes beside its texts, in words."""

import pytest

from promptrollout.revision import changes_between, seal

OLD = {"text": "{{a}} {{b}}", "variables": ["a", "b"], "model": {"name": "one", "parameters": {"t": "0.2"}}}


def between(old, new):
    return changes_between(seal(old).document, seal(new).document)


def test_another_text_alone_is_no_change_of_what_applications_supply():
    assert not between(OLD, {**OLD, "text": "{{a}} and {{b}}"})


def test_variables_are_said_that_are_needed_anew_and_that_are_supplied_in_vain():
    found = between(OLD, {**OLD, "text": "{{a}} {{c}}", "variables": ["a", "c"]})
    assert (found.variables.added, found.variables.removed) == (("c",), ("b",))
    assert found.settings == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"name": "two", "parameters": {"t": "0.2"}}}, ["model one -> two"]),
        ({"model": {"name": "one", "parameters": {"t": "0.7"}}}, ["parameter t 0.2 -> 0.7"]),
        ({"model": {"name": "one"}}, ["parameter t 0.2 -> (none)"]),
        ({"model": None}, ["model one -> (none)", "parameter t 0.2 -> (none)"]),
        ({"templateFormat": "jinja2"}, ["template format mustache -> jinja2"]),
        ({"tools": [{"name": "search"}]}, ["tools added"]),
        ({"responseFormat": {"type": "object"}}, ["response format added"]),
        (
            {"text": None, "messages": [{"role": "user", "content": "{{a}} {{b}}"}]},
            ["form: text -> messages"],
        ),
        ({"extra": {"index": "x" * 100}}, [f"extra index (none) -> {'x' * 59}…"]),
        (
            {"text": None, "parts": {"plan": {"text": "{{a}}"}, "default": {"text": "{{b}}"}}},
            ["part plan added"],
        ),
    ],
)
def test_settings_are_said_from_what_to_what(change, said):
    assert list(between(OLD, {**OLD, **change}).settings) == said
