"""The shared vectors: current, right by a second computation, and passed by the operator's rooms."""

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

from promptrollout.delivery import ArmWeight, PayloadError, arm_of, bucket_of, cluster_of, parse
from promptrollout.revision import TemplateError, render_template, seal, template_variables

VECTORS = Path(__file__).parents[2] / "sdk" / "conformance"


def vectors(name: str):
    return json.loads((VECTORS / name).read_text())


def test_the_files_are_what_the_generator_writes():
    spec = importlib.util.spec_from_file_location("generate", VECTORS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, text in generate.texts().items():
        assert (VECTORS / name).read_text() == text, f"{name} is old: run python sdk/conformance/generate.py"


def test_buckets_and_clusters_by_exact_integer_arithmetic():
    for case in vectors("assignment.json")["buckets"]:
        top = int(hashlib.sha256((case["salt"] + "\x1f" + case["unit"]).encode()).hexdigest()[:16], 16)
        assert case["bucket"] == top * 10_000 // 2**64 == bucket_of(case["salt"], case["unit"])
    for case in vectors("assignment.json")["clusters"]:
        first = int(hashlib.sha256(("cluster\x1f" + case["unit"]).encode()).hexdigest()[:2], 16)
        assert case["cluster"] == first % 16 == cluster_of(case["unit"])


def test_arms_own_consecutive_ranges():
    case = vectors("assignment.json")["arms"]
    arms = [ArmWeight(one["name"], "0" * 10, one["weight"]) for one in case["weights"]]
    assert [arm_of(arms, one["bucket"]).name for one in case["owners"]] == [
        one["arm"] for one in case["owners"]
    ]


# By coreutils: printf %s '{"parts":{"default":{"text":"Hello"}},"templateFormat":"mustache"}' | sha256sum
HELLO = "a65ed98cb6cca773dcfe9f9fa98bda6f937a3688aa27dae8e76ce4e5ff65a475"


@pytest.mark.parametrize("case", vectors("revisions.json"), ids=lambda c: c["name"])
def test_revisions(case):
    revision = seal(case["prompt"])
    assert (revision.json, revision.hash, revision.short) == (case["canonical"], case["hash"], case["short"])
    assert hashlib.sha256(case["canonical"].encode()).hexdigest() == case["hash"]


def test_a_hash_that_another_tool_computed():
    assert seal({"text": "Hello"}).hash == HELLO


def test_canonical_json_follows_rfc_8785():
    by_name = {case["name"]: case["canonical"] for case in vectors("revisions.json")}
    # Section 3.2.2.3's numbers, and keys by UTF-16 code units: U+1F642 (d83d) before U+FB33.
    assert '"a":1,"b":1e+21,"c":0.000001,"d":1e-7,"e":333333333.3333333,"f":0,"g":5' in by_name["numbers"]
    assert '"extra":{"z":"2","é":"1","🙂":"3","\ufb33":"4"}' in by_name["unicode"]
    assert '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f"' in by_name["escapes"]
    assert by_name["absent and empty are alike"] == by_name["chat"]


@pytest.mark.parametrize("case", vectors("templates.json")["rendered"], ids=lambda c: c["template"])
def test_templates(case):
    assert render_template(case["template"], case["format"], case["values"]) == case["text"]


@pytest.mark.parametrize("case", vectors("templates.json")["broken"], ids=lambda c: c["template"])
def test_broken_templates(case):
    with pytest.raises(TemplateError):
        template_variables(case["template"], case["format"])


@pytest.mark.parametrize("case", vectors("payloads.json")["served"], ids=lambda c: c["name"])
def test_payloads_that_are_served(case):
    assert parse(case["files"]).sequence == case["sequence"]


# The operator compiles prompts when it seals them, not when it reads its own payload back.
PROMPTS = ("template", "revision_invalid")
BROKEN = [case for case in vectors("payloads.json")["broken"] if case["reason"] not in PROMPTS]


@pytest.mark.parametrize("case", BROKEN, ids=lambda c: c["name"])
def test_payloads_that_are_refused(case):
    with pytest.raises(PayloadError) as caught:
        parse(case["files"])
    assert caught.value.reason == case["reason"]


def test_the_split_keeps_a_scores_mean():
    for case in vectors("scores.json")["splits"]:
        badness = sum(int(node) / 20 * weight for node, weight in case["nodes"].items())
        assert badness == pytest.approx(1 - case["score"], abs=1e-12)
        assert sum(case["nodes"].values()) == pytest.approx(1)
