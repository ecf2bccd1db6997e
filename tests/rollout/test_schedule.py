"""Calendar windows: weights rise only then, and everything else at any time."""

from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.analysis import Verdict

A, B = "aaaa000000", "bbbb000000"
#: The story begins on Monday 2026-11-23 at 13:00 in Zurich.
OFFICE = {"timeZone": "Europe/Zurich", "windows": ["Mon-Fri 09:00-17:00"]}
STEPS = [{"weight": 1, "duration": "1h"}, {"weight": "25.01%", "duration": "6h"}]


def canary(schedule=OFFICE, steps=STEPS):
    return {"canary": {"steps": steps, "schedule": schedule}}


def zurich(text):
    return datetime.fromisoformat(f"{text}+01:00").astimezone(UTC)


def test_a_step_that_is_due_outside_the_windows_waits_for_the_next_and_says_when_it_opens(at_step):
    told = at_step(1, strategy=canary()).evidence()
    told.after("5h")
    assert told.weights["candidate"] == 100
    assert "next window opens, Tue 2026-11-24 09:00 CET" in told.status.message
    assert told.decisions[-1].wake_at == zurich("2026-11-24 09:00")
    told.after("14h59m")
    assert told.weights["candidate"] == 100
    told.after("1m")
    assert told.weights["candidate"] == 2_501


def test_within_a_window_steps_go_on_as_ever(at_step):
    told = at_step(1, strategy=canary()).evidence().after("1h")
    assert told.weights["candidate"] == 2_501


def test_the_first_weight_and_the_promotion_wait_for_a_window_too(healthy):
    told = healthy(strategy=canary())
    told.now = zurich("2026-11-27 18:00")
    told.wants(B).pods_load()
    assert told.served == {B: 0, A: 10_000}
    assert "Mon 2026-11-30 09:00 CET" in told.status.message
    told.now = zurich("2026-11-30 09:00")
    told.turn().pods_load().evidence().after("1h").pods_load().evidence(Verdict.NonInferior)
    told.now = zurich("2026-11-30 22:00")
    told.evidence(Verdict.NonInferior)
    assert told.served == {B: 2_501, A: 7_499}
    told.now = zurich("2026-12-01 09:00")
    assert told.evidence(Verdict.NonInferior).served == {B: 10_000}


def test_harm_rolls_back_at_any_time(at_step):
    told = at_step(1, strategy=canary()).evidence()
    told.now = zurich("2026-11-28 03:00")
    assert told.evidence(Verdict.Harmed).served == {A: 10_000}


def test_a_person_s_promote_goes_at_any_time(at_step):
    told = at_step(1, strategy=canary()).evidence()
    told.now = zurich("2026-11-28 03:00")
    assert told.says("promote").weights["candidate"] == 2_501


def test_on_inconclusive_promote_waits_for_a_window_and_rollback_does_not(at_step):
    told = at_step(2, strategy=canary(), analysis={"onInconclusive": "Promote"}).evidence().after("6h")
    assert told.weights["candidate"] == 2_501
    assert "next window opens" in told.status.message
    told.now = zurich("2026-11-24 09:00")
    assert told.evidence().served == {B: 10_000}
    told = at_step(2, strategy=canary(), analysis={"onInconclusive": "Rollback"}).evidence().after("6h")
    assert told.served == {A: 10_000}


def test_time_outside_the_windows_does_not_count_for_the_deadline(at_step):
    told = at_step(1, strategy=canary(), progressDeadline="8h30m").evidence()
    told.now = zurich("2026-11-24 09:00")
    told.evidence().pods_load().evidence()
    assert told.weights["candidate"] == 2_501
    told.now = zurich("2026-11-24 13:25")
    assert told.evidence().served[B] == 2_501
    told.after("10m")
    assert told.status.rollback.reason == "ProgressDeadlineExceeded"


@pytest.mark.parametrize("stands", ["pause", "approval"])
def test_time_that_stands_outside_the_windows_is_left_out_of_the_deadline_once(healthy, stands):
    gate = [{"gate": {"approval": {}, "timeout": "400h"}}] * (stands == "approval")
    steps = [{"weight": 1, "duration": "1h"}, *gate, {"weight": 25, "duration": "1h"}]
    told = healthy(strategy=canary(steps=steps), progressDeadline="8h")
    told.wants(B).pods_load().pods_load().evidence().after("1h")
    if stands == "pause":
        told.says("pause")
    told.now = zurich("2026-11-30 09:00")
    told.turn().says("resume" if stands == "pause" else "approve")
    assert told.status.candidate.held == (3 + 4 * 8) * 3600, "the rest of that week's windows"
    told.now = zurich("2026-11-30 15:59")
    assert told.turn().served[B] > 0
    told.after("1m")
    assert told.status.rollback.reason == "ProgressDeadlineExceeded"


def test_a_schedule_that_is_edited_counts_at_once(at_step):
    told = at_step(1, strategy=canary()).evidence().after("5h")
    told.edits(strategy=canary({"timeZone": "America/New_York", "windows": ["Mon-Fri 09:00-17:00"]}))
    assert told.weights["candidate"] == 2_501


@pytest.mark.parametrize("weight", ["0.01%", "0.5%", "33.33%", "99.99%"])
def test_weights_go_in_steps_of_a_hundredth_of_a_per_cent(at_step, weight):
    told = at_step(1, strategy={"canary": {"steps": [{"weight": weight, "duration": "1h"}]}})
    share = round(float(weight[:-1]) * 100)
    assert told.served == {B: share, A: 10_000 - share}
    assert told.status.weight == weight
    assert told.decisions[-1].sampling[0].weight == share
    assert told.wakes_in is None or told.wakes_in > timedelta(0)
