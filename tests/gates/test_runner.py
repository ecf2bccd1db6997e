"""The runner: one task a run, started once, ended when nobody waits."""

import asyncio

import pytest

from promptrollout.gates import GateRunner
from promptrollout.gates.protocol import GateError
from promptrollout.rollout import GateAnswer

GATE = {"webhook": {"name": "risk"}}


class Kind:
    """Answers when it is told to."""

    def __init__(self):
        self.started, self.ended = [], []
        self.answer = asyncio.Event()
        self.failures = []

    async def run(self, run, tell):
        self.started.append(run.id)
        tell(GateAnswer(message="runs"))
        if self.failures:
            raise self.failures.pop(0)
        await self.answer.wait()
        return GateAnswer("Passed")

    async def end(self, run):
        self.ended.append(run.id)

    async def close(self):
        pass


@pytest.fixture
async def runner():
    kind, news = Kind(), asyncio.Event()
    made = GateRunner({"webhook": kind}, lambda _: news.set())

    async def told(key, id_, result="Passed"):
        async with asyncio.timeout(5):
            while (said := made.answers(key).get(id_)) is None or said.result != result:
                news.clear()
                await news.wait()
        return said

    yield made, kind, told
    await made.close()


async def test_a_run_is_started_once_however_often_it_is_wanted(runner, run_of):
    made, kind, told = runner
    run = run_of(GATE)
    for _ in range(3):
        made.follow(run.key, [run])
        await told(run.key, run.id, "")
    assert kind.started == [run.id]
    kind.answer.set()
    await told(run.key, run.id)
    made.follow(run.key, [run])
    assert kind.started == [run.id]
    assert kind.ended == []


async def test_what_is_no_longer_wanted_is_ended(runner, run_of):
    made, kind, told = runner
    one, other = run_of(GATE, "1"), run_of(GATE, "2")
    made.follow(one.key, [one])
    await told(one.key, "1", "")
    made.follow(one.key, [other])
    await told(one.key, "2", "")
    assert kind.ended == ["1"]
    assert "1" not in made.answers(one.key)


async def test_what_has_answered_is_not_ended(runner, run_of):
    made, kind, told = runner
    run = run_of(GATE)
    kind.answer.set()
    made.follow(run.key, [run])
    await told(run.key, run.id)
    made.follow(run.key, [])
    await asyncio.sleep(0)
    assert kind.ended == []
    assert made.running == 0


async def test_a_gate_that_cannot_succeed_has_failed(runner, run_of):
    made, kind, told = runner
    kind.failures = [GateError("no such webhook")]
    run = run_of(GATE)
    made.follow(run.key, [run])
    assert (await told(run.key, run.id, "Failed")).message == "no such webhook"


async def test_any_other_error_is_tried_again_and_told(runner, run_of):
    made, kind, told = runner
    kind.failures = [OSError("the API server is away")]
    kind.answer.set()
    run = run_of(GATE)
    made.follow(run.key, [run])
    await told(run.key, run.id)
    assert kind.started == [run.id, run.id]


async def test_a_rollout_that_is_gone_leaves_nothing_behind(runner, run_of):
    made, _kind, told = runner
    run = run_of(GATE)
    made.follow(run.key, [run])
    await told(run.key, run.id, "")
    made.leave(run.key)
    assert (made.running, made.answers(run.key)) == (0, {})
