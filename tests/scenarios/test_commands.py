"""What people say: each command once, whatever its id; straight back to what was; a person's word at gates."""

import pytest

from e2e.scenario import ask
from e2e.workload.directory import read_endpoints

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

ONE = "You are a support agent."
TWO = "You are a kind support agent."
THREE = "You are a brief support agent."
STAYS = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
AT_ONCE = {"immediate": {}}
BY = "promptrollout.dev/commanded-by"


def history(status):
    return [(each.text("revision"), each.text("reason")) for each in status.raw.items("status.history")]


def first_address(subject):
    shop = subject.application
    return read_endpoints(subject.stack.endpoints, shop.namespace, {"app": shop.app})[0]


def test_undo_goes_straight_back_and_stays_and_a_named_revision_may_be_any_of_the_history(quiet):
    when = quiet.strategy(**AT_ONCE).a_promoted_prompt(ONE).when()
    one = when.subject.status().stable
    when.the_prompt_becomes(TWO).wait_for_phase("Healthy")
    two = when.subject.status().stable
    when.the_prompt_becomes(THREE).wait_for_phase("Healthy")
    three = when.subject.status().stable

    when.commanded("undo").wait_for_phase("Degraded")
    when.then().the_message_says(f"revision {three} is undone", "retry").users_get(two)
    when.the_operator_is_killed().the_operator_starts()
    when.commanded(f"undo/{one}").wait_for_answer("Executed", one).wait_for_phase("Degraded")
    when.then().users_get(one)
    when.commanded(f"undo/{'f' * 10}").wait_for_answer("Refused", "is not in the history", two, three)

    when.commanded("retry").wait_for_phase("Healthy")
    when.then().users_get(three).every_weight_was_recorded_first().the_status(
        "what was undone is told", lambda s: (three, "Undone") in history(s) and (two, "Undone") in history(s)
    )


def test_undo_helps_also_while_the_spec_is_invalid(quiet):
    when = quiet.strategy(**AT_ONCE).a_promoted_prompt(ONE).when()
    one = when.subject.status().stable
    when.the_prompt_becomes(TWO).wait_for_phase("Healthy")
    when.the_prompt_becomes("You are a support agent for {{#broken}}.").wait_for_phase("Invalid")
    when.commanded("undo").wait_for_answer("Executed").wait_for_condition(
        "Delivered"
    ).then().the_message_says("stable serves all").users_get(one)
    when.the_prompt_becomes(TWO).wait_for_phase("Degraded").then().users_get(one)


def test_a_prompt_that_comes_back_within_the_rollback_window_needs_no_trial_and_beyond_it_does(quiet):
    when = quiet.steps(*STAYS).spec(rollbackWindow=1).a_promoted_prompt(ONE).when()
    for prompt in (TWO, THREE):
        when.the_prompt_becomes(prompt).wait_for_weight(1_000)
        when.commanded("promote-full").wait_for_phase("Healthy")
    when.the_prompt_becomes(TWO).wait_for_phase("Healthy")
    two = when.subject.status().stable
    when.then().users_get(two).the_status("told", lambda s: history(s)[0] == (two, "RollbackWindow"))
    when.the_prompt_becomes(ONE).wait_for_weight(1_000)
    when.then().weights_were(0, 1_000, 0, 1_000, 0, 1_000).every_weight_was_recorded_first()


def test_commands_count_once_whatever_their_ids_and_wrong_ones_are_refused_with_the_reason(quiet):
    when = quiet.steps(*STAYS).a_promoted_prompt(ONE).when().the_prompt_becomes(TWO).wait_for_weight(1_000)
    odd = "käse:2026-11-27T09:00:00+01:00/1"
    when.annotated(f"pause:{odd}").wait_for_phase("Paused")
    when.then().the_status("the id is kept", lambda s: s.raw.text("status.lastCommand.id") == odd)
    when.annotated("resume").wait_for_phase("Progressing")  # an id is not even needed
    when.annotated(f"pause:{odd}").wait_for_answer("Refused", "each id counts once")
    when.annotated("undo/:1").wait_for_answer("Refused", "'undo/' is no command; known are abort, approve")
    when.annotated("pause/now:1").wait_for_answer("Refused", "pause takes nothing after a slash")
    when.annotated(f"{'promote' * 90}:1").wait_for_answer("Refused", "is no command")
    when.annotated("skip:1").wait_for_answer("Refused", "no gate is waited for")
    when.annotated("retry:1").wait_for_answer("Refused", "nothing was rolled back")
    when.then().weights_were(0, 1_000).the_status("it goes on", lambda s: s.phase == "Progressing")
    when.wait_for_event("CommandRefused")


def test_no_pod_is_told_of_a_candidate_before_a_person_has_approved_it(quiet):
    gate = {"name": "sign-off", "approval": {"message": "read it aloud"}}
    when = quiet.steps(*STAYS).gates(gate).a_promoted_prompt(ONE).when()
    when.the_prompt_becomes(TWO).wait_for_phase("AwaitingApproval")
    when.then().the_message_says("sign-off", "approve", "read it aloud").users_get(
        when.subject.status().stable
    )
    assert when.subject.payloads() == []  # not even at weight 0
    when.commanded("promote-full").wait_for_answer("Refused", "gates before delivery")
    when.kubectl("annotate", when.subject.reference, f"{BY}=bob").commanded("approve").wait_for_weight(1_000)
    run = when.subject.status().raw.items("status.gates")[0]
    assert (run.text("result"), run.text("by")) == ("Passed", "bob (client kubectl-annotate)")


def test_gates_may_be_the_first_and_the_last_step_and_be_skipped(quiet):
    gate = {"gate": {"approval": {}}}
    when = quiet.steps(gate, {"weight": 10, "duration": "1s"}, gate).a_promoted_prompt(ONE).when()
    when.the_prompt_becomes(TWO).wait_for_phase("AwaitingApproval")
    when.commanded("promote").wait_for_answer("Refused", "say approve or skip first")
    when.commanded("skip").wait_for_weight(1_000)
    when.wait_for("the last gate", lambda s: s.phase == "AwaitingApproval" and s.step == "3/3")
    when.commanded("skip").wait_for_phase("Paused").then().the_message_says("promote")
    when.commanded("promote").wait_for_phase("Healthy")
    results = [run.text("result") for run in when.subject.status().raw.items("status.gates")]
    assert results == ["Skipped", "Skipped"]
    when.then().weights_were(0, 1_000, 0).every_weight_was_recorded_first()


def test_what_cannot_be_shown_waits_for_a_person_at_its_weight(quiet):
    when = quiet.steps({"weight": 50, "duration": "1s"}).a_promoted_prompt(ONE).when()
    when.the_prompt_becomes(TWO).wait_for_phase("Paused")
    when.then().the_status("inconclusive", lambda s: s.condition("Paused").text("reason") == "Inconclusive")
    when.then().the_message_says("promote", "abort").weights_were(0, 5_000)
    when.commanded("promote").wait_for_phase("Healthy").then().weights_were(0, 5_000, 0)


@pytest.mark.parametrize("on_rollback", ["Migrate", "Drain"])
def test_a_conversation_under_way_is_moved_at_once_or_may_end_with_what_it_began(quiet, on_rollback):
    rules = {"unit": "conversation", "onRollback": on_rollback, "drainTimeout": "12s"}
    steps = ({"weight": 50, "duration": "1h"},)
    when = quiet.steps(*steps).spec(assignment=rules).a_promoted_prompt(ONE).when()
    when.the_prompt_becomes(TWO).wait_for_weight(5_000).wait_for_condition("Delivered")
    candidate, address = when.subject.status().candidate, first_address(when.subject)
    answers = (ask(address, {"unit": f"conversation-{n}"}) for n in range(200))
    begun = next(answer for answer in answers if answer.text("revision") == candidate)
    pin = {"unit": "whoever", "pin": begun.text("pin")}

    when.commanded("abort").wait_for_phase("Degraded")
    stable = when.subject.status().stable
    when.then().users_get(stable)  # nobody new
    assert ask(address, pin).text("revision") == (candidate if on_rollback == "Drain" else stable)

    when.wait_for("pins to be gone", lambda s: not s.raw.items("status.delivered.pins"))
    when.wait_for_condition("Delivered")
    assert ask(address, pin).text("revision") == stable
