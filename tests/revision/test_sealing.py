"""What makes a revision new, and what does not."""

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.prompt import InlinePrompt
from promptrollout.revision import SealError, seal

CHAT = {
    "messages": [{"role": "system", "content": "Help {{name}}."}],
    "model": {"name": "gpt-5-mini", "parameters": {"temperature": "0.2"}},
    "variables": ["name"],
}
# Written by hand from RFC 8785: keys sorted, no blanks, the shortest form of a number.
CHAT_CANONICAL = (
    '{"model":"gpt-5-mini","parameters":{"temperature":0.2},'
    '"parts":{"default":{"messages":[{"content":"Help {{name}}.","role":"system"}]}},'
    '"templateFormat":"mustache","variables":["name"]}'
)


def test_the_hash_is_sha256_over_the_canonical_json_of_the_normal_form():
    revision = seal(CHAT)
    assert revision.json == CHAT_CANONICAL
    assert revision.hash == hashlib.sha256(CHAT_CANONICAL.encode()).hexdigest()
    assert (
        revision.hash == "dc51dbf961cdfbadca053f8cc352865121223aef0bb5dae8dcdc27537f7e50bc"
    )  # coreutils sha256sum
    assert revision.short == revision.hash[:10]


@pytest.mark.parametrize(
    "variant",
    [
        {**CHAT, "tools": []},
        {**CHAT, "tools": None, "responseFormat": {}, "extra": {}},
        {**CHAT, "templateFormat": "mustache"},
        {**CHAT, "variables": ["name", "name"]},
        {**CHAT, "model": "gpt-5-mini", "parameters": {"temperature": 0.2}},
        {**CHAT, "model": {"name": "gpt-5-mini", "parameters": {"temperature": "0.20", "stop": None}}},
        {k: v for k, v in CHAT.items() if k != "messages"}
        | {"parts": {"default": {"messages": CHAT["messages"]}}},
        {**CHAT, "messages": [{"role": "system", "content": "Help {{name}}.", "name": ""}]},
    ],
)
def test_spellings_that_mean_the_same_request_hash_alike(variant):
    assert seal(variant).hash == seal(CHAT).hash


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "Help {{name}}."}]},
        {"messages": [{"role": "system", "content": "Help {{name}}. "}]},
        {"model": {"name": "gpt-5", "parameters": {"temperature": "0.2"}}},
        {"model": {"name": "gpt-5-mini", "parameters": {"temperature": "0.3"}}},
        {"templateFormat": "none"},
        {"variables": ["name", "other"]},
        {"extra": {"index": "v2"}},
        {"tools": [{"type": "function"}]},
        {"responseFormat": {"type": "json_object"}},
    ],
)
def test_whatever_changes_an_answer_is_a_new_revision(change):
    assert seal({**CHAT, **change}).hash != seal(CHAT).hash


def test_a_model_of_the_api_and_its_json_are_one_revision():
    assert seal(InlinePrompt.model_validate(CHAT)).hash == seal(CHAT).hash


def test_sealing_a_sealed_document_changes_nothing():
    revision = seal(CHAT)
    assert seal(revision.document).hash == revision.hash
    assert seal(json.loads(rfc8785.dumps(revision.file()))).hash == revision.hash


def test_parameters_written_as_strings_reach_the_pod_as_the_values_a_model_server_wants():
    parameters = {
        "temperature": "0.2",
        "seed": "7",
        "stream": "true",
        "stop": '["END"]',
        "user": "u-1",
        "effort": "[x",
    }
    document = seal({**CHAT, "model": {"name": "m", "parameters": parameters}}).document
    assert document["parameters"] == {
        "temperature": 0.2, "seed": 7, "stream": True, "stop": ["END"], "user": "u-1", "effort": "[x",
    }  # fmt: skip


def test_several_parts_keep_their_names():
    document = seal({"parts": {"planner": {"text": "plan"}, "answerer": {"text": "answer"}}}).document
    assert document["parts"] == {"planner": {"text": "plan"}, "answerer": {"text": "answer"}}


@pytest.mark.parametrize(
    ("prompt", "path"),
    [
        ({}, ""),
        ({"text": "x", "messages": [{"role": "user", "content": "y"}]}, ""),
        ({"text": "x", "parts": {"a": {"text": "y"}}}, "parts"),
        ({"parts": {"a": {}}}, "parts.a"),
        ({"parts": {"a": {"text": "x", "nope": 1}}}, "parts.a.nope"),
        ({"text": "x", "labels": {"team": "a"}}, "labels"),
        ({"text": "x", "extra": {"nan": float("nan")}}, "extra"),
        ({"text": "x", "parameters": {"seed": 2**60}}, "parameters"),
        ({"text": "x", "parameters": {"seed": "1152921504606846976"}}, "parameters"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"text": "\ud800"}, "parts"),
    ],
)
def test_what_cannot_be_sealed_says_where(prompt, path):
    with pytest.raises(SealError) as caught:
        seal(prompt)
    assert caught.value.field_path == path


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    extra=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers(-99, 99)
    ),
)
def test_the_order_of_keys_never_matters(text, extra):
    forward = seal({"text": text, "extra": extra})
    backward = seal({"extra": dict(reversed(extra.items())), "text": text})
    assert forward.json == backward.json
    assert json.loads(forward.json) == forward.document
