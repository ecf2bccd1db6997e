"""Gates in `decide`: every place, every outcome, in virtual time."""

import pytest

from promptrollout.analysis import Verdict
from promptrollout.rollout import GateAnswer

A, B, C = "aaaa000000", "bbbb000000", "cccc000000"
JOB = {"job": {"templateRef": {"name": "eval"}}}
APPROVAL = {"approval": {}}
HOOK = {"webhook": {"name": "risk"}}
KINDS = pytest.mark.parametrize("kind", [JOB, HOOK, APPROVAL], ids=["job", "webhook", "approval"])


def gate(kind, name="check", **changes):
    return {"name": name, **kind, **changes}


def before_delivery(*gates):
    return {"gates": [gate(g) if "name" not in g else g for g in gates]}


def before_promotion(*gates):
    return {"gates": [{**(gate(g) if "name" not in g else g), "when": "BeforePromotion"} for g in gates]}


def as_step(kind, **changes):
    steps = [
        {"weight": 10, "duration": "10m"},
        {"gate": {**kind, **changes}},
        {"weight": 50, "duration": "10m"},
    ]
    return {"strategy": {"canary": {"steps": steps}}}


def run_of(told):
    return told.status.gates[0]


def at_promotion(healthy, *gates):
    """The strategy would promote, and gates are asked."""
    told = healthy(
        strategy={"canary": {"steps": [{"weight": 10, "duration": "10m"}]}}, **before_promotion(*gates)
    )
    told.wants(B).pods_load().pods_load()
    return told.evidence(Verdict.NonInferior).after("10m")


def at_step_gate(healthy, kind, **changes):
    told = healthy(**as_step(kind, **changes)).wants(B).pods_load().pods_load().evidence().after("10m")
    assert told.status.step == "2/3"
    return told


def at_delivery(healthy, kind, **changes):
    return healthy(**before_delivery(gate(kind, **changes))).wants(B)


PLACES = pytest.mark.parametrize(
    "reach",
    [
        at_delivery,
        at_step_gate,
        lambda healthy, kind, **changes: at_promotion(healthy, gate(kind, **changes)),
    ],
    ids=["delivery", "step", "promotion"],
)


def passes(told, kind):
    return (
        told.says("approve") if kind is APPROVAL else told.answers("Passed", score="0.93", report="93 of 100")
    )


# what each place keeps back


@KINDS
def test_before_delivery_no_pod_is_told_of_the_candidate(healthy, kind):
    told = at_delivery(healthy, kind)
    assert told.served == {A: 10_000}
    assert told.phase == ("AwaitingApproval" if kind is APPROVAL else "Pending")
    assert told.status.candidate.revision == B
    assert "check" in told.status.message
    passes(told, kind)
    assert (told.phase, told.served) == ("Delivering", {B: 0, A: 10_000})
    told.pods_load()
    assert told.weights["candidate"] == 100


@KINDS
def test_a_step_that_is_a_gate_keeps_the_weight_until_it_has_passed(healthy, kind):
    told = at_step_gate(healthy, kind)
    assert told.weights["candidate"] == 1_000
    assert told.phase == ("AwaitingApproval" if kind is APPROVAL else "Progressing")
    told.evidence(Verdict.NonInferior).after("30m")
    assert told.weights["candidate"] == 1_000
    passes(told, kind)
    assert (told.status.step, told.weights["candidate"]) == ("3/3", 5_000)


@KINDS
def test_before_promotion_the_last_weight_stays_until_it_has_passed(healthy, kind):
    told = at_promotion(healthy, kind)
    assert told.served == {B: 1_000, A: 9_000}
    passes(told, kind)
    assert told.served == {B: 10_000}
    assert told.status.history[0].outcome == "Promoted"


# what each outcome does at each place


@PLACES
def test_a_gate_that_says_no_ends_the_trial_and_stable_stays(healthy, reach):
    told = reach(healthy, JOB).answers("Failed", message="score 0.61 is below 0.8", score="0.61")
    assert told.served == {A: 10_000}
    told.pods_load()
    assert told.phase == "Degraded"
    assert told.status.rollback.reason == "GateFailed"
    assert "score 0.61 is below 0.8" in told.status.message
    assert "retry" in told.status.message
    told.after("48h")
    assert (told.phase, told.served) == ("Degraded", {A: 10_000})


@PLACES
def test_a_gate_that_never_answers_fails_when_its_time_is_over(healthy, reach):
    told = reach(healthy, JOB, timeout="20m").after("19m")
    assert run_of(told).result == ""
    told.after("1m")
    assert run_of(told).result == "TimedOut"
    assert told.served == {A: 10_000}
    assert "no answer within 20m" in told.status.message
    assert told.decisions[-1].gates == ()


@PLACES
def test_or_it_holds_says_so_and_takes_a_late_answer(healthy, reach):
    told = reach(healthy, JOB, timeout="20m", onTimeout="Hold").after("20m")
    served = told.served
    assert (told.phase, told.condition("Paused").reason) == ("Paused", "GateTimeout")
    assert told.reasons.count("GateTimedOut") == 1
    told.after("200h")
    assert (told.phase, told.served) == ("Paused", served)
    told.answers("Passed")
    assert told.served != served


@PLACES
def test_a_person_who_says_nothing_is_a_timeout_too(healthy, reach):
    told = reach(healthy, APPROVAL, timeout="20m").after("20m")
    assert run_of(told).result == "TimedOut"
    assert told.served == {A: 10_000}


@PLACES
def test_the_deadline_of_the_rollout_waits_for_a_person(healthy, reach):
    told = reach(healthy, APPROVAL, timeout="400h").after("100h")
    assert told.phase == "AwaitingApproval"
    told.says("approve").pods_load()
    assert told.status.rejected is None


@pytest.mark.parametrize("ends", ["resume", "approve"])
def test_a_pause_or_an_outage_while_a_person_is_waited_for_puts_the_deadline_off_once(healthy, ends):
    told = (
        at_step_gate(healthy, APPROVAL, timeout="400h").after("1h").says("pause").metrics_fail().after("9h")
    )
    told.evidence().says(ends).after("2h").says("approve" if ends == "resume" else "resume")
    assert told.status.step == "3/3"
    assert told.status.candidate.held == 12 * 3600


@PLACES
def test_skip_leaves_a_gate_out_and_keeps_who_said_so(healthy, reach):
    told = reach(healthy, JOB)
    served = told.served
    told.says("skip", by="alice")
    assert (run_of(told).result, run_of(told).by) == ("Skipped", "alice")
    assert told.served != served


@PLACES
def test_harm_and_abort_do_not_wait_for_a_gate(healthy, reach):
    told = reach(healthy, JOB).says("abort")
    assert told.served == {A: 10_000}
    assert run_of(told).result == "Cancelled"
    assert told.decisions[-1].gates == ()


def test_harm_rolls_back_at_a_gate(healthy):
    told = at_step_gate(healthy, APPROVAL).evidence(Verdict.Harmed)
    assert told.served == {A: 10_000}


# who and what is kept


def test_score_report_and_time_are_kept(healthy):
    told = at_delivery(healthy, JOB).answers("Passed", score="0.93", report="93 of 100", job="x-1")
    run = run_of(told)
    assert (run.result, run.score, run.report, run.job) == ("Passed", "0.93", "93 of 100", "x-1")
    assert run.ended_at == told.now
    assert "GatePassed" in told.reasons


def test_who_approved_is_kept(healthy):
    told = at_delivery(healthy, APPROVAL).says("approve", by="alice")
    assert (run_of(told).by, run_of(told).result) == ("alice", "Passed")
    assert told.status.last_command.message == "revision bbbb000000 is approved at gate check by alice"


def test_how_it_stands_is_told_on_the_way(healthy):
    told = at_delivery(healthy, JOB).answers("", message="Job shop/x runs", job="x")
    assert "Job shop/x runs" in told.status.message


# nothing runs twice


def test_a_run_has_the_same_id_after_a_restart_and_none_once_it_has_answered(healthy):
    told = at_delivery(healthy, JOB)
    (first,) = told.decisions[-1].gates
    told.after("1m")
    assert told.decisions[-1].gates == (first,)
    told.answers("Passed")
    assert told.decisions[-1].gates == ()


def test_gates_of_one_place_are_asked_in_order(healthy):
    told = healthy(**before_delivery(gate(JOB, "eval"), gate(APPROVAL, "release"))).wants(B)
    assert [run.gate for run in told.status.gates] == ["eval"]
    told.answers("Passed")
    assert told.phase == "AwaitingApproval"
    assert told.served == {A: 10_000}
    told.says("approve")
    assert told.served == {B: 0, A: 10_000}


def test_an_edit_of_one_gate_asks_only_that_one_again(healthy):
    gates = [gate(JOB, "eval"), gate(HOOK, "risk")]
    told = healthy(gates=gates).wants(B).answers("Passed")
    first = run_of(told).id
    told.edits(gates=[gates[0], gate({"webhook": {"name": "other"}}, "risk")])
    assert [(r.gate, r.result) for r in told.status.gates] == [
        ("risk", ""),
        ("risk", "Cancelled"),
        ("eval", "Passed"),
    ]
    assert [r.id for r in told.decisions[-1].gates] == [run_of(told).id] != [first]


def test_a_longer_timeout_asks_nothing_again(healthy):
    told = at_delivery(healthy, JOB, timeout="20m")
    first = run_of(told).id
    told.edits(gates=[gate(JOB, timeout="2h")]).after("1h")
    assert (run_of(told).id, run_of(told).result) == (first, "")


def test_a_retry_asks_all_gates_again(healthy):
    told = at_delivery(healthy, JOB).answers("Failed").says("retry")
    assert (run_of(told).attempt, run_of(told).result) == (2, "")
    told.answers("Passed")
    assert told.served == {B: 0, A: 10_000}


def test_resume_asks_a_gate_again_whose_time_was_over(healthy):
    told = at_delivery(healthy, HOOK, timeout="20m", onTimeout="Hold").after("20m")
    first = run_of(told).id
    told.says("resume")
    assert (told.phase, run_of(told).asked, run_of(told).result) == ("Pending", 2, "")
    assert run_of(told).id != first


def test_an_answer_that_comes_while_paused_is_kept(healthy):
    told = at_step_gate(healthy, JOB).says("pause").answers("Passed")
    assert (told.phase, run_of(told).result) == ("Paused", "Passed")
    told.says("resume")
    assert told.weights["candidate"] == 5_000


def test_an_answer_for_a_revision_that_is_no_longer_wanted_changes_nothing(healthy):
    told = at_delivery(healthy, JOB)
    old = run_of(told).id
    told.wants(C)
    told.answered[old] = GateAnswer("Failed")
    told.turn()
    assert told.status.candidate.revision == C
    assert told.status.rejected is None


def test_while_the_spec_is_invalid_what_runs_is_left_alone(healthy):
    told = at_delivery(healthy, JOB).is_invalid()
    assert told.decisions[-1].gates is None


# the very first revision


def test_the_first_revision_meets_only_gates_marked_always(story):
    told = story(gates=[gate(JOB, "eval", always=True), gate(APPROVAL, "release")]).turn()
    assert (told.status.delivered, told.phase) == (None, "Pending")
    told.answers("Passed")
    assert told.served == {A: 10_000}
    assert [run.gate for run in told.status.gates] == ["eval"]
    assert told.pods_load().phase == "Healthy"


def test_a_first_revision_that_a_gate_refuses_is_never_delivered(story):
    told = story(gates=[gate(JOB, always=True)]).turn().answers("Failed", message="score 0.2 is below 0.8")
    assert (told.status.delivered, told.phase) == (None, "Degraded")
    assert "score 0.2" in told.status.message
    told.after("24h")
    assert told.status.delivered is None
    told.wants(B).answers("Passed")
    assert told.served == {B: 10_000}


def test_without_gates_marked_always_the_first_revision_is_delivered_at_once(story):
    assert story(gates=[gate(JOB)]).turn().served == {A: 10_000}


def test_the_prompt_changed_before_the_first_was_let_through(story):
    told = story(gates=[gate(JOB, always=True)]).turn().wants(B)
    assert told.status.candidate.revision == B
    assert told.status.history[0].outcome == "Superseded"
    assert told.answers("Passed").served == {B: 10_000}


# commands that make no sense


def test_approve_is_refused_where_no_approval_is_waited_for(healthy):
    told = at_delivery(healthy, JOB).says("approve")
    assert told.status.last_command.result == "Refused"
    assert told.served == {A: 10_000}


@pytest.mark.parametrize("verb", ["promote", "promote-full"])
def test_nothing_is_promoted_past_a_gate_before_delivery(healthy, verb):
    told = at_delivery(healthy, JOB).says(verb)
    assert told.status.last_command.result == "Refused"
    assert told.served == {A: 10_000}


def test_skip_is_refused_where_no_gate_is_waited_for(at_step):
    assert at_step(1).says("skip").status.last_command.result == "Refused"


def test_promote_from_the_last_step_goes_past_the_gates_before_promotion(healthy):
    told = healthy(
        strategy={"canary": {"steps": [{"weight": 10, "duration": "10m"}]}}, **before_promotion(APPROVAL)
    )
    told.wants(B).pods_load().pods_load().evidence().says("promote")
    assert (told.phase, told.served) == ("AwaitingApproval", {B: 1_000, A: 9_000})
    told.says("approve")
    assert told.served == {B: 10_000}


def test_immediate_is_gated_too(healthy):
    told = healthy(strategy={"immediate": {}}, **before_promotion(APPROVAL)).wants(B).pods_load()
    assert (told.phase, told.served) == ("AwaitingApproval", {B: 0, A: 10_000})
    assert told.says("approve").served == {B: 10_000}


def test_a_step_of_the_same_weight_after_a_gate_lasts_its_own_time(healthy):
    steps = [
        {"weight": 10, "duration": "10m"},
        {"gate": APPROVAL},
        {"weight": 10, "duration": "10m"},
        {"weight": 50, "duration": "10m"},
    ]
    told = healthy(strategy={"canary": {"steps": steps}}).wants(B).pods_load().pods_load().evidence()
    told.after("10m").after("1h").says("approve")
    assert told.status.step == "3/4"
    told.after("9m")
    assert told.status.step == "3/4"
    told.after("1m")
    assert told.status.step == "4/4"


def test_what_was_refused_before_delivery_is_no_rollback_of_pods(healthy):
    told = at_delivery(healthy, JOB).answers("Failed")
    assert told.phase == "Degraded"
    assert "RollbackComplete" not in told.reasons
    assert told.status.rollback.undelivered


def test_a_new_candidate_takes_the_old_one_from_its_pods_while_gates_are_asked(at_step):
    told = at_step(2, gates=[])
    told.edits(gates=[gate(JOB)])
    told.evidence().wants(C)
    assert told.served == {A: 10_000}
