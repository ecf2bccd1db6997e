"""Decisions are recorded with what they rested on; the status names evidence only once it is kept."""

from datetime import timedelta

from promptrollout.analysis import Verdict
from promptrollout.rollout import KeptEvidence
from promptrollout.rollout.grounds import MOST_DECISIONS, evidence_names

A, B = "aaaa000000", "bbbb000000"


def kept(name, *decisions, revision=B):
    return (KeptEvidence(revision, name, frozenset(one.at for one in decisions)),)


def test_each_step_that_rests_on_data_is_recorded_and_the_first_is_not(at_step):
    told = at_step(1)
    assert told.status.decisions == []
    told.evidence(Verdict.Inconclusive).after("10m")
    (step,) = told.status.decisions
    assert (step.kind, step.step, step.weight, step.verdict) == ("Step", 1, 100, "Inconclusive")
    assert step.at == told.now
    assert step.evidence == ""


def test_a_rollback_is_recorded_and_named_only_when_its_evidence_exists(at_step):
    told = at_step(2).evidence(Verdict.Harmed)
    record = told.status.decisions[0]
    assert (record.kind, record.reason, record.verdict) == ("RolledBack", "Harmed", "Harmed")
    assert told.status.rollback.evidence == ""
    told.kept = kept("ev-1", record)
    told.turn()
    assert told.status.rollback.evidence == "ev-1"
    assert told.status.history[0].evidence == "ev-1"
    assert told.status.decisions[0].evidence == "ev-1"
    assert evidence_names(told.status) == {"ev-1"}


def test_a_decision_is_announced_once(at_step):
    told = at_step(2).evidence(Verdict.Harmed).after("1m").after("1m")
    assert sum(len(decision.decided) for decision in told.decisions) == len(told.status.decisions) == 2


def test_a_hold_and_a_promotion_are_decisions_too(at_step):
    told = at_step(3).evidence(Verdict.Inconclusive).after("1h")
    assert told.status.decisions[0].kind == "Held"
    told.evidence(Verdict.NonInferior).after("1m")
    promoted = told.status.decisions[0]
    assert (promoted.kind, promoted.reason, promoted.verdict) == ("Promoted", "NonInferior", "NonInferior")


def test_a_command_is_recorded_with_what_was_known(at_step):
    told = at_step(2).evidence(Verdict.Inconclusive).says("abort")
    assert (told.status.decisions[0].kind, told.status.decisions[0].reason) == ("RolledBack", "Aborted")


def test_what_was_decided_without_a_comparison_is_not_recorded(at_step):
    told = at_step(1).says("pause").says("abort")
    assert told.status.decisions == []


def test_later_evidence_takes_the_place_of_earlier_that_it_holds(at_step):
    told = at_step(1).evidence(Verdict.Inconclusive).after("10m").pods_load()
    step = told.status.decisions[0]
    told.kept = kept("ev-1", step)
    told.turn().evidence(Verdict.Harmed)
    told.kept = kept("ev-2", step, told.status.decisions[0])
    told.turn()
    assert {one.evidence for one in told.status.decisions} == {"ev-2"}


def test_evidence_of_another_revision_or_moment_names_nothing(at_step):
    told = at_step(2).evidence(Verdict.Harmed)
    record = told.status.decisions[0]
    for wrong in (
        kept("ev-1", record, revision=A),
        kept("ev-1", record.but(at=record.at + timedelta(seconds=1))),
    ):
        told.kept = wrong
        told.turn()
        assert told.status.rollback.evidence == ""


def test_only_so_many_decisions_are_remembered(at_step):
    told = at_step(1)
    for _ in range(MOST_DECISIONS + 5):
        told.evidence(Verdict.Inconclusive).says("abort").says("retry").pods_load().pods_load()
    assert len(told.status.decisions) <= MOST_DECISIONS
