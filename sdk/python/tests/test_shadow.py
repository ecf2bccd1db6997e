"""Shadow runs: bounded, paired, invisible."""

import asyncio
import threading

import pytest

from promptrollout.delivery import ArmWeight, Shadow
from testkit import NEW, payload

ARM = {"revision": NEW.short, "arm": "shadow", "step": "2"}


@pytest.fixture
def shadowing(mount, rollout):
    def start(sample=10_000, max_concurrent=2, usd_per_hour="1.00"):
        stable = (ArmWeight("stable", payload().arms[1].revision, 10_000),)
        mount.deliver(payload(2, arms=stable, shadow=Shadow(NEW.short, sample, max_concurrent, usd_per_hour)))
        rollout.refresh()
        return rollout

    return start


def join():
    for thread in threading.enumerate():
        if thread.name == "promptrollout-shadow":
            thread.join(20)


def test_the_candidate_runs_beside_and_scores_are_compared_in_pairs(shadowing, value):
    a = shadowing().assign("u")
    seen = []

    def run(candidate, /, *, shadow):
        seen.append((candidate.revision, candidate.render(shop="S"), shadow))
        with candidate.request() as r:
            r.cost(usd=0.01)
        candidate.score("helpfulness", 0.5)

    assert a.shadow(run)
    join()
    a.score("helpfulness", 0.75)
    assert seen == [(NEW.short, [{"role": "system", "content": "New S"}], True)]
    labels = {"revision": NEW.short, "score": "helpfulness"}
    assert value("shadow_difference_count", **labels) == 1
    assert value("shadow_difference_sum", **labels) == -0.25
    assert value("shadow_difference_sumsq", **labels) == 0.0625
    assert (value("shadow_gain_total", **labels), value("shadow_loss_total", **labels)) == (0, 0.25)
    assert value("requests_total", **ARM, outcome="ok") == 1
    assert value("shadow_runs_total", result="done") == 1
    assert value("cluster_requests_total", arm="stable", cluster=str(a.cluster)) == 0


def test_a_score_before_the_shadow_run_is_in_the_pair_too(shadowing, value):
    a = shadowing().assign("u")
    a.score("helpfulness", 0.75)

    def run(candidate, /, *, shadow):
        candidate.score("helpfulness", 0.5)

    assert a.shadow(run)
    join()
    assert value("shadow_difference_count", revision=NEW.short, score="helpfulness") == 1


def test_without_a_shadow_in_the_payload_nothing_runs(rollout):
    assert not rollout.assign("u").shadow(lambda candidate, *, shadow: pytest.fail("ran"))


def test_what_is_not_sampled_does_not_run(shadowing):
    assert not shadowing(sample=0).assign("u").shadow(lambda candidate, *, shadow: pytest.fail("ran"))


def test_more_than_the_allowed_runs_are_dropped_not_queued(shadowing, value):
    rollout, go = shadowing(max_concurrent=1), threading.Event()
    assert rollout.assign("a").shadow(lambda candidate, *, shadow: go.wait(20))
    assert not rollout.assign("b").shadow(lambda candidate, *, shadow: pytest.fail("ran"))
    go.set()
    join()
    assert value("shadow_runs_total", result="busy") == 1
    assert rollout.assign("c").shadow(lambda candidate, *, shadow: None)
    join()


def test_no_run_begins_when_the_hours_budget_is_spent(shadowing, value):
    rollout = shadowing(usd_per_hour="0.02")

    def expensive(candidate, /, *, shadow):
        with candidate.request() as r:
            r.cost(usd=0.03)

    assert rollout.assign("a").shadow(expensive)
    join()
    assert not rollout.assign("b").shadow(expensive)
    assert value("shadow_runs_total", result="over_budget") == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
def test_a_run_that_fails_harms_nobody_and_takes_no_place(shadowing, value, error):
    def fail(candidate, /, *, shadow):
        raise error

    rollout = shadowing(max_concurrent=1)
    for times in (1, 2):
        assert rollout.assign("a").shadow(fail)
        join()
        assert value("shadow_runs_total", result="failed") == times
        assert value("sdk_problems_total", reason="shadow") == times


def test_a_coroutine_runs_as_a_task(shadowing, value):
    rollout = shadowing()

    async def run(candidate, /, *, shadow):
        async with candidate.request():
            pass

    async def scenario():
        assert rollout.assign("a").shadow(run)
        await asyncio.gather(*rollout.shadows._tasks)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(scenario())
    assert value("requests_total", **ARM, outcome="ok") == 1
    assert value("shadow_runs_total", result="done") == 1


def test_a_coroutine_without_a_loop_is_reported(shadowing, value):
    async def run(candidate, /, *, shadow):
        pytest.fail("ran")

    assert not shadowing().assign("a").shadow(run)
    assert value("shadow_runs_total", result="failed") == 1


def test_a_forked_child_has_none_of_its_parents_runs(shadowing):
    started, ended = threading.Event(), threading.Event()

    def run(candidate, /, *, shadow):
        started.set()
        ended.wait(20)

    rollout = shadowing(max_concurrent=1)
    assert rollout.assign("u").shadow(run)
    assert started.wait(20)
    assert not rollout.assign("v").shadow(run)
    rollout.forked()
    assert rollout.assign("v").shadow(run)
    ended.set()
    join()


def test_what_turns_out_to_be_asynchronous_runs_to_its_end(shadowing, value):
    ran = []

    async def run(candidate):
        await asyncio.sleep(0)
        ran.append(candidate.arm)

    assert shadowing().assign("u").shadow(lambda candidate, /, *, shadow: run(candidate))
    join()
    assert ran == ["shadow"]
    assert value("shadow_runs_total", result="done") == 1
