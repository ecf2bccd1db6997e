"""The semantics table of the design, row by row, on the pure `decide`."""

from datetime import timedelta

import pytest

from promptrollout.analysis import Verdict
from promptrollout.api.parse import read_spec
from tests.api.cases import WRONG

A, B, C = "aaaa000000", "bbbb000000", "cccc000000"


def test_the_first_revision_is_delivered_to_all_without_a_canary(story):
    told = story().turn()
    assert (told.phase, told.served) == ("Delivering", {A: 10_000})
    told.pods_load()
    assert told.phase == "Healthy"
    assert told.condition("Healthy").status == "True"


def test_a_new_prompt_is_delivered_at_weight_zero_until_the_pods_have_it(healthy):
    told = healthy().wants(B)
    assert (told.phase, told.served) == ("Delivering", {B: 0, A: 10_000})
    told.after("1m").pods_load("pod-a")
    assert told.served == {B: 0, A: 10_000}
    assert "pod-b" in told.status.message
    told.pods_load("pod-b")
    assert (told.phase, told.served) == ("Progressing", {B: 100, A: 9_900})


def test_the_clock_of_a_step_starts_when_its_weight_is_loaded(healthy):
    told = healthy().wants(B).pods_load()
    told.evidence(Verdict.Inconclusive).after("9m").pods_load().evidence()
    told.after("9m")
    assert told.status.step == "1/3"
    told.after("1m")
    assert (told.status.step, told.weights["candidate"]) == ("2/3", 2_500)


def test_a_prompt_that_changes_while_progressing_starts_anew_and_stable_stays(at_step):
    told = at_step(2)
    told.evidence().wants(C)
    assert told.served == {C: 0, A: 10_000}
    assert told.status.history[0].outcome == "Superseded"
    assert told.status.analysis is None


def test_a_prompt_changed_back_to_stable_ends_the_trial_at_once(at_step):
    told = at_step(2).wants(A)
    assert told.served == {A: 10_000}
    assert told.status.candidate is None
    assert told.status.history[0].outcome == "Superseded"
    assert told.pods_load().phase == "Healthy"


def test_an_edit_of_steps_goes_on_where_the_weight_fits_and_raises_nothing(at_step):
    told = at_step(2).evidence()
    new = [
        {"weight": 1, "duration": "1m"},
        {"weight": 10, "duration": "5m"},
        {"weight": 40, "duration": "5m"},
    ]
    told.edits(strategy={"canary": {"steps": new}})
    assert (told.status.step, told.weights["candidate"]) == ("2/3", 2_500)
    told.after("4m")
    assert told.weights["candidate"] == 2_500
    told.after("1m")
    assert (told.status.step, told.weights["candidate"]) == ("3/3", 4_000)


def test_a_first_step_edited_above_the_weight_is_not_jumped_to(at_step):
    told = at_step(1).evidence()
    told.edits(strategy={"canary": {"steps": [{"weight": 30, "duration": "10m"}]}})
    assert told.weights["candidate"] == 100
    told.after("9m")
    assert told.weights["candidate"] == 100
    told.after("1m")
    assert told.weights["candidate"] == 3_000


def test_harm_takes_all_weight_in_one_step_and_stays_so(at_step):
    told = at_step(2).evidence(Verdict.Harmed, harm_reason="errors 12.0 % against 2.0 %")
    assert (told.phase, told.served) == ("RollingBack", {A: 10_000})
    told.after("2s").pods_load("pod-a")
    assert told.phase == "RollingBack"
    told.pods_load("pod-b")
    assert told.phase == "Degraded"
    assert "errors 12.0 % against 2.0 %" in told.status.message
    assert "retry" in told.status.message
    assert told.status.rollback.acknowledged_at - told.status.rollback.decided_at == timedelta(seconds=2)
    told.after("48h")
    assert (told.phase, told.served) == ("Degraded", {A: 10_000})


def test_harm_rolls_back_while_pods_have_not_loaded_the_weight_yet(at_step):
    told = at_step(1).evidence().after("10m")
    assert told.status.step == "2/3"
    told.evidence(Verdict.Harmed)
    assert told.served == {A: 10_000}


def test_harm_rolls_back_while_paused(at_step):
    told = at_step(2).says("pause").evidence(Verdict.Harmed)
    assert told.served == {A: 10_000}


def test_harm_rolls_back_while_the_spec_is_invalid(at_step):
    told = at_step(2).is_invalid().evidence(Verdict.Harmed)
    assert told.served == {A: 10_000}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_harm_and_abort_take_the_weight_back_whatever_is_wrong_with_the_spec(at_step, wrong):
    reading = read_spec(wrong.spec)
    for happens in (lambda told: told.evidence(Verdict.Harmed), lambda told: told.says("abort")):
        told = at_step(2)
        told.spec, told.problems = reading.spec, reading.problems
        assert told.turn().served == {B: 2_500, A: 7_500}
        assert happens(told).served == {A: 10_000}
        assert told.pods_load().phase == "Invalid"


def test_a_rollback_waits_for_the_last_pod_even_with_a_smaller_quorum(at_step):
    told = at_step(2, delivery={"acknowledge": {"quorum": "50%"}})
    told.evidence(Verdict.Harmed).pods_load("pod-a")
    assert told.phase == "RollingBack"


def test_a_rejected_revision_starts_again_when_the_spec_changes_to_another(at_step):
    told = at_step(2).evidence(Verdict.Harmed).pods_load().wants(C)
    assert told.served == {C: 0, A: 10_000}
    assert told.status.rejected is None


def test_a_spec_that_goes_back_to_stable_after_a_rollback_is_healthy(at_step):
    told = at_step(2).evidence(Verdict.Harmed).pods_load().wants(A)
    assert told.phase == "Healthy"


def test_evidence_ends_a_step_that_waits_for_it(at_step):
    told = at_step(2).evidence(Verdict.Inconclusive).after("1h")
    assert told.status.step == "2/3"
    told.evidence(Verdict.NonInferior)
    assert told.status.step == "3/3"


def test_the_last_step_promotes_when_shown_non_inferior(at_step):
    told = at_step(3).evidence(Verdict.NonInferior)
    assert told.served == {B: 5_000, A: 5_000}
    told.after("1h")
    assert told.served == {B: 10_000}
    assert (told.status.stable.revision, told.status.history[0].outcome) == (B, "Promoted")
    assert told.phase == "Delivering"
    assert told.pods_load().phase == "Healthy"


def test_inconclusive_evidence_is_never_promoted_silently(at_step):
    told = at_step(3).evidence(Verdict.Inconclusive).after("1h")
    assert (told.phase, told.served) == ("Paused", {B: 5_000, A: 5_000})
    assert told.status.pause.reason == "Inconclusive"
    assert "promote" in told.status.message
    told.after("5h").evidence(Verdict.NonInferior)
    assert told.served == {B: 10_000}


def test_a_promotion_is_told_once_in_the_history(at_step):
    told = at_step(3).evidence(Verdict.NonInferior).after("1h")
    assert [(each.revision, each.outcome) for each in told.status.history] == [
        (B, "Promoted"),
        (A, "Promoted"),
    ]


def test_on_inconclusive_promote_goes_on_and_says_so(at_step):
    told = at_step(3, analysis={"onInconclusive": "Promote"}).evidence().after("1h")
    assert told.served == {B: 10_000}
    assert "Inconclusive" in told.reasons
    assert told.status.history[0].reason == "Inconclusive"


def test_on_inconclusive_rollback_rolls_back(at_step):
    told = at_step(2, analysis={"onInconclusive": "Rollback"}).evidence().after("6h")
    assert told.served == {A: 10_000}
    assert told.status.rollback.reason == "Inconclusive"


def test_pods_that_mount_by_sub_path_are_named_with_the_cure_and_said_once(healthy):
    told = healthy()
    told.by_sub_path = ("pod-b",)
    told.wants(B).pods_load("pod-a")
    assert "pod pod-b: the ConfigMap is mounted by subPath" in told.status.message
    assert "as a directory" in told.status.message
    assert told.status.delivered.acknowledged.never_refreshed == ["pod-b"]
    told.after("10m").turn()
    assert told.reasons.count("MountNeverRefreshed") == 1


def test_unreadable_metrics_are_said_also_while_pods_have_yet_to_load_the_weight(healthy):
    told = healthy().wants(B).pods_load()
    assert (told.weights["candidate"], told.condition("Delivered").status) == (100, "False")
    told.metrics_fail("Connection refused")
    assert "have loaded it" in told.status.message
    assert "metrics cannot be read" in told.status.message


def test_unreadable_metrics_hold_and_their_time_does_not_count(at_step):
    told = at_step(1).evidence().after("5m").metrics_fail()
    assert told.condition("MetricsAvailable").status == "False"
    assert "Prometheus does not answer" in told.status.message
    told.after("12m")
    assert told.status.step == "1/3"
    told.evidence().after("4m")
    assert told.status.step == "1/3"
    told.after("1m")
    assert told.status.step == "2/3"


def test_metrics_that_stay_unreadable_pause_and_their_return_resumes(at_step):
    told = at_step(1).evidence().metrics_fail().after("15m")
    assert (told.phase, told.status.pause.reason) == ("Paused", "MetricsUnavailable")
    told.evidence()
    assert told.phase == "Progressing"
    assert told.weights["candidate"] == 100


def test_a_candidate_without_data_gets_no_further_step(at_step):
    told = at_step(1).evidence(Verdict.NoData, samples=0, nothing_matched="promptrollout_requests_total")
    told.after("2h")
    assert told.status.step == "1/3"
    assert told.condition("MetricsAvailable").reason == "NoData"


def test_no_step_is_taken_before_the_first_window_was_read(at_step):
    told = at_step(1).after("2h")
    assert told.status.step == "1/3"
    assert told.wakes_in is not None


def test_after_a_long_downtime_windows_are_read_first_and_then_one_step_taken(at_step):
    told = at_step(1).evidence()
    old = told.comparison
    told.now += timedelta(hours=5)
    told.turn()
    assert told.status.step == "1/3"
    assert "still to be read" in told.status.message
    told.comparison = old
    told.evidence(Verdict.NonInferior)
    assert told.status.step == "2/3"
    assert told.weights["candidate"] == 2_500


def test_a_sample_ratio_mismatch_pauses(at_step):
    told = at_step(2).evidence(Verdict.NonInferior, mismatch="the candidate got 9 % instead of 25 %")
    assert (told.phase, told.status.pause.reason) == ("Paused", "SampleRatioMismatch")
    assert told.weights["candidate"] == 2_500


def test_an_invalid_spec_keeps_what_is_delivered_and_names_field_and_cure(at_step):
    told = at_step(2).evidence().is_invalid("spec.prompt.inline.variables", "lists shop", "remove it")
    assert (told.phase, told.served) == ("Invalid", {B: 2_500, A: 7_500})
    assert told.status.message.startswith("spec.prompt.inline.variables: lists shop; remove it")
    assert told.condition("Valid").status == "False"
    told.problems = ()
    assert told.turn().phase == "Progressing"


def test_a_foreign_configmap_blocks_and_is_said(healthy):
    told = healthy()
    told.blocked = "ConfigMap shop/support-prompt belongs to another; delete it or set delivery.configMapName"
    assert told.wants(B).phase == "Invalid"
    assert told.status.message == told.blocked
    assert told.served == {A: 10_000}
    assert told.wakes_in <= timedelta(seconds=5), "nobody tells when it is gone"


def test_a_canary_without_metrics_waits_for_a_person(at_step):
    told = at_step(3, analysis={"metrics": []}).after("1h")
    assert (told.phase, told.served) == ("Paused", {B: 5_000, A: 5_000})
    assert told.says("promote").served == {B: 10_000}


def test_immediate_replaces_as_soon_as_the_pods_hold_the_revision(healthy):
    told = healthy(strategy={"immediate": {}}).wants(B)
    assert told.served == {B: 0, A: 10_000}
    told.pods_load()
    assert told.served == {B: 10_000}
    assert told.pods_load().phase == "Healthy"


def test_a_rollout_that_passes_its_deadline_is_rolled_back(at_step):
    told = at_step(2, progressDeadline="3h").evidence().after("3h")
    assert told.served == {A: 10_000}
    assert told.status.rollback.reason == "ProgressDeadlineExceeded"


def test_time_paused_does_not_count_for_the_deadline(at_step):
    told = at_step(2, progressDeadline="3h").evidence().says("pause").after("10h")
    assert told.phase == "Paused"
    told.says("resume").after("1h")
    assert told.phase == "Progressing"


def test_drain_keeps_the_revision_for_its_conversations_for_a_bounded_time(at_step):
    told = at_step(2, assignment={"onRollback": "Drain", "drainTimeout": "30m"}).evidence(Verdict.Harmed)
    assert told.served == {A: 10_000}
    assert [pin.revision for pin in told.status.delivered.pins] == [B]
    told.pods_load().after("30m")
    assert told.status.delivered.pins == []


def test_drain_lets_conversations_of_the_old_prompt_end_after_a_promotion(at_step):
    told = at_step(2, assignment={"onRollback": "Drain", "drainTimeout": "30m"}).says("promote-full")
    assert told.served == {B: 10_000}
    assert [pin.revision for pin in told.status.delivered.pins] == [A]
    told.pods_load().after("30m")
    assert told.status.delivered.pins == []
    assert at_step(2).says("promote-full").status.delivered.pins == [], (
        "they move at once, unless it is asked for"
    )


def test_undo_drains_nothing_and_ends_the_drain_of_what_is_served_again(at_step):
    told = at_step(2, assignment={"onRollback": "Drain"}).says("promote-full").pods_load().says("undo")
    assert (told.served, told.status.delivered.pins) == ({A: 10_000}, [])


def test_a_drain_goes_on_while_the_next_prompt_is_tried_and_ends_with_its_own_retry(at_step):
    told = at_step(2, assignment={"onRollback": "Drain", "drainTimeout": "30m"}).evidence(Verdict.Harmed)
    pins, told.comparison = told.status.delivered.pins, None
    told.after("1m").wants(C).pods_load()
    assert (told.served, told.status.delivered.pins) == ({C: 100, A: 9_900}, pins)
    told.after("29m")
    assert (told.served, told.status.delivered.pins) == ({C: 100, A: 9_900}, [])
    told = at_step(2, assignment={"onRollback": "Drain", "drainTimeout": "30m"}).says("abort").says("retry")
    assert told.status.delivered.pins == [], "it is served again anyway"


def test_a_drain_goes_on_while_gates_before_delivery_are_asked(at_step):
    told = at_step(2, assignment={"onRollback": "Drain"}).says("abort")
    pins = told.status.delivered.pins
    told.edits(assignment={"onRollback": "Drain"}, gates=[{"name": "release", "approval": {}}]).wants(C)
    assert (told.phase, told.status.delivered.pins) == ("AwaitingApproval", pins)


def test_min_samples_counts_the_answers_of_its_own_step(at_step):
    steps = [{"weight": each, "minSamples": 1000} for each in (5, 25, 50)]
    told = at_step(1, strategy={"canary": {"steps": steps}}).evidence(samples=999)
    assert told.status.step == "1/3"
    told.evidence(samples=1040).pods_load()
    assert told.status.step == "2/3"
    told.evidence(samples=2039)
    assert told.status.step == "2/3"
    assert "999 of 1000 candidate answers" in told.status.message
    assert told.evidence(samples=2040).status.step == "3/3"


def test_min_samples_after_a_gate_or_an_edit_counts_from_there(healthy):
    few, gate = {"weight": 5, "minSamples": 1000}, {"gate": {"approval": {}}}
    told = healthy(strategy={"canary": {"steps": [few, gate, few, {"weight": 50, "duration": "1h"}]}})
    told.wants(B).pods_load().pods_load().evidence(samples=1000).evidence(samples=5000)
    assert told.says("approve").status.step == "3/4"
    assert told.evidence(samples=5999).status.step == "3/4"
    told.edits(strategy={"canary": {"steps": [{**few, "weight": 1}, few, {"weight": 50, "duration": "1h"}]}})
    assert told.status.step == "2/3"
    assert told.evidence(samples=6998).status.step == "2/3"
    assert told.evidence(samples=6999).status.step == "3/3"


def test_answers_that_are_counted_anew_because_a_metric_was_edited_all_count(at_step):
    steps = [{"weight": 5, "minSamples": 1000}, {"weight": 25, "minSamples": 1000}]
    told = at_step(1, strategy={"canary": {"steps": steps}}).evidence(samples=1000).pods_load()
    told.evidence(samples=0).evidence(samples=999)
    assert (told.status.step, told.phase) == ("2/2", "Progressing")
    assert told.evidence(samples=1000).phase == "Paused"


def test_pods_without_the_sdk_count_as_loaded_after_a_while_and_status_says_so(story):
    told = story(delivery={"acknowledge": {"mode": "None", "assumeLoadedAfter": "90s"}}).turn()
    assert told.phase == "Delivering"
    assert told.wakes_in == timedelta(seconds=90)
    assert (
        told.status.message
        == "it counts as loaded 90s after it was written: delivery.acknowledge.mode is None"
    )
    told.after("90s")
    assert told.phase == "Healthy"
    assert "assumed" in told.condition("Delivered").message


def test_pods_that_are_not_asked_are_never_overdue(story):
    told = story(
        delivery={"acknowledge": {"mode": "None", "assumeLoadedAfter": "1h", "timeout": "5m"}}
    ).turn()
    told.after("10m")
    assert told.condition("Delivered").reason == "AwaitingAcknowledgement"
    assert "look at those pods" not in told.status.message


def test_overdue_pods_are_named(healthy):
    told = healthy().wants(B).pods_load("pod-a").after("5m")
    assert told.phase == "Delivering"
    assert told.condition("Delivered").reason == "AcknowledgementOverdue"
    assert "pod-b" in told.condition("Delivered").message


def test_the_same_candidate_gets_the_same_salt_again_and_another_one_another(at_step):
    told = at_step(2)
    first = told.status.delivered.salt
    told.evidence(Verdict.Harmed).pods_load().says("retry")
    assert told.status.delivered.salt == first
    told.wants(C)
    assert told.status.delivered.salt != first


def test_what_was_said_of_an_earlier_candidate_does_not_touch_the_next(at_step):
    told = at_step(2).evidence(Verdict.Inconclusive).wants(C).pods_load()
    told.evidence_of(B, Verdict.Harmed)
    assert told.served == {C: 100, A: 9_900}


def test_a_promoted_revision_is_no_longer_compared(at_step):
    told = at_step(3).evidence(Verdict.NonInferior).after("1h")
    told.evidence_of(B, Verdict.Harmed)
    assert told.served == {B: 10_000}


def test_a_revision_of_the_history_is_rolled_out_like_any_other(at_step):
    told = at_step(3).evidence(Verdict.NonInferior).after("1h").pods_load()
    assert A in {entry.revision for entry in told.status.history}
    told.wants(A)
    assert (told.phase, told.served) == ("Delivering", {A: 0, B: 10_000})
    assert told.pods_load().served == {A: 100, B: 9_900}


def test_an_edited_metric_keeps_trial_step_and_clock(at_step):
    told = at_step(1).evidence().after("9m")
    before = told.status.candidate
    told.edits(analysis={"metrics": [{"name": "errors", "preset": "sdk/errors", "margin": "0.01"}]})
    assert told.status.candidate == before
    assert told.evidence().after("1m").status.step == "2/3"


def test_a_revision_that_is_lost_leaves_the_weights_and_is_said(at_step):
    told = at_step(2).evidence()
    told.blocked = "the text of revision aaaa000000 is lost: restore that ConfigMap from a backup"
    told.after("1h")
    assert (told.phase, told.served) == ("Invalid", {B: 2_500, A: 7_500})
    assert told.condition("Valid").status == "False"
    assert "restore" in told.status.message
    told.blocked = ""
    assert told.evidence().phase == "Progressing"


def test_a_candidate_that_is_too_big_is_invalid_with_its_sizes_and_the_old_one_stays(healthy):
    told = healthy().wants(B)
    told.is_invalid("spec.prompt", "old and new together are 1,200,000 bytes", "shorten the prompt")
    assert (told.phase, told.served) == ("Invalid", {B: 0, A: 10_000})
    assert "1,200,000 bytes" in told.status.message


def test_a_configmap_that_went_back_in_time_is_delivered_again(at_step):
    told = at_step(2)
    before = told.status.delivered
    told.once((before.sequence - 1, told.now))
    assert told.status.delivered == before, "what is served follows the status; the shell writes it again"


def test_metrics_that_stay_unreadable_are_told_once(at_step):
    told = at_step(1).evidence().metrics_fail().after("5m").metrics_fail().after("15m").metrics_fail()
    assert told.reasons.count("MetricsUnavailable") == 1
    assert told.reasons.count("Paused") == 1


@pytest.mark.parametrize(
    ("delivery", "said"),
    [
        ({}, "no ready pod mounted its ConfigMap"),
        ({"podSelector": {"matchLabels": {"app": "typo"}}}, "no ready pod matched delivery.podSelector"),
    ],
)
def test_a_payload_that_no_pod_had_to_load_says_so_until_one_has(story, delivery, said):
    story = story(delivery=delivery)
    story.pods = ()
    story.turn()
    assert story.phase == "Healthy"
    assert said in story.status.message
    assert (story.condition("Delivered").status, story.condition("Delivered").reason) == ("True", "NoPods")

    story.pods = ("pod-a",)
    story.wants("bbbb000000").pods_load()
    assert story.condition("Delivered").reason != "NoPods"
    assert "no ready pod" not in story.status.message


def test_pods_that_are_not_asked_are_not_missed(story):
    story = story(delivery={"acknowledge": {"mode": "None", "assumeLoadedAfter": "1s"}})
    story.pods = ()
    story.turn().after("2s")
    assert story.phase == "Healthy"
    assert "no ready pod" not in story.status.message
