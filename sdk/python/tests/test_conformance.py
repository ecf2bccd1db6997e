"""The vectors that every SDK passes."""

import json
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
from promptrollout_sdk.pins import parse_pin, parse_token
from promptrollout_sdk.serving import Serving
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


@pytest.mark.parametrize("case", vectors("templates.json")["rendered"], ids=lambda c: c["template"])
def test_templates(case):
    assert compile_template(case["template"], case["format"])(case["values"]) == case["text"]


@pytest.mark.parametrize("case", vectors("templates.json")["broken"], ids=lambda c: c["template"])
def test_broken_templates(case):
    with pytest.raises(PayloadError) as caught:
        compile_template(case["template"], case["format"])
    assert caught.value.reason == "template"


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
    pin = parse_pin(case["pin"])
    served = serving.follow(pin, datetime.fromisoformat(case["now"]).timestamp()) if pin else None
    key = served.series.key if served else None
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
