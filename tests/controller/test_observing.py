"""What one decision depends on, gathered from what is known."""

from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.api.parse import parse_status
from promptrollout.api.status import Pin
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, Owner, RolloutObject
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.observing import observe
from promptrollout.controller.parsed import Known, parse
from promptrollout.rollout import decide

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def wanting(letter):
    prompt = {"parts": {part: {"text": letter * 200_000} for part in ("ask", "answer")}}
    raw = {"prompt": {"inline": prompt}, "strategy": {"immediate": {}}}
    seen = RolloutObject(ObjectKey("shop", "support"), "u1", 1, "1", raw, {})
    return Entry(seen), parse(seen, Known(frozenset({"default"})))


def test_what_is_drained_counts_for_the_size_until_it_is_over():
    children = Children()
    (entry, first), (_, drained), (_, wanted) = (wanting(letter) for letter in "abc")
    for parsed in (first, drained, wanted):
        children.documents[parsed.wanted.short] = parsed.wanted.document
    seen = observe(entry, first, children, parse_status({}), NOW)
    status = decide(first.spec, parse_status({}), seen, NOW).status
    assert observe(entry, wanted, children, status, NOW).problems == ()

    pin = Pin(revision=drained.wanted.short, until=NOW + HALF_HOUR)
    status = status.but(delivered=status.delivered.but(pins=[pin]))
    seen = observe(entry, wanted, children, status, NOW)
    assert [problem.path for problem in seen.problems] == ["spec.prompt"]
    assert drained.wanted.short in seen.problems[0].message
    assert "wait until the last is drained at 2026-11-23T12:30" in seen.problems[0].cure
    held = decide(wanted.spec, status, seen, NOW)
    assert held.status.phase == "Invalid"
    assert held.wake_at <= pin.until
    later = pin.until
    status = decide(wanted.spec, held.status, seen, later).status
    assert observe(entry, wanted, children, status, later).problems == ()


@pytest.mark.parametrize(
    ("owner", "said", "cure"),
    [
        (None, "it has no owner", "delete it, or create this rollout anew"),
        (("Deployment", "shop"), "it belongs to Deployment shop", "delete it, or create this rollout anew"),
        (("PromptRollout", "other"), "PromptRollout other", "create this rollout anew"),
        (("PromptRollout", "support"), "an earlier rollout of this name", "if it stays, delete it"),
    ],
    ids=["nobody", "another kind", "another rollout", "an earlier one of this name"],
)
def test_a_configmap_of_another_s_is_told_with_whose_it_is_and_a_cure_that_the_api_server_takes(
    owner, said, cure
):
    entry, parsed = wanting("a")
    owners = (Owner("v1", *owner, "another-uid"),) if owner else ()
    found = ConfigMapObject(ObjectKey("shop", "support-prompt"), "u2", "1", {}, owners=owners)
    seen = observe(entry, parsed, Children(payload=found), parse_status({}), NOW)
    assert "ConfigMap shop/support-prompt" in seen.blocked
    assert said in seen.blocked
    assert cure in seen.blocked
    assert ("delete it" in seen.blocked) == (owner != ("PromptRollout", "other")), (
        "its owner would restore it"
    )
