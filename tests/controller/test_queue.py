import asyncio
import logging
from collections import Counter, defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from looptime import new_event_loop

from promptrollout.controller.queue import LONGEST_WAIT_S, Backoff, Tempo, Turn, WorkQueue

pytestmark = pytest.mark.looptime

CALM = Tempo(Backoff(base=1.0, cap=60.0), deadline=30.0)


def now():
    return asyncio.get_running_loop().time()


class Handler:
    """Records what it is asked, and answers as told: seconds to work, then what to return or raise."""

    def __init__(self, work=0.0):
        self.calls = []
        self.work = defaultdict(lambda: work)
        self.answers = defaultdict(list)

    async def __call__(self, key):
        self.calls.append((key, round(now(), 3)))
        await asyncio.sleep(self.work[key])
        answer = self.answers[key].pop(0) if self.answers[key] else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def times(self, key):
        return [at for called, at in self.calls if called == key]


class Running:
    """A queue at work for the length of a block."""

    def __init__(self, handler, workers=2, tempo=CALM, **kwargs):
        self.queue = WorkQueue(tempo, chance=lambda: 0.0, **kwargs)
        self.handler, self.workers = handler, workers

    async def __aenter__(self):
        self.task = asyncio.create_task(self.queue.run(self.handler, self.workers))
        return self.queue

    async def __aexit__(self, *_):
        self.queue.stop()
        await self.task


async def test_a_key_is_handled_at_once_by_default_and_once_however_often_it_was_added():
    async with Running(handler := Handler()) as queue:
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(1)
    assert handler.calls == [("a", 0)]


async def test_the_earliest_deadline_wins_whichever_was_asked_first():
    async with Running(handler := Handler()) as queue:
        queue.add("sooner-later", 5)
        queue.add("sooner-later", 9)
        queue.add("later-sooner", 9)
        queue.add("later-sooner", 5)
        await asyncio.sleep(20)
    assert sorted(handler.calls) == [("later-sooner", 5), ("sooner-later", 5)]


async def test_keys_are_handled_in_the_order_of_their_deadlines():
    async with Running(handler := Handler(work=1), workers=1) as queue:
        for delay, key in ((3, "c"), (1, "a"), (2, "b"), (4, "d")):
            queue.add(key, delay)
        await asyncio.sleep(10)
    assert [key for key, _ in handler.calls] == ["a", "b", "c", "d"]


async def test_a_key_added_while_in_work_is_handled_once_more_and_never_at_the_same_time():
    async with Running(handler := Handler(work=10), workers=4) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("a")
        await asyncio.sleep(30)
    assert handler.times("a") == [0, 10]


async def test_a_handler_is_asked_again_when_it_said_so_or_earlier_if_there_is_news():
    handler = Handler()
    handler.answers["a"] = [5.0, 100.0, None]
    async with Running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(6)
        queue.add("a", 2)
        await asyncio.sleep(200)
    assert handler.times("a") == [0, 5, 8]


async def test_the_wish_of_a_handler_and_news_during_its_work_meet_at_the_earlier():
    handler = Handler(work=1)
    handler.answers["a"] = [50.0]
    async with Running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(0.5)
        queue.add("a", 9.5)
        await asyncio.sleep(100)
    assert handler.times("a") == [0, 10]


async def test_failures_back_off_per_key_and_success_resets_that():
    handler = Handler()
    handler.answers["a"] = [ValueError("no"), ValueError("no"), ValueError("no"), 10.0, ValueError("no")]
    async with Running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(100)
        assert queue.failing == 0
    assert handler.times("a") == [0, 1, 3, 7, 17, 18]


async def test_back_off_is_capped_and_spread():
    backoff = Backoff(base=1.0, cap=60.0)
    assert [backoff.delay(n, 0.0) for n in (1, 2, 6, 7, 10_000)] == [1, 2, 32, 60, 60]
    assert backoff.delay(7, 1.0) == 30


async def test_news_of_a_failing_key_is_not_kept_waiting_by_its_back_off():
    handler = Handler()
    handler.answers["a"] = [ValueError("no")] * 6
    async with Running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(40)
        queue.add("a")
        await asyncio.sleep(0.1)
        assert handler.times("a")[-1] == 40


async def test_a_poisoned_key_never_stops_the_others():
    handler = Handler()
    handler.answers["bad"] = [RuntimeError("poison")] * 100
    handler.answers["good"] = [1.0] * 100
    async with Running(handler, workers=1) as queue:
        queue.add("bad")
        queue.add("good")
        await asyncio.sleep(99.5)
    assert len(handler.times("good")) == 100
    assert len(handler.times("bad")) < 10


async def test_a_handler_that_hangs_is_cancelled_at_its_deadline_and_backed_off(caplog):
    handler = Handler()
    handler.work["stuck"] = 10_000
    async with Running(handler, workers=1) as queue:
        queue.add("stuck")
        queue.add("fine")
        await asyncio.sleep(30.5)
        assert handler.times("fine") == [30]
        handler.work["stuck"] = 0
        await asyncio.sleep(10)
        assert handler.times("stuck") == [0, 31]
    assert "stuck: turn failed (1 in a row), again in 1.0 s: no end within 30 s" in caplog.text


async def test_a_cancellation_from_inside_a_handler_is_a_failure_and_the_worker_lives_on():
    handler = Handler()
    handler.answers["a"] = [asyncio.CancelledError()]
    async with Running(handler, workers=1) as queue:
        queue.add("a")
        await asyncio.sleep(2)
    assert handler.times("a") == [0, 1]


async def test_an_expected_failure_is_one_line_and_another_carries_its_traceback(caplog):
    handler = Handler()
    handler.answers["expected"] = [OSError("API server not reached")]
    handler.answers["bug"] = [KeyError("x")]
    async with Running(handler, expected=(OSError,)) as queue:
        queue.add("expected")
        queue.add("bug")
        await asyncio.sleep(0.1)
    said = {record.args[0]: record for record in caplog.records}
    assert (said["expected"].levelno, said["expected"].exc_info) == (logging.WARNING, None)
    assert (said["bug"].levelno, said["bug"].exc_info[0]) == (logging.ERROR, KeyError)


async def test_every_turn_is_told_with_its_lag_duration_and_error():
    turns: list[Turn[str]] = []
    handler = Handler(work=3)
    handler.answers["b"] = [error := ValueError("no")]
    async with Running(handler, workers=1, on_turn=turns.append) as queue:
        queue.add("a")
        queue.add("b", 1)
        await asyncio.sleep(6.5)
    first, second, *_ = turns
    assert (first.key, first.lag, first.seconds, first.error) == ("a", 0, pytest.approx(3), None)
    assert (second.key, second.lag, second.seconds, second.error) == (
        "b",
        pytest.approx(2),
        pytest.approx(3),
        error,
    )


async def test_depth_lag_and_stall_tell_a_waiting_queue_from_an_idle_one():
    async with Running(handler := Handler(), workers=1) as queue:
        handler.work["a"] = 20
        for key, delay in (("a", 0), ("b", 1), ("c", 2), ("d", 100)):
            queue.add(key, delay)
        await asyncio.sleep(10)
        assert (queue.in_work, queue.depth, queue.scheduled) == (1, 2, 3)
        assert queue.lag == pytest.approx(9)
        assert queue.stalled == pytest.approx(9)
        await asyncio.sleep(20)
        assert (queue.in_work, queue.depth, queue.scheduled) == (0, 0, 1)
        assert (queue.lag, queue.stalled) == (0, 0)


async def test_a_stop_finishes_keys_in_work_and_starts_no_other():
    handler = Handler(work=5)
    running = Running(handler, workers=2)
    async with running as queue:
        for key in "abcd":
            queue.add(key)
        await asyncio.sleep(1)
        queue.stop()
        await running.task
        assert now() == pytest.approx(5)
    assert [key for key, _ in handler.calls] == ["a", "b"]


async def test_an_idle_queue_stops_at_once():
    async with Running(Handler()) as queue:
        queue.add("later", 1000)
        await asyncio.sleep(1)
    assert now() == pytest.approx(1)


async def test_cancelling_the_run_cancels_the_handlers_and_loses_no_key():
    queue = WorkQueue(CALM)
    task = asyncio.create_task(queue.run(Handler(work=50), 1))
    queue.add("a")
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (queue.in_work, queue.scheduled) == (0, 1)


async def test_a_key_handed_to_a_worker_that_is_cancelled_at_that_moment_is_not_lost():
    queue = WorkQueue(CALM)
    task = asyncio.create_task(queue.run(Handler(), 1))
    await asyncio.sleep(1)
    queue.add("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (queue.in_work, queue.scheduled) == (0, 1)


async def test_a_forgotten_key_is_not_handled_any_more_and_its_failures_are_forgotten():
    handler = Handler()
    handler.answers["a"] = [ValueError("no")] * 3
    async with Running(handler) as queue:
        queue.add("a")
        await asyncio.sleep(5)
        queue.forget("a")
        await asyncio.sleep(100)
        assert handler.times("a") == [0, 1, 3]
        assert (queue.failing, queue.scheduled) == (0, 0)
        queue.add("a")
        await asyncio.sleep(0.1)
    assert handler.times("a")[-1] == 105


async def test_many_keys_seen_for_the_first_time_are_spread_while_a_single_one_is_handled_at_once():
    handler = Handler()
    queue = WorkQueue(Tempo(spread=2.0), chance=lambda: 1.0)
    for number in range(3000):
        queue.add(number)
    assert queue.depth == 1
    task = asyncio.create_task(queue.run(handler, 4))
    await asyncio.sleep(2.01)
    assert len(handler.calls) == 3000
    assert Counter(int(at) for _, at in handler.calls) == {0: 1000, 1: 1000, 2: 1000}
    queue.add("new")
    queue.add(7)
    await asyncio.sleep(0.01)
    assert handler.calls[-2:] == [("new", 2.01), (7, 2.01)]
    queue.stop()
    await task


async def test_deadlines_that_make_no_sense_neither_break_the_timer_nor_spin():
    handler = Handler()
    handler.answers["a"] = [float("inf"), -5.0]
    async with Running(handler) as queue:
        queue.add("a", -1)
        queue.add("never", float("inf"))
        await asyncio.sleep(LONGEST_WAIT_S - 1)
        assert handler.calls == [("a", 0)]
        await asyncio.sleep(2)
    assert len(handler.times("a")) == 3
    assert len(handler.times("never")) == 1


async def test_void_entries_do_not_pile_up():
    queue = WorkQueue(CALM)
    for number in range(10_000):
        queue.add("a", 10_000 - number)
    assert (queue.scheduled, len(queue._heap) < 100) == (1, True)


KEYS = st.sampled_from("abc")
SECONDS = st.sampled_from([0.0, 0.5, 3.0, 11.0]) | st.floats(0, 30)


class QueueMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: what the queue promises holds.

    `wanted` is a model of the queue: what is to be handled, and when. What a handler finds wrong is noted, since the
    queue survives what handlers raise.
    """

    def __init__(self):
        super().__init__()
        self.loop = new_event_loop(start=0, end=None)
        asyncio.set_event_loop(self.loop)
        self.in_work, self.failures = Counter(), Counter()
        self.wanted, self.plan, self.wrong = {}, {}, []

    @initialize(workers=st.integers(1, 3))
    def start(self, workers):
        self.workers = workers
        tempo = Tempo(Backoff(1.0, 8.0), deadline=20.0)
        self.queue = WorkQueue(tempo, chance=lambda: 0.0, expected=(ValueError,))
        self.task = self.loop.create_task(self.queue.run(self.handle, workers))
        self.loop.run_until_complete(asyncio.sleep(0))

    async def handle(self, key):
        self.in_work[key] += 1
        self.check(
            self.loop.time() >= self.wanted.pop(key, float("inf")) - 1e-4, f"{key}: nobody wanted it yet"
        )
        self.check(self.in_work[key] == 1, f"{key}: two workers on one key")
        self.check(sum(self.in_work.values()) <= self.workers, "more keys in work than workers")
        work, wish, fails = self.plan.pop(key, (0.0, None, False))
        fails = fails or work > 20.0
        try:
            await asyncio.sleep(work)
        finally:
            self.in_work[key] -= 1
            self.failures[key] = self.failures[key] + 1 if fails else 0
            delay = min(8.0, 2.0 ** (self.failures[key] - 1)) if fails else wish
            if delay is not None:
                self.want(key, delay)
        if fails:
            raise ValueError(key)
        return wish

    def check(self, holds, otherwise):
        if not holds:
            self.wrong.append(otherwise)

    def want(self, key, delay):
        at = self.loop.time() + delay
        self.wanted[key] = min(at, self.wanted.get(key, at))

    @rule(key=KEYS, delay=SECONDS)
    def add(self, key, delay):
        async def call():
            self.want(key, delay)
            self.queue.add(key, delay)

        self.loop.run_until_complete(call())

    @rule(
        key=KEYS,
        work=st.sampled_from([0.0, 1.0, 6.0, 17.0, 25.0]),
        wish=st.none() | SECONDS,
        fails=st.booleans(),
    )
    def behave(self, key, work, wish, fails):
        self.plan[key] = (work, wish, fails)

    @rule(seconds=SECONDS)
    def wait(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @invariant()
    def one_entry_per_key(self):
        waiting = set(self.queue._due)
        assert waiting.isdisjoint(self.queue._working)
        assert set(self.queue._again) <= set(self.queue._working)
        live = [e for e in self.queue._heap if self.queue._due.get(e[2]) == e[:2]]
        assert Counter(key for _, _, key in live) == Counter(waiting)

    @invariant()
    def no_wake_up_is_lost_or_late(self):
        known = set(self.queue._due) | set(self.queue._again)
        claimed = {key for key in self.queue._working if self.in_work[key] == 0}
        assert set(self.wanted) <= known | claimed
        self.loop.run_until_complete(asyncio.sleep(0.001))
        overdue = {k for k, at in self.wanted.items() if at < self.loop.time() - 0.01 and not self.in_work[k]}
        assert not overdue or sum(self.in_work.values()) == self.workers
        assert not self.wrong

    def teardown(self):
        self.plan.clear()
        self.loop.run_until_complete(asyncio.sleep(200))
        assert not self.wanted
        assert not self.wrong
        assert not self.task.done(), "no worker has died"
        self.queue.stop()
        self.loop.run_until_complete(self.task)
        self.loop.close()
        asyncio.set_event_loop(None)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
