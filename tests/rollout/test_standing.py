"""Standing still: whose pause wins, what the deadline waits for, and what a clock may do."""

from dataclasses import replace
from datetime import timedelta

import pytest

from promptrollout.analysis import Verdict
from promptrollout.rollout import LoadedPayload

A, B, C = "aaaa000000", "bbbb000000", "cccc000000"


def test_metrics_that_come_back_do_not_end_the_pause_of_a_person(at_step):
    told = at_step(1).evidence().says("pause").metrics_fail().after("1h")
    assert told.status.pause.reason == "Command"
    told.evidence(Verdict.NonInferior).after("1h")
    assert (told.phase, told.status.step) == ("Paused", "1/3")
    assert told.says("resume").phase == "Progressing"


def test_resume_cannot_make_metrics_readable_and_says_so(at_step):
    told = at_step(1).evidence().metrics_fail().after("15m").says("resume")
    assert told.status.last_command.result == "Refused"
    assert "goes on by itself" in told.status.last_command.message
    assert told.status.pause.reason == "MetricsUnavailable"


def test_resume_after_a_mismatch_counts_the_sample_ratio_anew_at_the_same_weight(at_step):
    told = at_step(2).evidence(Verdict.Inconclusive, mismatch="the candidate got 9 % instead of 25 %")
    before = told.status.delivered
    told.after("1m").says("resume")
    assert told.status.delivered.exposure == before.exposure + 1
    assert told.weights["candidate"] == 2_500
    stale = told.comparison
    told.now += timedelta(seconds=1)
    told.pods_load()
    assert (told.phase, told.comparison) == ("Progressing", stale)
    told.evidence(Verdict.Inconclusive, mismatch="still broken")
    assert (told.phase, told.status.pause.message[:12]) == ("Paused", "still broken")


@pytest.mark.parametrize("verb", ["resume", "promote"])
def test_no_pause_counts_for_the_deadline_however_it_ends(at_step, verb):
    told = at_step(1, progressDeadline="3h").evidence().says("pause").after("10h").says(verb)
    assert told.served[B] > 0
    told.pods_load().after("2h")
    assert told.served[B] > 0


def test_waiting_for_a_person_s_word_on_the_inconclusive_does_not_count_for_the_deadline(at_step):
    told = at_step(2, progressDeadline="8h").evidence().after("6h")
    assert told.status.pause.reason == "Inconclusive"
    told.after("40h").evidence(Verdict.NonInferior)
    assert told.status.step == "3/3"
    told.pods_load().after("1h")
    assert told.status.stable.revision == B


def test_overlapping_pauses_and_blind_times_count_once(at_step):
    told = at_step(1, progressDeadline="72h").evidence()
    told.metrics_fail().after("5m").says("pause").after("10m").evidence().after("10m").says("resume")
    assert told.status.candidate.held == 25 * 60
    assert told.status.candidate.progress.held == 25 * 60


def test_a_paused_step_that_is_edited_away_gives_the_new_one_its_whole_time(at_step):
    told = at_step(2).evidence().says("pause").after("1h")
    told.edits(
        strategy={"canary": {"steps": [{"weight": 25, "duration": "5m"}, {"weight": 50, "duration": "1h"}]}}
    )
    told.after("1h").says("resume")
    assert told.after("4m").status.step == "1/2"
    assert told.after("1m").status.step == "2/2"


def test_a_clock_set_back_delays_and_breaks_nothing(at_step):
    told = at_step(1).evidence().says("pause")
    told.now -= timedelta(days=400)
    told.comparison = None
    told.says("resume").evidence()
    assert told.status.candidate.progress.held >= 0
    told.after("9m")
    assert told.status.step == "1/3"
    assert told.after("1m").status.step == "2/3"


def test_harm_counts_right_after_the_clock_was_set_back(at_step):
    told = at_step(2)
    told.now -= timedelta(minutes=10)
    assert told.evidence(Verdict.Harmed).served == {A: 10_000}


def test_a_pod_whose_clock_is_ahead_does_not_stop_the_step_s(healthy):
    told = healthy().wants(B).pods_load()
    told.loaded["pod-a"] = LoadedPayload(told.status.delivered.sequence, told.now + timedelta(days=365))
    told.loaded["pod-b"] = LoadedPayload(told.status.delivered.sequence, told.now)
    told.turn().evidence().after("10m")
    assert told.status.step == "2/3"


def test_what_was_said_of_the_same_revision_s_earlier_trial_does_not_touch_the_next(at_step):
    told = at_step(2).evidence(Verdict.Harmed).pods_load()
    said = told.comparison
    told.after("1m").wants(A).pods_load()
    told.comparison = said
    told.wants(B).pods_load()
    assert told.served == {B: 100, A: 9_900}


def test_harm_comes_before_a_command_that_cannot_have_known_of_it(at_step):
    told = at_step(2)
    told.comparison = replace(told.evidence().comparison, verdict=Verdict.Harmed)
    told.says("promote-full")
    assert told.served == {A: 10_000}
    assert told.status.last_command.result == "Refused"


def test_harm_rolls_back_even_while_the_spec_cannot_be_read_at_all(at_step):
    told = at_step(2)
    told.spec = None
    told.is_invalid().evidence(Verdict.Harmed, harm_reason="errors 12 % against 2 %")
    assert told.served == {A: 10_000}
    assert "errors 12 % against 2 %" in told.status.message
    assert "stays as it is" not in told.status.message


@pytest.mark.parametrize("wanted", [C, A])
@pytest.mark.parametrize(("verb", "step"), [("promote-full", 2), ("promote", 3)])
def test_promote_that_comes_with_another_prompt_promotes_neither(at_step, verb, step, wanted):
    told = at_step(step).evidence()
    before, told.wanted = told.status.delivered, wanted
    told.says(verb)
    assert told.status.last_command.result == "Refused"
    assert "say it again if you mean what comes next" in told.status.last_command.message
    assert told.served == ({C: 0, A: 10_000} if wanted == C else {A: 10_000})
    assert told.status.delivered.sequence == before.sequence + 1


def test_a_person_s_pause_holds_the_next_prompt_too_and_its_time_does_not_count(at_step):
    told = at_step(2, progressDeadline="3h").evidence().says("pause").after("1h")
    told.comparison = None
    told.wants(C).pods_load()
    assert (told.phase, told.status.pause.reason, told.served) == ("Paused", "Command", {C: 0, A: 10_000})
    assert "resume" in told.status.message
    told.after("10h")
    assert (told.phase, told.served) == ("Paused", {C: 0, A: 10_000})
    told.says("resume")
    assert told.served == {C: 100, A: 9_900}
    assert told.status.candidate.held == 10 * 3600


def test_what_was_paused_for_another_reason_than_a_person_s_word_goes_on_with_the_next_prompt(at_step):
    told = at_step(3).evidence().after("1h")
    assert told.status.pause.reason == "Inconclusive"
    assert told.wants(C).pods_load().served == {C: 100, A: 9_900}


def test_a_prompt_that_goes_back_to_stable_while_paused_ends_the_pause_with_the_trial(at_step):
    told = at_step(2).says("pause").wants(A).pods_load()
    assert (told.phase, told.status.pause) == ("Healthy", None)
    assert told.wants(B).pods_load().phase == "Progressing"


def test_promote_that_comes_with_edited_steps_takes_the_next_of_the_new_ones(at_step):
    told = at_step(3).evidence()
    steps = [{"weight": each, "duration": "1h"} for each in (50, 75, 90, 100)]
    told.spec = told.spec.model_validate(
        {**told.spec.to_wire(), "strategy": {"canary": {"steps": steps}}}, by_alias=True
    )
    told.says("promote")
    assert (told.status.step, told.weights["candidate"]) == ("2/4", 7_500)


def test_a_trial_that_is_switched_to_immediate_waits_for_no_metrics(at_step):
    told = at_step(2).evidence().metrics_fail().after("20m")
    told.edits(strategy={"immediate": {}})
    assert told.served == {B: 10_000}


def test_an_inconclusive_end_is_not_judged_before_the_windows_since_were_read(at_step):
    told = at_step(2, analysis={"onInconclusive": "Rollback"}).evidence()
    told.now += timedelta(hours=7)
    told.turn()
    assert told.weights["candidate"] == 2_500
    assert told.evidence(Verdict.NonInferior).status.step == "3/3"


@pytest.mark.parametrize("choice", ["Promote", "Rollback"])
def test_no_data_is_held_and_never_judged_as_inconclusive(at_step, choice):
    told = at_step(2, analysis={"onInconclusive": choice})
    told.evidence(Verdict.NoData, samples=0, nothing_matched="no series for {revision=bbbb000000}").after(
        "7h"
    )
    assert told.weights["candidate"] == 2_500
    assert "no series for {revision=bbbb000000}" in told.status.message


def test_a_status_that_was_lost_goes_on_above_the_configmap_s_number(story):
    told = story()
    told.once((9, told.now))
    assert told.status.delivered.sequence == 10


def test_a_status_older_than_the_configmap_is_delivered_again_above_it(at_step):
    told = at_step(2)
    told.once((told.status.delivered.sequence + 3, told.now))
    delivered = told.status.delivered
    assert (delivered.acknowledged.at, delivered.written_at) == (None, None)
    assert "StatusOutdated" in told.reasons
