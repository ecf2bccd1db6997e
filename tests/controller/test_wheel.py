"""The wheel between feed, queue and reconciler."""

from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.cluster.errors import Unavailable
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.main import Wheel, seconds_until
from promptrollout.controller.memory import Memory
from promptrollout.controller.queue import WorkQueue
from promptrollout.controller.telemetry import Telemetry

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
KEY = ObjectKey("shop", "support")


class Reconciler:
    """Writes the status it is told to, then fails if it is told to."""

    def __init__(self, status, error=None):
        self.memory, self.status, self.error = Memory(), status, error

    def rollout_changed(self, seen):
        self.memory.take(seen)

    def rollout_gone(self, key):
        self.memory.forget(key)

    async def handle(self, key):
        self.memory.take(RolloutObject(key, "a", 1, "2", {}, self.status))
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("away", "seconds"), [(30.0, 30.001), (0.0, 0.001), (-5.0, 0.001), (0.25, 0.251), (86400.0, 600.0)]
)
def test_a_wake_up_comes_when_its_moment_has_passed_and_never_trusts_a_far_wall_clock(away, seconds):
    assert seconds_until(NOW + timedelta(seconds=away), NOW) == pytest.approx(seconds)


async def test_what_is_gone_is_forgotten_by_the_queue_too():
    queue = WorkQueue()
    wheel = Wheel(Reconciler({}), queue, Telemetry())
    queue.add(KEY, 100)
    wheel.rollout_gone(KEY)
    assert queue.scheduled == 0


@pytest.mark.parametrize("error", [None, Unavailable("create configmaps", "no answer")])
async def test_a_status_that_was_written_is_counted_even_if_the_rest_of_the_turn_fails(error):
    telemetry = Telemetry()
    reconciler = Reconciler({"rollback": {"reason": "Harmed", "decidedAt": "2026-11-24T10:00:00Z"}}, error)
    reconciler.rollout_changed(RolloutObject(KEY, "a", 1, "1", {}, {}))
    wheel = Wheel(reconciler, WorkQueue(), telemetry)
    if error:
        with pytest.raises(Unavailable):
            await wheel.turn(KEY)
    else:
        assert await wheel.turn(KEY) is None
    counted = telemetry.registry.get_sample_value(
        "promptrollout_operator_rollbacks_total", {"reason": "Harmed"}
    )
    assert counted == 1
