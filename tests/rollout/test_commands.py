"""Commands: executed once, refused with the reason."""

import pytest

from promptrollout.analysis import Verdict
from promptrollout.rollout import Command

A, B = "aaaa000000", "bbbb000000"


def test_a_command_is_executed_once(at_step):
    told = at_step(1).evidence().says("promote", "x")
    assert told.status.step == "2/3"
    told.pods_load().evidence().turn()
    assert told.status.step == "2/3"
    told.says("promote", "y")
    assert told.status.step == "3/3"


def test_pause_stands_and_resume_goes_on_with_the_time_left(at_step):
    told = at_step(1).evidence().after("9m").says("pause").after("3h")
    assert (told.phase, told.status.step) == ("Paused", "1/3")
    told.says("resume")
    assert told.phase == "Progressing"
    assert told.after("1m").status.step == "2/3"


def test_abort_rolls_back_and_stays_aborted(at_step):
    told = at_step(2).says("abort")
    assert told.served == {A: 10_000}
    assert told.status.history[0].outcome == "Aborted"
    told.pods_load().after("24h")
    assert told.phase == "Degraded"


def test_retry_is_a_new_attempt_from_the_first_step(at_step):
    told = at_step(2).evidence(Verdict.Harmed).pods_load().says("retry")
    assert (told.phase, told.served) == ("Delivering", {B: 0, A: 10_000})
    assert told.status.candidate.attempt == 2
    told.pods_load()
    assert told.status.step == "1/3"


def test_promote_full_makes_the_candidate_stable_at_once(at_step):
    told = at_step(1).says("promote-full")
    assert told.served == {B: 10_000}
    assert told.status.history[0].reason == "Command"


def test_resume_from_inconclusive_gives_the_step_its_time_again(at_step):
    told = at_step(3).evidence().after("1h")
    assert told.phase == "Paused"
    told.says("resume")
    assert told.phase == "Progressing"
    assert told.after("59m").phase == "Progressing"
    assert told.after("1m").phase == "Paused"


@pytest.mark.parametrize(
    ("verb", "reason"),
    [
        ("resume", "not on trial|no candidate"),
        ("abort", "no candidate"),
        ("promote", "no candidate"),
        ("promote-full", "no candidate"),
        ("retry", "nothing was rolled back"),
        ("explode", "no command; known are"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_the_reason(healthy, verb, reason):
    told = healthy()
    before = told.served
    told.says(verb)
    assert told.status.last_command.result == "Refused"
    assert any(part in told.status.last_command.message for part in reason.split("|"))
    assert told.served == before


@pytest.mark.parametrize("verb", ["promote", "promote-full", "resume"])
def test_what_was_rolled_back_needs_a_retry_before_it_is_promoted_and_the_refusal_says_so(at_step, verb):
    told = at_step(2).says("abort").says(verb)
    assert told.status.last_command.result == "Refused"
    assert "revision bbbb000000 was rejected; say retry first" in told.status.last_command.message
    assert told.says("retry").says("promote-full").served == {B: 10_000}


def test_abort_works_while_the_spec_is_invalid(at_step):
    told = at_step(2).is_invalid().says("abort")
    assert told.served == {A: 10_000}


def test_a_command_without_an_id_runs_once_under_its_own_text():
    assert Command.parse("abort") == Command("abort", "abort")
    assert Command.parse(" pause:2026-11-23T12:00 ") == Command("pause", "2026-11-23T12:00")


def test_what_stands_after_a_slash_is_the_command_s_argument():
    assert Command.parse("undo/bbbb000000:1") == Command("undo", "1", argument="bbbb000000")
    assert Command.parse("undo/bbbb000000:1").said == "undo/bbbb000000"
    assert len(Command.parse(f"undo/{'b' * 9000}:1").said) < 100


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("pause/now", "pause takes nothing after a slash"),
        ("undo/", "'undo/' is no command; known are abort"),
        ("Pause", "'Pause' is no command; known are abort"),
        ("explode/b", "promote-full/ARM, resume, retry, skip, undo, undo/REVISION"),
        ("promote-full/terse", "there is no 'terse' on trial; there are: candidate"),
    ],
)
def test_a_command_that_is_written_wrong_is_refused_with_how_to_write_it(at_step, said, reason):
    told = at_step(2)
    before = told.served
    told.says(said)
    assert told.status.last_command.result == "Refused"
    assert reason in told.status.last_command.message
    assert (told.served, told.phase) == (before, "Progressing")


def test_a_command_that_comes_again_after_others_is_not_executed_again(at_step):
    told = at_step(2).says("pause", "monday").says("resume", "tuesday").says("pause", "monday")
    assert told.phase == "Progressing"
    assert told.status.last_command.result == "Refused"
    assert "give it a new one" in told.status.last_command.message
    assert told.says("pause", "wednesday").phase == "Paused"


def test_the_same_id_with_another_verb_is_another_command(at_step):
    assert at_step(2).says("pause", "1").says("resume", "1").phase == "Progressing"


@pytest.mark.parametrize("name", ["a:b:c", "x" * 10_000, "käse 🧀", "-", "1/2"])
def test_any_id_is_kept_whole_and_counts_once(at_step, name):
    told = at_step(2).says("pause", name)
    assert (told.phase, told.status.last_command.id) == ("Paused", name)
    told.status = type(told.status).model_validate(told.status.to_wire())
    before = told.status
    assert told.turn().status == before
