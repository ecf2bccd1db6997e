"""Straight back: by `undo`, and within spec.rollbackWindow."""

from promptrollout.analysis import Verdict
from promptrollout.api.status import RolloutStatus

A, B, C = "aaaa000000", "bbbb000000", "cccc000000"
AT_ONCE = {"strategy": {"immediate": {}}}


def promoted(told, *revisions):
    for revision in revisions:
        told.wants(revision).pods_load().pods_load()
        assert told.status.stable.revision == revision
    return told


def test_undo_goes_straight_back_and_stays_there(healthy):
    told = promoted(healthy(**AT_ONCE), B).says("undo")
    assert (told.served, told.phase) == ({A: 10_000}, "RollingBack")
    told.pods_load().after("48h")
    assert (told.served, told.phase) == ({A: 10_000}, "Degraded")
    assert "retry" in told.status.message
    assert [e.revision for e in told.status.history[:2]] == [A, B]
    assert told.status.history[1].outcome == "RolledBack"


def test_what_was_undone_outlives_a_restart(healthy):
    told = promoted(healthy(**AT_ONCE), B).says("undo")
    told.status = RolloutStatus.model_validate(told.status.to_wire())
    assert told.turn().served == {A: 10_000}


def test_a_second_undo_goes_further_back_and_not_to_what_was_undone(healthy):
    told = promoted(healthy(**AT_ONCE), B, C).says("undo").pods_load().says("undo")
    assert told.served == {A: 10_000}
    told.pods_load().says("undo")
    assert told.status.last_command.result == "Refused"
    assert told.served == {A: 10_000}


def test_undo_to_a_named_revision(healthy):
    told = promoted(healthy(**AT_ONCE), B, C).says(f"undo/{A}")
    assert told.served == {A: 10_000}
    assert told.status.last_command.result == "Executed"


def test_undo_to_a_revision_whose_text_is_gone_is_refused_with_those_there_are(healthy):
    told = promoted(healthy(**AT_ONCE), B, C)
    told.texts.remove(A)
    told.says(f"undo/{A}")
    assert told.status.last_command.result == "Refused"
    assert B in told.status.last_command.message
    assert told.served == {C: 10_000}


def test_undo_without_an_earlier_stable_or_with_a_candidate_on_trial_is_refused(healthy, at_step):
    assert "no earlier stable" in healthy().says("undo").status.last_command.message
    told = at_step(2)
    before = told.served
    assert "abort" in told.says("undo").status.last_command.message
    assert told.served == before


def test_retry_after_undo_tries_the_wanted_prompt_again(healthy):
    told = promoted(healthy(**AT_ONCE), B).says("undo").pods_load()
    told.edits().says("retry")
    assert (told.status.candidate.revision, told.served) == (B, {B: 0, A: 10_000})


def test_a_new_prompt_after_undo_is_a_normal_rollout(healthy):
    told = promoted(healthy(**AT_ONCE), B).says("undo").pods_load()
    told.edits().wants(C)
    assert told.served == {C: 0, A: 10_000}


def test_writing_the_undone_to_prompt_into_the_spec_is_healthy(healthy):
    told = promoted(healthy(**AT_ONCE), B).says("undo").pods_load().wants(A).pods_load()
    assert told.phase == "Healthy"


def test_a_prompt_within_the_rollback_window_goes_straight_back(healthy):
    told = promoted(healthy(**AT_ONCE), B)
    told.edits(rollbackWindow=1).wants(A)
    assert (told.served, told.status.candidate) == ({A: 10_000}, None)
    assert told.pods_load().phase == "Healthy"


def test_a_prompt_beyond_the_rollback_window_or_without_one_is_tried(healthy):
    told = promoted(healthy(**AT_ONCE), B, C)
    told.edits(rollbackWindow=1).wants(A)
    assert told.served == {A: 0, C: 10_000}
    told = promoted(healthy(**AT_ONCE), B)
    assert told.edits().wants(A).served == {A: 0, B: 10_000}


def test_a_revision_that_was_rolled_back_is_in_no_window(at_step):
    told = at_step(2, rollbackWindow=5).evidence(Verdict.Harmed).pods_load()
    told.comparison = None
    told.wants(C).wants(B)
    assert told.served == {B: 0, A: 10_000}


def test_the_history_keeps_what_the_window_needs(healthy):
    told = promoted(healthy(**AT_ONCE, rollbackWindow=2, revisionHistoryLimit=1), B, C)
    assert [e.revision for e in told.status.history] == [C, B, A]


def test_what_undo_goes_back_to_is_kept_however_often_something_was_tried_since(healthy):
    told = promoted(healthy(**AT_ONCE, revisionHistoryLimit=1), B)
    assert [e.revision for e in told.status.history] == [B, A]
    told.edits(revisionHistoryLimit=3)
    for number in range(5):
        told.wants(f"{number}" * 10).pods_load().pods_load().says("abort").pods_load()
    told.wants(A).pods_load()  # tried anew, and given up
    told.wants(B).pods_load()
    kept = [(e.revision, e.outcome) for e in told.status.history]
    assert kept == [
        (A, "Superseded"),
        ("4" * 10, "Aborted"),
        ("3" * 10, "Aborted"),
        (B, "Promoted"),
        (A, "Promoted"),
    ]
    assert told.says("undo").served == {A: 10_000}


def test_undo_while_the_wanted_prompt_is_not_known_leaves_nothing_to_be_tried_again_by_itself(healthy):
    told = promoted(healthy(**AT_ONCE), B).is_invalid().says("undo")
    assert told.served == {A: 10_000}
    assert told.status.message.startswith("spec.prompt: is wrong; mend it.")
    assert "stable serves all" in told.status.message
    told.problems = ()
    told.pods_load().after("1h")
    assert (told.served, told.phase) == ({A: 10_000}, "Degraded")
    told.says("retry").pods_load().pods_load()
    assert told.served == {B: 10_000}


def test_what_the_spec_turns_out_to_want_after_such_an_undo_is_followed(healthy):
    told = promoted(healthy(**AT_ONCE), B).is_invalid().says("undo").pods_load()
    told.problems = ()
    assert told.wants(C).served == {C: 0, A: 10_000}
    told = promoted(healthy(**AT_ONCE), B).is_invalid().says("undo").pods_load()
    told.problems = ()
    assert told.wants(A).phase == "Healthy"


def test_undo_of_a_test_waits_until_it_is_known_which_test_the_spec_wants(in_test):
    told = in_test().says("promote-full")
    told.arm_evidence("terse", better=True).says("promote").pods_load()
    assert told.status.stable.revision == told.arms["terse"]
    told.is_invalid().says("undo")
    assert told.status.last_command.result == "Refused"
    assert "mend it first" in told.status.last_command.message
    assert told.served == {told.arms["terse"]: 10_000}


def test_undo_to_what_the_spec_wants_is_healthy_and_says_so(healthy):
    told = promoted(healthy(**AT_ONCE), B).says("undo").pods_load().says(f"undo/{B}")
    assert (told.served, told.status.rejected) == ({B: 10_000}, None)
    assert told.status.last_command.message == f"revision {B} serves all again, as the spec wants"
    assert told.pods_load().phase == "Healthy"


def test_a_stable_that_was_on_trial_again_and_gave_way_is_still_gone_back_to(healthy):
    told = promoted(healthy(**AT_ONCE), B)
    told.edits().wants(A).pods_load()
    told.wants(B).pods_load()
    assert [each.outcome for each in told.status.history[:1]] == ["Superseded"]
    assert told.says("undo").served == {A: 10_000}
    told = promoted(healthy(**AT_ONCE), B)
    told.edits().wants(A).pods_load()
    told.wants(B)
    told.edits(rollbackWindow=1)
    assert told.wants(A).served == {A: 10_000}


def test_a_prompt_within_the_window_goes_straight_back_from_a_trial_too(healthy):
    told = promoted(healthy(**AT_ONCE), B)
    told.edits(rollbackWindow=1).wants(C).pods_load().pods_load()
    assert told.served == {C: 100, B: 9_900}
    assert told.wants(A).served == {A: 10_000}


def test_the_window_counts_from_where_undo_has_gone(healthy):
    told = promoted(healthy(**AT_ONCE), B, C).says("undo").pods_load()
    told.edits(rollbackWindow=1)
    assert told.wants(A).served == {A: 10_000}
    assert told.wants(C).served == {C: 0, A: 10_000}, "what was undone is tried like any other"
