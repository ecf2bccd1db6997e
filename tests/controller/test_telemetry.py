import re

import pytest

from promptrollout.api.status import Phase
from promptrollout.cluster.errors import Unavailable
from promptrollout.cluster.objects import ObjectKey
from promptrollout.cluster.transport import Outcome
from promptrollout.controller.queue import Turn
from promptrollout.controller.telemetry import Gauges, Telemetry
from promptrollout.sources.client import QueryDone

KEY = ObjectKey("shop", "support")


@pytest.fixture
def telemetry():
    return Telemetry()


def value(telemetry, name, **labels):
    return telemetry.registry.get_sample_value(f"promptrollout_operator_{name}", labels)


def rollback(**moments):
    return {"reason": "Harmed"} | {
        name: f"2026-11-24T10:00:{second:06.3f}Z" for name, second in moments.items()
    }


def test_a_turn_is_counted_with_its_duration_its_wait_and_the_type_of_its_error(telemetry):
    telemetry.turn(Turn(KEY, lag=0.2, seconds=0.5))
    telemetry.turn(Turn(KEY, lag=0.0, seconds=1.0, error=Unavailable("get", "no answer")))
    assert value(telemetry, "reconcile_total", result="ok") == 1
    assert value(telemetry, "reconcile_total", result="error") == 1
    assert value(telemetry, "reconcile_errors_total", type="Unavailable") == 1
    assert value(telemetry, "reconcile_duration_seconds_sum") == 1.5
    assert value(telemetry, "queue_wait_seconds_sum") == 0.2


def test_a_verdict_is_counted_once_for_each_window_it_rests_on(telemetry):
    first = {"analysis": {"verdict": "Inconclusive", "through": "2026-11-24T10:00:30Z"}}
    second = {"analysis": {"verdict": "Harmed", "through": "2026-11-24T10:01:00Z"}}
    telemetry.status_written({}, first)
    telemetry.status_written(first, first | {"phase": "Paused"})
    telemetry.status_written(first, second)
    telemetry.status_written(second, {})
    assert value(telemetry, "verdicts_total", verdict="Inconclusive") == 1
    assert value(telemetry, "verdicts_total", verdict="Harmed") == 1


def test_each_stage_of_a_rollback_is_timed_once_when_it_is_reached(telemetry):
    decided = {"rollback": rollback(readableAt=0.0, decidedAt=0.1)}
    written = {"rollback": rollback(readableAt=0.0, decidedAt=0.1, writtenAt=0.25)}
    over = {"rollback": rollback(readableAt=0.0, decidedAt=0.1, writtenAt=0.25, acknowledgedAt=2.1)}
    for before, after in (({}, decided), (decided, written), (written, over), (over, over)):
        telemetry.status_written(before, after)
    assert value(telemetry, "rollbacks_total", reason="Harmed") == 1
    for stage, seconds in (("decided", 0.1), ("written", 0.15), ("acknowledged", 2.0)):
        assert value(telemetry, "rollback_duration_seconds_count", until=stage) == 1
        assert value(telemetry, "rollback_duration_seconds_sum", until=stage) == pytest.approx(seconds)


def test_a_second_rollback_is_another_one_and_a_restart_counts_none_again(telemetry):
    first = {"rollback": rollback(decidedAt=1.0, writtenAt=1.5, acknowledgedAt=2.0)}
    second = {"rollback": rollback(decidedAt=11.0, writtenAt=11.5)}
    telemetry.status_written(first, first)
    assert value(telemetry, "rollbacks_total", reason="Harmed") is None
    telemetry.status_written(first, second)
    assert value(telemetry, "rollbacks_total", reason="Harmed") == 1
    assert value(telemetry, "rollback_duration_seconds_count", until="written") == 1
    assert value(telemetry, "rollback_duration_seconds_count", until="acknowledged") is None


@pytest.mark.parametrize(
    ("method", "action", "verb", "resource"),
    [
        ("PATCH", "patch promptrollouts/status shop/support", "patch", "promptrollouts/status"),
        ("GET", "list configmaps", "list", "configmaps"),
        ("POST", "create configmaps shop/support-prompt", "create", "configmaps"),
        ("POST", "post events.events.k8s.io shop/x", "create", "events"),
        ("PATCH", "patch leases.coordination.k8s.io ops/prompt-rollout", "patch", "leases"),
        ("POST", "ask for the operator's rights", "create", "other"),
    ],
)
def test_a_request_is_counted_by_verb_and_kind_and_never_by_name(telemetry, method, action, verb, resource):
    telemetry.api_request(Outcome(method, action, 200, 0.1))
    assert value(telemetry, "api_requests_total", verb=verb, resource=resource, code="200") == 1
    assert value(telemetry, "api_request_duration_seconds_count", verb=verb) == 1


def test_a_query_is_counted_by_source_and_by_what_became_of_it(telemetry):
    telemetry.source_query("default", QueryDone("sample", 0.2, "", 40, 9000))
    telemetry.source_query("default", QueryDone("sample", 10.0, "Timeout", 0, 0))
    assert value(telemetry, "source_queries_total", source="default", purpose="sample", result="ok") == 1
    assert value(telemetry, "source_queries_total", source="default", purpose="sample", result="Timeout") == 1
    assert value(telemetry, "source_query_duration_seconds_sum", source="default") == 10.2


def test_the_page_shows_every_phase_so_that_one_that_empties_goes_to_zero(telemetry):
    telemetry.page(Gauges(phases={"Healthy": 3, "Degraded": 1}))
    telemetry.page(Gauges(phases={"Healthy": 4}))
    assert {phase: value(telemetry, "rollouts", phase=phase.value) for phase in Phase} == {
        phase: 4 if phase is Phase.HEALTHY else 0 for phase in Phase
    }


def test_every_gauge_is_on_the_page(telemetry):
    now = Gauges(
        {}, queue_due=1, queue_scheduled=2, queue_lag=3, in_work=4, failing=5, compared=6, awaited=7,
        sampling_age=8, loop_lag=9, leading=False, ready=True, gates=10, notifications=11,
    )  # fmt: skip
    page = telemetry.page(now).decode()
    shown = dict(re.findall(r"^promptrollout_operator_(\w+) ([\d.]+)$", page, re.MULTILINE))
    assert {name: float(shown[name]) for name in shown if not re.search("_(total|sum|count|created)$", name)} == {
        "queue_depth": 1, "queue_scheduled": 2, "queue_lag_seconds": 3, "reconciles_in_progress": 4,
        "reconciles_failing": 5, "trials_compared": 6, "payloads_awaited": 7, "sampling_age_seconds": 8,
        "event_loop_lag_seconds": 9, "leader": 0, "ready": 1, "gates_running": 10,
        "notifications_waiting": 11,
    }  # fmt: skip
    assert 'promptrollout_operator_build_info{kopf="' in page


def test_two_operators_in_one_process_do_not_share_their_figures():
    one, other = Telemetry(), Telemetry()
    one.watch_event("promptrollouts", "ADDED")
    assert value(other, "watch_events_total", resource="promptrollouts", type="ADDED") is None


def test_a_notification_is_counted_by_its_channel_and_what_became_of_it(telemetry):
    for result in ("sent", "sent", "failed"):
        telemetry.notification("team", result)
    assert value(telemetry, "notifications_total", channel="team", result="sent") == 2
    assert value(telemetry, "notifications_total", channel="team", result="failed") == 1
