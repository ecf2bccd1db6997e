"""A prompt from outside the spec: read as its author means it, and refused in words where it is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.prompt import ConfigMapRef, InlinePrompt
from promptrollout.controller.documents import UnreadableError, read_document, read_prompt
from promptrollout.controller.prompts import wanted_from_config_map

YAML = """\
messages:
  - {role: system, content: "Hello {{name}}, today is 2026-11-24"}
model: {name: gpt, parameters: {temperature: 0.2, n: 1, stop: [END], echo: true}}
extra: {day: 2026-11-24, opens: 12:30}
"""


def ref(key="support.yaml", **more):
    return ConfigMapRef(name="texts", key=key, **more)


def wanted(text, key="support.yaml", **more):
    return wanted_from_config_map("support", ref(key, **more), {key: text}, "spec.prompt")


def test_a_document_is_what_inline_would_be_and_variables_are_those_of_its_texts():
    document = wanted(YAML).revision.document
    assert document["variables"] == ["name"]
    assert document["parameters"] == {"temperature": 0.2, "n": 1, "stop": ["END"], "echo": True}
    assert document["extra"] == {"day": "2026-11-24", "opens": "12:30"}, (
        "dates and times in a prompt are text"
    )


@pytest.mark.timeout(60)
def test_a_number_in_sixties_is_not_worked_out():
    text = "1" + ":1" * 150_000
    assert wanted(f"text: {text}").revision.document["parts"]["default"]["text"] == text


def test_json_and_yaml_of_the_same_prompt_are_the_same_revision():
    as_json = json.dumps({"text": "Hi {{a}}", "model": {"name": "m", "parameters": {"t": 1.5}}})
    as_yaml = "text: 'Hi {{a}}'\nmodel:\n  name: m\n  parameters: {t: 1.5}\n"
    assert wanted(as_json, "p.json").revision.hash == wanted(as_yaml, "p.yml").revision.hash


def test_a_text_is_the_prompt_itself_to_the_last_newline():
    assert wanted("a: {{b}}\n", "prompt").revision.document["parts"]["default"]["text"] == "a: {{b}}\n"
    jinja = wanted("{% if a %}b{% endif %}", "prompt.j2", template_format="jinja2").revision.document
    assert (jinja["templateFormat"], jinja["variables"]) == ("jinja2", ["a"])


def test_the_format_may_be_said_where_the_key_does_not_say_it():
    assert wanted("text: hi", "prompt", format="YAML").revision.document["parts"]["default"]["text"] == "hi"
    assert (
        wanted("text: hi", "prompt.yaml", format="Text").revision.document["parts"]["default"]["text"]
        == "text: hi"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("- a\n- b", "is not a map of fields"),
        ("text: [", "line 2"),
        ("text: {", "is not YAML"),
        ("a: &x {text: y}\nb: *x", "uses the YAML alias *x"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("text: !!python/object/apply:os.system [id]", "is not YAML"),
        ("text: hi\ntemprature: 1", "temprature is not known"),
        ("parts: {plan: {text: hi, model: x}}", "parts.plan.model is not known"),
        ("messages: hi", "messages is the string 'hi'"),
        ("messages: [{role: user}]", "messages[0].content is missing"),
        ("text: hi\nmessages: [{role: user, content: a}]", "messages and text"),
        ("{}", "no text"),
        ("text: 'hi {{name}}'\nvariables: [nom]", "declared are [nom], the text uses [name]"),
        ("text: 'hi {{name'", "line 1"),
        ("text: 'hi'\ntemplateFormat: smarty", "'smarty' is not known"),
        ("text: hi\nextra: {x: .nan}", "extra.x"),
        ('text: "\\ud800"', "is not YAML"),
    ],
)
def test_what_is_no_prompt_is_refused_with_the_place_and_the_cure(text, said):
    found = wanted(text)
    assert found.revision is None
    assert all(problem.path == "spec.prompt.configMapRef" and problem.cure for problem in found.problems)
    told = " | ".join(map(str, found.problems))
    assert "ConfigMap texts, key support.yaml" in told
    assert said in told


@pytest.mark.parametrize("text", ["{", "[1]", "NaN", '{"text": NaN}', "[" * 100_000, "null", '"text"'])
def test_what_is_no_json_document_is_refused(text):
    with pytest.raises(UnreadableError):
        read_document(ref("p.json"), text)


def test_a_missing_key_names_those_that_are_there():
    found = wanted_from_config_map("support", ref(), {"a.yaml": "x", "b.yaml": "y"}, "spec.prompt")
    assert "there are: a.yaml, b.yaml" in str(found.problems[0])


def test_a_document_too_large_for_a_config_map_of_ours_is_refused():
    parts = {f"p{i}": {"text": "x" * 399_000} for i in range(3)}
    assert "1,048,576" in str(wanted(json.dumps({"parts": parts}), "p.json").problems[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from([*InlinePrompt.model_fields, "templateFormat", "responseFormat", "x"])


@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_nothing_that_comes_from_outside_raises(document):
    found = read_prompt(document)
    assert isinstance(found, InlinePrompt) or found


@given(st.text(max_size=60), st.sampled_from(["p.yaml", "p.json", "p"]))
def test_no_text_raises(text, key):
    found = wanted(text, key)
    assert (found.revision is None) == bool(found.problems)
