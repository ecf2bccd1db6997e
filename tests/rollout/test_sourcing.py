"""Prompts that have to be looked up, in the pure core: what is said, what holds, what goes on."""

from dataclasses import replace

import pytest

from promptrollout.api.status import PromptChanges
from promptrollout.rollout import SourceSeen, decide
from tests.rollout.conftest import ab_test

A, B = "aaaa000000", "bbbb000000"
ALIAS = "registry prompts: support, alias production"
DOWN = "registry prompts cannot be asked: no connection"


def looked_up(told, revision="", version="", *, reference=ALIAS, unavailable="", unresolved=""):
    """One decision on what was found."""
    told.seen = {
        "source": SourceSeen(reference, version, revision, unavailable),
        "unresolved": unresolved,
    }
    told.wanted = revision
    return told.turn()


@pytest.fixture
def told(story, monkeypatch):
    """A rollout whose prompt is looked up: at version 1, served by all."""
    one = story()
    one.seen = {}

    def decided(spec, status, seen, now):
        return decide(spec, status, replace(seen, **one.seen), now)

    monkeypatch.setitem(type(one).once.__globals__, "decide", decided)
    return looked_up(one, A, "1").pods_load()


def test_what_was_found_is_recorded_and_told_once(told):
    source = told.status.source
    assert (source.reference, source.version, source.revision) == (ALIAS, "1", A)
    assert told.condition("PromptAvailable").status == "True"
    assert told.reasons.count("PromptResolved") == 1
    assert told.phase == "Healthy"


def test_an_alias_that_moves_is_a_new_candidate_without_a_new_generation(told):
    generation = told.generation
    looked_up(told, B, "2")
    assert (told.phase, told.served, told.generation) == ("Delivering", {B: 0, A: 10_000}, generation)
    assert told.status.source.version == "2"


def test_an_outage_is_said_and_changes_nothing(told):
    before = told.status.delivered
    looked_up(told, A, "1", unavailable=DOWN)
    assert (told.phase, told.status.delivered) == ("Healthy", before)
    assert (
        told.status.message
        == f"revision {A} serves all ({DOWN}; revision {A}, found there before, stays the wanted one)"
    )
    assert told.condition("PromptAvailable").reason == "SourceUnavailable"
    since = told.status.source.unavailable_since
    told.after("5m")
    assert told.status.source.unavailable_since == since
    assert told.reasons.count("PromptSourceUnavailable") == 1
    looked_up(told, A, "1")
    assert told.status.source.unavailable_since is None
    assert told.reasons[-1] == "PromptSourceAvailable"


def test_a_trial_goes_on_through_an_outage(told):
    looked_up(told, B, "2")
    told.pods_load().pods_load()
    assert told.served == {B: 100, A: 9_900}
    looked_up(told, B, "2", unavailable=DOWN).evidence().after("11m")
    assert told.status.step == "2/3"


def test_a_prompt_that_is_not_known_yet_holds_everything_and_is_not_healthy(told):
    told.generation += 1
    looked_up(told, reference=f"{ALIAS} as jinja2", unavailable=DOWN, unresolved=DOWN)
    assert (told.phase, told.served) == ("Pending", {A: 10_000})
    assert told.status.message.startswith(DOWN)
    assert "What is delivered stays as it is" in told.status.message
    assert told.condition("Healthy").status == "False"
    assert told.condition("Reconciling").status == "True"
    told.says("retry", "1")
    assert told.status.last_command.result == "Refused"
    assert "not known yet" in told.status.last_command.message


def test_a_prompt_written_inline_again_leaves_nothing_of_the_source(told):
    told.seen = {}
    told.turn()
    assert told.status.source is None
    assert "PromptAvailable" not in {condition.type for condition in told.status.conditions}


def test_what_the_candidate_asks_of_applications_is_said_before_it_gets_traffic(told):
    changes = PromptChanges(
        variables_added=["region", "tier"], variables_dropped=["shop"], settings=["model one -> two"]
    )
    told.seen = {"source": SourceSeen(ALIAS, "2", B), "changes": changes}
    told.wanted = B
    told.turn()
    assert told.served == {B: 0, A: 10_000}
    assert told.status.candidate.changes == changes
    assert told.status.message.endswith(
        "Against stable it needs the variables region, tier (empty where an application supplies none), "
        "no longer uses the variable shop and changes model one -> two"
    )
    (note,) = [n for decision in told.decisions for n in decision.notes if n.reason == "PromptChanged"]
    assert note.type == "Warning"
    told.seen = {"source": SourceSeen(ALIAS, "2", B)}
    told.pods_load()
    assert told.status.candidate.changes == changes, "it stays on record"
    assert "Against stable" not in told.status.message


@pytest.fixture
def tested(story, monkeypatch):
    """A test of an arm whose prompt is looked up; what becomes of it is told by `found`."""
    one = story(strategy=ab_test("Hold", {"warm": 50}))
    one.seen = {}

    def decided(spec, status, seen, now):
        return decide(spec, status, replace(seen, **one.seen), now)

    def found(version, unavailable="", **more):
        revision = one.arms["warm"] if version else ""
        one.seen = {"arm_sources": {"warm": SourceSeen(ALIAS, version, revision, unavailable)}, **more}
        return one.turn()

    monkeypatch.setitem(type(one).once.__globals__, "decide", decided)
    one.found = found
    return one


def test_an_arms_prompt_is_recorded_with_its_arm_and_told_once(tested):
    tested.found("1").turn()
    (source,) = tested.status.arm_sources
    assert (source.arm, source.version, source.revision) == ("warm", "1", tested.arms["warm"])
    assert tested.status.source is None
    assert tested.condition("PromptAvailable").message.startswith(f"arm warm: {ALIAS}")
    assert tested.reasons.count("PromptResolved") == 1


def test_a_test_goes_on_through_its_registrys_outage_which_is_said(tested):
    tested.found("1").pods_load().pods_load()
    before = tested.status.delivered
    tested.found("1", unavailable=DOWN).pods_load()
    assert (tested.phase, tested.status.delivered.arms) == ("Progressing", before.arms)
    assert f"(arm warm: {DOWN}; revision {tested.arms['warm']}, found there before" in tested.status.message
    assert tested.condition("PromptAvailable").status == "False"
    tested.found("1")
    assert tested.reasons[-1] == "PromptSourceAvailable"


def test_an_arm_that_is_not_known_yet_holds_the_test_and_is_not_healthy(tested):
    tested.found("", unavailable=DOWN, unresolved=f"arm warm: {DOWN}")
    assert (tested.phase, tested.status.candidate) == ("Pending", None)
    assert tested.status.message.startswith(f"arm warm: {DOWN}")
    tested.found("1")
    assert (tested.phase, tested.status.candidate.arms[0].name) == ("Delivering", "warm")


def test_arms_written_inline_again_leave_nothing_of_their_sources(tested):
    tested.found("1")
    tested.seen = {}
    assert tested.turn().status.arm_sources == []
