"""The payload: rendered, read back, refused."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.delivery import (
    ArmWeight,
    Payload,
    PayloadError,
    PayloadTooLargeError,
    PinnedRevision,
    Shadow,
    bucket_of,
    parse,
    render,
    revision_config_map,
    seal_payload,
)
from promptrollout.revision import seal

OLD, NEW, GONE = (seal({"text": f"prompt {name}"}) for name in ("old", "new", "gone"))
DOCUMENTS = {r.short: r.document for r in (OLD, NEW, GONE)}
PAYLOAD = Payload(
    rollout="shop/support-answer",
    sequence=7,
    exposure=3,
    unit="conversation",
    salt="abc",
    arms=(ArmWeight("candidate", NEW.short, 500), ArmWeight("stable", OLD.short, 9500)),
)


def test_a_payload_is_read_back_as_it_was_rendered():
    full = replace(
        PAYLOAD,
        pinned=(PinnedRevision(GONE.short, "2026-11-24T00:00:00Z"),),
        shadow=Shadow(NEW.short, sample=100, max_concurrent=4, usd_per_hour="1.50"),
    )
    assert parse(render(full, DOCUMENTS)) == seal_payload(full, DOCUMENTS)


def test_it_has_one_file_for_each_live_revision_and_no_other():
    data = render(PAYLOAD, DOCUMENTS)
    assert set(data) == {"rollout.json", f"{OLD.short}.json", f"{NEW.short}.json"}
    document = json.loads(data[f"{NEW.short}.json"])
    assert document["hash"] == NEW.hash
    assert document["parts"] == {"default": {"text": "prompt new"}}


def test_the_hash_is_over_the_rest_as_canonical_json():
    rollout = json.loads(render(PAYLOAD, DOCUMENTS)["rollout.json"])
    claimed = rollout.pop("hash")
    text = json.dumps(rollout, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == claimed


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 8},
        {"salt": "x"},
        {"unit": "user"},
        {"arms": (ArmWeight("candidate", NEW.short, 501), ArmWeight("stable", OLD.short, 9499))},
        {"pinned": (PinnedRevision(GONE.short, "2026-11-24T00:00:00Z"),)},
    ],
)
def test_each_change_changes_the_hash(change):
    changed = replace(PAYLOAD, **change)
    assert seal_payload(changed, DOCUMENTS).hash != seal_payload(PAYLOAD, DOCUMENTS).hash


def edited(**changes):
    data = render(PAYLOAD, DOCUMENTS)
    rollout = json.loads(data["rollout.json"]) | changes
    rollout.pop("hash")
    text = json.dumps(rollout, sort_keys=True, separators=(",", ":"))
    rollout["hash"] = hashlib.sha256(text.encode()).hexdigest()
    return data | {"rollout.json": json.dumps(rollout)}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "missing"),
        ({"rollout.json": "{"}, "not_json"),
        ({"rollout.json": "[]"}, "not_json"),
        (render(PAYLOAD, DOCUMENTS) | {"rollout.json": '{"schema":1}'}, "hash"),
        (edited(schema=2), "schema"),
        (edited(arms=[{"name": "stable", "revision": OLD.short, "weight": 9999}]), "weights"),
        (edited(arms=[]), "weights"),
        (edited(arms=None), "invalid"),
        (edited(sequence="7"), "invalid"),
        (edited(arms=[{"name": "St able", "revision": OLD.short, "weight": 10000}]), "invalid"),
        (edited(arms=[{"name": "stable", "revision": "../../etc", "weight": 10000}]), "invalid"),
        (edited(arms=[{"name": "stable", "revision": GONE.short, "weight": 10000}]), "revision_missing"),
        (render(PAYLOAD, DOCUMENTS) | {f"{OLD.short}.json": "{}"}, "revision_mismatch"),
        (
            {k: v for k, v in render(PAYLOAD, DOCUMENTS).items() if k != f"{NEW.short}.json"},
            "revision_missing",
        ),
    ],
)
def test_a_broken_payload_is_refused_with_its_reason(data, reason):
    with pytest.raises(PayloadError) as caught:
        parse(data)
    assert caught.value.reason == reason


def test_a_document_under_a_foreign_name_is_refused():
    with pytest.raises(PayloadError, match="is that of"):
        render(PAYLOAD, DOCUMENTS | {OLD.short: GONE.document})


def test_two_arms_of_one_name_are_refused():
    arms = (ArmWeight("a", NEW.short, 500), ArmWeight("a", OLD.short, 9500))
    with pytest.raises(PayloadError, match="not unique"):
        render(replace(PAYLOAD, arms=arms), DOCUMENTS)


def test_more_than_a_config_map_holds_is_refused_with_the_sizes():
    big, other = seal({"text": "x" * 600_000}), seal({"text": "y" * 600_000})
    arms = (ArmWeight("candidate", big.short, 0), ArmWeight("stable", other.short, 10_000))
    documents = {big.short: big.document, other.short: other.document}
    with pytest.raises(PayloadTooLargeError, match=rf"{big.short}\.json 600,") as caught:
        render(replace(PAYLOAD, arms=arms), documents)
    assert caught.value.sizes[f"{other.short}.json"] > 600_000


def test_the_size_is_counted_in_bytes_not_in_characters():
    wide = seal({"text": "\N{SNOWMAN}" * 360_000})
    with pytest.raises(PayloadTooLargeError):
        revision_config_map("support", wide.document)


def test_a_revision_config_map_is_named_after_its_content():
    name, data = revision_config_map("support-answer", OLD.document)
    assert name == f"support-answer-rev-{OLD.short}"
    assert json.loads(data["revision.json"])["hash"] == OLD.hash


@given(
    sequence=st.integers(0, 2**40), weight=st.integers(0, 10_000), salt=st.text(st.characters(codec="utf-8"))
)
def test_any_payload_survives_the_round_trip(sequence, weight, salt):
    arms = (ArmWeight("candidate", NEW.short, weight), ArmWeight("stable", OLD.short, 10_000 - weight))
    payload = replace(PAYLOAD, sequence=sequence, arms=arms, salt=salt)
    assert parse(render(payload, DOCUMENTS)) == seal_payload(payload, DOCUMENTS)


def test_the_flag_compares_the_bucket_with_the_arms_ends_and_falls_back_to_stable():
    flag = json.loads(render(PAYLOAD, DOCUMENTS, flagd=True)["flagd.json"])["flags"]["support-answer"]
    assert flag["variants"] == {"candidate": NEW.short, "stable": OLD.short}
    missing, first, below, arm, otherwise = flag["targeting"]["if"]
    assert (missing, first, otherwise) == ({"missing": ["bucket"]}, "stable", "stable")
    assert (below, arm) == ({"<": [{"var": "bucket"}, 500]}, "candidate")
    assert 0 <= bucket_of(PAYLOAD.salt, "u") < 10_000
