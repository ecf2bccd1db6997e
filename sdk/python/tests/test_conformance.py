"""The vectors that every SDK passes."""

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from promptrollout_sdk import mustache
from promptrollout_sdk.errors import PayloadError
from promptrollout_sdk.hashing import bucket_of, cluster_of, split_score
from promptrollout_sdk.ledger import Ledger
from promptrollout_sdk.metrics import DURATION_BUCKETS, families_of
from promptrollout_sdk.payload import Contract, load
from promptrollout_sdk.pins import parse_token
from promptrollout_sdk.prompt import Prompt
from promptrollout_sdk.serving import NoPinError, Serving
from promptrollout_sdk.templates import compile_template

ROOT = Path(__file__).parents[3]


def vectors(name: str):
    return json.loads((ROOT / "sdk" / "conformance" / name).read_text())


def reader(files):
    def read(name):
        if name not in files:
            raise PayloadError("missing", name)
        return files[name].encode()

    return read


def test_buckets_and_clusters():
    cases = vectors("assignment.json")
    assert [bucket_of(c["salt"], c["unit"]) for c in cases["buckets"]] == [
        c["bucket"] for c in cases["buckets"]
    ]
    assert [cluster_of(c["unit"]) for c in cases["clusters"]] == [c["cluster"] for c in cases["clusters"]]


@pytest.mark.parametrize("case", vectors("revisions.json"), ids=lambda c: c["name"])
def test_revisions(case):
    digest = hashlib.sha256(case["canonical"].encode()).hexdigest()
    assert (digest, digest[:10]) == (case["hash"], case["short"])
    file = json.dumps(
        {"schema": 1, "revision": case["short"], "hash": digest, **json.loads(case["canonical"])}
    )
    rollout = {"schema": 1, "rollout": "a/b", "sequence": 1, "exposure": 1, "unit": "u", "salt": "s"}
    rollout["arms"] = [{"name": "stable", "revision": case["short"], "weight": 10_000}]
    rollout["documents"] = {case["short"]: hashlib.sha256(file.encode()).hexdigest()}
    text = json.dumps(rollout, sort_keys=True, separators=(",", ":"))
    rollout["hash"] = hashlib.sha256(text.encode()).hexdigest()
    files = {"rollout.json": json.dumps(rollout), f"{case['short']}.json": file}
    payload, _ = load(reader(files), Contract(), {})
    assert payload.prompts[case["short"]].parts


def test_of_a_million_units_each_arm_gets_its_share_and_a_ramp_only_moves_units_to_the_candidate():
    case = next(c for c in vectors("payloads.json")["served"] if c["name"] == "two arms")
    payload, _ = load(reader(case["files"]), Contract(), {})
    candidate, stable = payload.arms
    ledger, units, ramp = Ledger(families_of(CollectorRegistry()), (), ()), 1_000_000, (500, 2500)
    steps = [
        Serving(
            replace(payload, arms=(replace(candidate, weight=w), replace(stable, weight=10_000 - w))), ledger
        )
        for w in ramp
    ]
    inside = [step.keys[0].revision for step in steps]
    counts = [0] * len(ramp)
    for unit in range(units):
        text = b"unit-%d" % unit
        arms = [step.assign(text).prompt.revision == first for step, first in zip(steps, inside, strict=True)]
        assert arms == sorted(arms), f"unit-{unit} went back to stable"
        counts = [n + arm for n, arm in zip(counts, arms, strict=True)]
    for count, weight in zip(counts, ramp, strict=True):
        share = weight / 10_000
        assert abs(count - units * share) <= 4 * math.sqrt(units * share * (1 - share))


@pytest.mark.parametrize("case", vectors("templates.json")["rendered"], ids=lambda c: c["template"])
def test_templates(case):
    assert compile_template(case["template"], case["format"]).render(case["values"]) == case["text"]


@pytest.mark.parametrize("case", vectors("templates.json")["broken"], ids=lambda c: c["template"])
def test_broken_templates(case):
    with pytest.raises(PayloadError) as caught:
        compile_template(case["template"], case["format"])
    assert caught.value.reason == "template"


@pytest.mark.parametrize("case", vectors("templates.json")["parts"], ids=lambda c: c["format"])
def test_a_part_wants_only_the_variables_that_it_uses(case):
    prompt = Prompt(case["document"], "0123456789")
    assert {name: sorted(part.variables) for name, part in prompt.parts.items()} == case["wanted"]


def test_scores_and_buckets():
    for case in vectors("scores.json")["splits"]:
        node, here, beyond = split_score(case["score"])
        nodes = {str(node): here, str(node + 1): beyond}
        assert {k: v for k, v in nodes.items() if v} == pytest.approx(case["nodes"])
    assert list(DURATION_BUCKETS) == vectors("scores.json")["durationBuckets"]


@pytest.mark.parametrize("case", vectors("payloads.json")["served"], ids=lambda c: c["name"])
def test_payloads_that_are_served(case):
    payload, _ = load(reader(case["files"]), Contract(), {})
    assert payload.sequence == case["sequence"]


@pytest.mark.parametrize("case", vectors("payloads.json")["broken"], ids=lambda c: c["name"])
def test_payloads_that_are_refused(case):
    with pytest.raises(PayloadError) as caught:
        load(reader(case["files"]), Contract(), {})
    assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("case", vectors("pins.json")["pins"], ids=lambda c: c["name"])
def test_pins(case):
    payload, _ = load(reader(case["files"]), Contract(), {})
    serving = Serving(payload, Ledger(families_of(CollectorRegistry()), (), ()))
    for _ in range(2):  # the second time what was found is remembered
        with suppress(NoPinError):
            key = None
            followed = serving.follow(case["pin"], datetime.fromisoformat(case["now"]).timestamp())
            key = followed.served.series.key if followed else None
        found = {"revision": key.revision, "arm": key.arm, "step": int(key.step)} if key else None
        assert found == case["follows"]


def test_tokens():
    for case in vectors("pins.json")["tokens"]:
        token = parse_token(case["token"])
        assert (token is not None) == case["valid"]
        if token:
            assert (token.cluster, str(token)) == (case["cluster"], case["token"])


def test_operator_and_sdk_hold_the_same_mustache():
    ours = Path(mustache.__file__).read_text()
    assert ours == (ROOT / "operator" / "promptrollout" / "revision" / "mustache.py").read_text()
