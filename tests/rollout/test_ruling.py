"""A policy's rules in force: taken over where something begins anew, and kept whatever becomes of the policy."""

import pytest

from promptrollout.api.merging import PolicyRules
from promptrollout.api.parse import parse_status
from promptrollout.rollout import (
    Command,
    Observations,
    PolicySeen,
    asks_for_retry,
    begins_anew,
    rules_in_force,
)
from tests.rollout.conftest import Story

OLD = PolicyRules("PromptRolloutPolicy", "production", {"progressDeadline": "72h"}, "u1", 1)
NEW = PolicyRules("PromptRolloutPolicy", "production", {"progressDeadline": "48h"}, "u1", 2)


class Ruled(Story):
    """A story whose spec names a policy; the shell's part (which rules it is merged with) is played here."""

    def __init__(self, **spec):
        super().__init__(**spec)
        self.policy = PolicySeen(OLD.kind, OLD.name, OLD, renewed=True)

    def is_edited(self, rules, *, renewed):
        self.policy = PolicySeen(rules.kind, rules.name, rules, renewed=renewed)
        return self.turn()

    def is_deleted(self):
        self.policy = PolicySeen(OLD.kind, OLD.name, rules_in_force(self.status), gone=True)
        return self.turn()


@pytest.fixture
def healthy():
    return Ruled().turn().pods_load()


@pytest.fixture
def on_trial(healthy):
    healthy.wants("bbbb000000").pods_load().pods_load()
    assert healthy.phase == "Progressing"
    return healthy


def in_force(story):
    return story.status.policy.generation, story.status.policy.spec


def test_the_rules_of_the_first_revision_are_recorded_whole(healthy):
    assert in_force(healthy) == (1, {"progressDeadline": "72h"})
    assert rules_in_force(parse_status(healthy.status.to_wire())) == OLD
    assert healthy.reasons.count("PolicyInForce") == 1


def test_rules_that_are_not_taken_over_leave_no_trace(on_trial):
    before = on_trial.status
    on_trial.is_edited(OLD, renewed=False)
    assert on_trial.status == before


def test_a_new_candidate_takes_the_new_rules_over_and_says_so(on_trial):
    on_trial.policy = PolicySeen(NEW.kind, NEW.name, NEW, renewed=True)
    on_trial.wants("cccc000000")
    assert in_force(on_trial) == (2, {"progressDeadline": "48h"})
    assert on_trial.status.policy.since == on_trial.now
    assert on_trial.reasons.count("PolicyInForce") == 2


@pytest.mark.parametrize("why", ["problems", "blocked"])
def test_rules_are_not_taken_over_while_nothing_can_follow_them(on_trial, why):
    if why == "problems":
        on_trial.is_invalid()
    else:
        on_trial.blocked = "a foreign ConfigMap is in the way"
    on_trial.is_edited(NEW, renewed=True)
    assert in_force(on_trial)[0] == 1


def test_a_deleted_policy_changes_nothing_under_way_and_is_said_once(on_trial):
    weights = on_trial.weights
    on_trial.is_deleted().turn()
    assert (on_trial.phase, on_trial.weights) == ("Progressing", weights)
    assert on_trial.reasons.count("PolicyGone") == 1
    assert "production does not exist any more" in on_trial.status.message
    assert "generation 1 stay in force" in on_trial.status.message
    assert on_trial.condition("Valid").status.value == "True"
    assert in_force(on_trial)[0] == 1


def test_a_policy_that_comes_back_is_said_and_the_message_goes(healthy):
    healthy.is_deleted()
    assert healthy.phase == "Healthy"
    assert healthy.status.policy.gone_since == healthy.now
    healthy.is_edited(OLD, renewed=False)
    assert healthy.status.policy.gone_since is None
    assert "PolicyFound" in healthy.reasons
    assert "exist" not in healthy.status.message


def test_a_spec_that_names_no_policy_any_more_forgets_it(healthy):
    healthy.policy = None
    assert healthy.turn().status.policy is None


def test_a_spec_that_cannot_be_read_forgets_nothing(healthy):
    healthy.policy, healthy.spec = None, None
    assert healthy.turn().status.policy is not None


def test_a_missing_policy_from_the_start_is_invalid_and_nothing_is_delivered():
    story = Ruled()
    story.policy, story.spec = PolicySeen(OLD.kind, OLD.name, gone=True), None
    story.is_invalid("spec.policyRef", "PromptRolloutPolicy production does not exist", "create it")
    assert story.phase == "Invalid"
    assert story.condition("Valid").status.value == "False"
    assert (story.status.policy, story.status.delivered) == (None, None)


def anew(story, wanted):
    seen = Observations("uid-1", story.generation, wanted=wanted, arms=story.arms)
    return begins_anew(story.spec, story.status, seen, story.now)


def test_what_is_stable_on_trial_or_unknown_does_not_begin_anew_and_all_else_does(on_trial):
    assert [anew(on_trial, wanted) for wanted in ("aaaa000000", "bbbb000000", "", "cccc000000")] == [
        False,
        False,
        False,
        True,
    ]


def test_what_was_rolled_back_does_not_begin_anew_unless_someone_says_retry(on_trial):
    retry = Command("retry", "1")
    assert not asks_for_retry(on_trial.status, retry)
    on_trial.says("abort").pods_load()
    assert not anew(on_trial, "bbbb000000")
    assert asks_for_retry(on_trial.status, retry)
    assert not asks_for_retry(on_trial.status, Command("approve", "1"))
    assert not asks_for_retry(on_trial.status, None)


def test_a_retry_that_was_obeyed_is_asked_for_no_more(on_trial):
    on_trial.says("abort").pods_load().says("retry", "again").says("abort", "stop")
    assert on_trial.status.rejected
    assert asks_for_retry(on_trial.status, Command("retry", "another"))
    assert not asks_for_retry(on_trial.status, Command("abort", "stop"))


def test_the_very_first_revision_begins_anew_until_it_is_there():
    story = Ruled()
    assert anew(story, "aaaa000000")
    assert not anew(story.turn(), "aaaa000000")
