"""A test of several prompts, as `decide` runs it: delivered, weighed, judged against the control and each other."""

from datetime import timedelta

import pytest

from promptrollout.analysis import Verdict
from promptrollout.delivery.assignment import arm_of
from tests.rollout.conftest import ab_test

A, B, TERSE, WARM = "aaaa000000", "bbbb000000", "1111000000", "2222000000"
NOT_WORSE, HARMED = Verdict.NonInferior, Verdict.Harmed


def served_to(told):
    """Which revision each bucket gets."""
    return [arm_of(told.status.delivered.arms, bucket).revision for bucket in range(10_000)]


def test_all_arms_are_delivered_at_weight_zero_and_then_get_their_weights_in_one_step(story):
    told = story(strategy=ab_test("Hold", {"terse": 25, "warm": 25})).turn()
    assert (told.phase, told.weights) == ("Delivering", {"terse": 0, "warm": 0, "stable": 10_000})
    told.pods_load("pod-a")
    assert told.weights["stable"] == 10_000
    told.pods_load()
    assert (told.phase, told.weights) == ("Progressing", {"terse": 2_500, "warm": 2_500, "stable": 5_000})
    assert told.status.candidate_revision == f"{TERSE},{WARM}"


def test_each_arm_is_compared_with_the_control_at_its_share_of_what_both_get(in_test):
    told = in_test(weights={"terse": 20, "warm": 30})
    pairs = {(each.arm, each.against): each for each in told.decisions[-1].sampling}
    assert {pair: each.weight for pair, each in pairs.items()} == {
        ("terse", "stable"): 2_857,
        ("warm", "stable"): 3_750,
    }
    assert (pairs["warm", "stable"].candidate, pairs["warm", "stable"].stable) == (WARM, A)


def test_a_harmed_arm_is_dropped_alone_and_no_unit_of_another_moves(in_test):
    told = in_test()
    before, salt = served_to(told), told.status.delivered.salt
    told.arm_evidence("terse", HARMED, harm_reason="errors 12 % against 2 %")
    assert told.served == {WARM: 2_500, A: 7_500}
    assert told.phase == "Progressing"
    assert "ArmDropped" in told.reasons
    moved = {(was, is_now) for was, is_now in zip(before, served_to(told), strict=True) if was != is_now}
    assert moved == {(TERSE, A)}
    assert told.status.delivered.salt == salt
    assert (told.status.history[0].revision, told.status.history[0].outcome) == (TERSE, "RolledBack")
    told.pods_load()
    assert [(each.arm, each.weight) for each in told.decisions[-1].sampling] == [("warm", 2_500)]


def test_a_dropped_arm_comes_not_back_whatever_is_said_of_it(in_test):
    told = in_test().arm_evidence("terse", HARMED).pods_load()
    told.arm_evidence("terse", NOT_WORSE, better=True).arm_evidence("terse", NOT_WORSE, "warm")
    assert told.served == {WARM: 2_500, A: 7_500}


def test_the_last_arm_that_is_harmed_ends_the_test(in_test):
    told = in_test().arm_evidence("terse", HARMED).pods_load().arm_evidence("warm", HARMED)
    assert (told.phase, told.served) == ("RollingBack", {A: 10_000})
    told.pods_load()
    assert (told.phase, told.status.rollback.revision) == ("Degraded", WARM)
    assert "retry" in told.status.message
    assert told.after("48h").served == {A: 10_000}


def test_not_being_worse_is_not_enough_to_win(in_test):
    told = in_test(weights={"terse": 50}).arm_evidence("terse", NOT_WORSE).after("7d")
    assert (told.phase, told.served) == ("Progressing", {TERSE: 5_000, A: 5_000})
    assert "not yet shown better" in told.status.message


def test_one_challenger_that_is_better_wins_and_becomes_stable(in_test):
    told = in_test(weights={"terse": 50}).arm_evidence("terse", better=True)
    assert told.served == {TERSE: 10_000}
    assert (told.status.stable.revision, told.status.history[0].reason) == (TERSE, "Won")
    assert told.pods_load().phase == "Healthy"
    assert "write its prompt into spec.prompt" in told.status.message


def test_of_several_the_winner_must_be_shown_not_worse_than_each_other(in_test):
    told = in_test().arm_evidence("terse", better=True)
    assert ("terse", "warm") in {(each.arm, each.against) for each in told.decisions[-1].sampling}
    assert told.served == {TERSE: 2_500, WARM: 2_500, A: 5_000}
    assert "not yet shown not worse than warm" in told.status.message
    told.arm_evidence("terse", NOT_WORSE, "warm")
    assert told.served == {TERSE: 10_000}
    assert {(e.revision, e.outcome) for e in told.status.history[:2]} == {
        (TERSE, "Promoted"),
        (WARM, "Superseded"),
    }


def test_of_two_that_could_win_the_one_with_more_evidence_does(in_test):
    told = in_test("Hold").arm_evidence("terse", better=True).arm_evidence("warm", better=True)
    told.arm_evidence("terse", NOT_WORSE, "warm").arm_evidence("warm", NOT_WORSE, "terse")
    assert "arm terse has won" in told.status.message
    told.arm_evidence("terse", NOT_WORSE, better=False)
    assert "arm warm has won" in told.status.message


def test_a_promoted_winner_stays_although_the_spec_wants_the_control(in_test):
    told = in_test(weights={"terse": 50}).arm_evidence("terse", better=True).pods_load()
    told.after("30d")
    assert (told.phase, told.served) == ("Healthy", {TERSE: 10_000})
    told.edits(strategy=ab_test("Promote", {"terse": 50}), progressDeadline="90h")
    assert told.served == {TERSE: 10_000}
    told.edits(strategy={"immediate": {}})
    assert told.pods_load().served == {TERSE: 10_000}, "the prompt has not changed"


def test_the_winner_s_prompt_written_into_the_spec_changes_nothing(in_test):
    told = in_test(weights={"terse": 50}).arm_evidence("terse", better=True).pods_load()
    told.strategy = None
    told.edits(strategy={"immediate": {}}).wants(TERSE)
    assert (told.phase, told.served) == ("Healthy", {TERSE: 10_000})
    assert told.status.concluded is None
    told.wants(A).pods_load()
    assert told.served == {A: 10_000}, "and from then on the control is a new prompt like any other"


def test_another_prompt_after_a_conclusion_starts_anew(in_test):
    told = in_test(weights={"terse": 50}).arm_evidence("terse", better=True).pods_load()
    told.edits(strategy={"canary": {"steps": [{"weight": 10, "duration": "1h"}]}}).wants(B).pods_load()
    assert told.served == {B: 1_000, TERSE: 9_000}


def test_a_changed_test_starts_anew(in_test):
    told = in_test().arm_evidence("terse", HARMED).pods_load()
    old = told.status.candidate.revision
    told.edits(strategy=ab_test("Promote", {"terse": 10, "warm": 25}))
    assert told.status.candidate.revision != old
    assert told.weights == {"terse": 0, "warm": 0, "stable": 10_000}
    told.pods_load()
    assert told.weights == {"terse": 1_000, "warm": 2_500, "stable": 6_500}


def test_an_edit_of_the_horizon_keeps_test_and_evidence(in_test):
    told = in_test().arm_evidence("terse")
    before = told.status.candidate.revision
    told.edits(strategy=ab_test("Promote", {"terse": 25, "warm": 25}, horizon="1h"))
    assert told.status.candidate.revision == before
    assert told.after("1h").phase == "Paused"


def test_hold_keeps_the_weights_names_the_winner_and_promote_takes_it(in_test):
    told = in_test("Hold", {"terse": 50}).arm_evidence("terse", better=True)
    assert (told.phase, told.served) == ("Paused", {TERSE: 5_000, A: 5_000})
    assert told.status.pause.reason == "AwaitingDecision"
    assert "arm terse has won" in told.status.message
    assert "promote" in told.status.message
    told.after("72h")
    assert told.served == {TERSE: 5_000, A: 5_000}
    assert told.says("promote").served == {TERSE: 10_000}


def test_a_held_winner_waits_for_the_gates_before_promotion_and_asks_no_more(in_test):
    gates = [{"name": "risk", "when": "BeforePromotion", "webhook": {"name": "risk"}}]
    told = in_test("Hold", {"terse": 50}, gates=gates).arm_evidence("terse", better=True).says("promote")
    assert (told.phase, told.status.pause) == ("Progressing", None)
    assert "risk" in told.status.message
    assert told.says("skip").served == {TERSE: 10_000}


def test_a_held_winner_that_is_harmed_after_all_is_rolled_back(in_test):
    told = in_test("Hold", {"terse": 50}).arm_evidence("terse", better=True).arm_evidence("terse", HARMED)
    assert told.served == {A: 10_000}


@pytest.mark.parametrize(
    ("choice", "phase", "served"),
    [
        ("Hold", "Paused", {TERSE: 2_500, WARM: 2_500, A: 5_000}),
        ("Rollback", "RollingBack", {A: 10_000}),
        ("Promote", "Delivering", {TERSE: 10_000}),
    ],
)
def test_at_the_horizon_without_a_winner_on_inconclusive_decides(in_test, choice, phase, served):
    told = in_test(horizon="14d", analysis={"onInconclusive": choice}).arm_evidence("terse").after("14d")
    assert (told.phase, told.served) == (phase, served)
    said = [note.message for decision in told.decisions for note in decision.notes]
    assert any("without a winner" in each for each in [*said, told.status.message])


def test_at_the_horizon_no_arm_is_promoted_that_is_not_shown_to_be_as_good(in_test):
    told = in_test(horizon="1d", analysis={"onInconclusive": "Promote"})
    told.arm_evidence("terse", Verdict.Inconclusive, outlook="errors not yet shown non-inferior").after("1d")
    assert (told.phase, told.served) == ("Paused", {TERSE: 2_500, WARM: 2_500, A: 5_000})
    assert "no arm leads" in told.status.message


def test_an_arm_without_data_is_never_judged_however_late(in_test):
    told = in_test(horizon="1d", analysis={"onInconclusive": "Rollback"})
    told.arm_evidence("terse", Verdict.NoData, nothing_matched="no series for {revision=1111000000}").after(
        "3d"
    )
    assert told.phase == "Progressing"
    assert "no series for {revision=1111000000}" in told.status.message


def test_the_horizon_comes_on_top_of_the_progress_deadline(in_test):
    told = in_test(progressDeadline="2h").arm_evidence("terse").after("13d")
    assert told.phase == "Progressing"


def test_unreadable_metrics_of_one_arm_hold_the_whole_test_and_its_clock(in_test):
    told = in_test(horizon="1h", analysis={"onInconclusive": "Rollback"}).arm_evidence("terse")
    told.arm_evidence("warm", Verdict.Inconclusive, unreadable="Prometheus does not answer").after("10m")
    assert told.condition("MetricsAvailable").status == "False"
    told.arm_evidence("warm", Verdict.Inconclusive).after("59m")
    assert told.phase == "Progressing"


def test_a_test_waits_until_the_control_is_stable_and_says_how(in_test):
    told = in_test("Hold", {"terse": 50}).wants(B).pods_load()
    assert (told.phase, told.served) == ("Paused", {B: 0, A: 10_000})
    assert "promote-full" in told.status.message
    told.says("promote-full").pods_load().turn().pods_load()
    assert told.served == {TERSE: 5_000, B: 5_000}


@pytest.mark.parametrize("verb", ["promote", "promote-full"])
def test_to_promote_while_no_arm_leads_is_refused_with_the_reason(in_test, verb):
    told = in_test().arm_evidence("terse", Verdict.Inconclusive).says(verb)
    assert told.status.last_command.result == "Refused"
    assert "no arm leads" in told.status.last_command.message


def test_a_person_may_name_the_arm_that_is_promoted_whatever_the_evidence(in_test):
    told = in_test("Hold").arm_evidence("terse", better=True).says("promote-full/warm")
    assert told.served == {WARM: 10_000}
    assert [(e.revision, e.outcome, e.reason) for e in told.status.history[:2]] == [
        (WARM, "Promoted", "Command"),
        (TERSE, "Superseded", "Command"),
    ]
    assert told.pods_load().after("1h").phase == "Healthy"


def test_an_arm_that_was_dropped_or_never_was_cannot_be_named(in_test):
    told = in_test().arm_evidence("terse", HARMED)
    for name in ("terse", "formal", "control"):
        told.says(f"promote-full/{name}")
        assert told.status.last_command.message == f"there is no '{name}' on trial; there are: warm"
    assert told.served == {WARM: 2_500, A: 7_500}


def test_abort_keeps_the_control_and_retry_starts_with_all_arms_again(in_test):
    told = in_test().arm_evidence("terse", HARMED).pods_load().says("abort")
    assert told.served == {A: 10_000}
    told.pods_load().after("24h")
    assert told.phase == "Degraded"
    told.says("retry").pods_load()
    assert told.served == {TERSE: 2_500, WARM: 2_500, A: 5_000}


def test_drained_conversations_of_a_dropped_arm_end_while_the_test_goes_on(in_test):
    told = in_test(assignment={"onRollback": "Drain", "drainTimeout": "30m"}).arm_evidence("terse", HARMED)
    assert [pin.revision for pin in told.status.delivered.pins] == [TERSE]
    told.pods_load().after("30m")
    assert told.status.delivered.pins == []
    assert told.served == {WARM: 2_500, A: 7_500}


def test_each_comparison_has_a_checkpoint_of_its_own_and_the_sum_says_the_best(in_test):
    told = in_test().arm_evidence("terse", Verdict.Inconclusive).arm_evidence("warm")
    assert {(each.arm, each.against): each.verdict for each in told.status.analysis.arms} == {
        ("terse", "stable"): "Inconclusive",
        ("warm", "stable"): "NonInferior",
    }
    assert told.status.verdict == "NonInferior"


def test_a_test_ends_when_the_strategy_is_another(in_test):
    told = in_test().edits(strategy={"immediate": {}})
    assert (told.served, told.status.candidate) == ({A: 10_000}, None)
    assert told.wakes_in is None or told.wakes_in > timedelta(0)


def test_an_arm_with_the_control_s_own_prompt_is_not_compared_and_that_is_said(in_test):
    told = in_test(weights={"terse": 50})
    told.arms["terse"] = told.wanted
    told.edits(strategy=told.spec.strategy.to_wire()).pods_load()
    assert (told.phase, told.served) == ("Healthy", {told.wanted: 10_000})
    assert "arm terse of the test has the same prompt" in told.status.message
