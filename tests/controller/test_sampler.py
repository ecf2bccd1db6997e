"""One question for many trials; what is wrong with one of them stops no other, and counts nothing twice."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.analysis import EventCounts, Pair, Window
from promptrollout.api.spec import Analysis
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.sampler import Followed, Sampler
from promptrollout.rollout import Sampling
from promptrollout.sources.planning import plan_of
from promptrollout.sources.protocol import Sample

BEGAN = datetime(2026, 11, 24, 10, tzinfo=UTC)
SAMPLING = Sampling(("b" * 10, 1), "b" * 10, "a" * 10, 3, 5_000, BEGAN, timedelta(seconds=30), timedelta(0))
PLANNED = plan_of(
    Analysis.model_validate(
        {
            "metrics": [{"name": "errors", "preset": "sdk/errors"}],
            "correlation": {"meanRequestsPerUnit": "1"},
        }
    )
)
SOUND, POISON, LAST = (ObjectKey("shop", name) for name in ("sound", "poison", "zebra"))


class Source:
    """Ten requests of each arm in each window; what a rollout that is poisoned gets, is told by `poison`."""

    def __init__(self, poison):
        self._poison = poison
        self.asked = []

    async def history(self, subject, start, end):
        return {}

    async def sample(self, subjects, start, end, step):
        self.asked.append([subject.key for subject in subjects])
        found = {subject.key: Sample((window(start, end),)) for subject in subjects}
        return self._poison(found) if str(POISON) in found else found


def window(start, end):
    pair = Pair(EventCounts(10, 1), EventCounts(10, 0))
    return Window(start, end, 3, 5_000, {"errors": pair})


def it_fails(_):
    raise RuntimeError("a defect of the source")


def same(found):
    return found


def it_is_left_out(found):
    return {key: sample for key, sample in found.items() if key != str(POISON)}


@pytest.mark.parametrize("poison", [it_fails, it_is_left_out])
async def test_what_fails_for_one_trial_is_told_of_that_one_and_the_others_go_on(poison):
    said = {}
    source = await two_windows(poison, said.__setitem__)
    assert (said[SOUND].samples, said[LAST].samples) == (20, 20)
    assert not said[SOUND].unreadable
    assert "the operator fails on them" in said[POISON].unreadable
    assert said[POISON].samples == 0
    assert source.asked[0] == [str(SOUND), str(POISON), str(LAST)]


async def test_what_was_read_before_another_failed_is_not_counted_twice():
    said = {}

    def news(key, comparison):
        if key == POISON and comparison.samples == 10:
            raise RuntimeError("a defect of whoever is told")
        said[key] = comparison

    await two_windows(same, news)
    assert {key: comparison.samples for key, comparison in said.items()} == {SOUND: 20, POISON: 20, LAST: 20}


async def two_windows(poison, news):
    """Three trials over their first two windows."""
    source, now = Source(poison), BEGAN
    sampler = Sampler({"default": source}, news, lambda: now, settle=1.0)
    for key in (SOUND, POISON, LAST):
        sampler.follow(key, "default", [Followed(SAMPLING)], PLANNED)
    for end in (31, 61):
        now = BEGAN + timedelta(seconds=end)
        running = [session for pairs in sampler._sessions.values() for session in pairs.values()]
        await sampler._tick([session for session in running if sampler._due(session) <= now.timestamp()])
    return source


class Hanging(Source):
    async def sample(self, subjects, start, end, step):
        await asyncio.Event().wait()


async def test_a_source_that_hangs_delays_no_trial_that_another_one_tells_of():
    told, often = [], asyncio.Event()

    def news(key, comparison):
        told.append(key)
        if len(told) == 3:
            often.set()

    sources = {"hangs": Hanging(None), "answers": Source(None)}
    sampler = Sampler(sources, news, lambda: datetime.now(UTC), settle=0.0)
    brief = replace(SAMPLING, since=datetime.now(UTC), interval=timedelta(milliseconds=20))
    for key, source in ((LAST, "hangs"), (SOUND, "answers")):
        sampler.follow(key, source, [Followed(brief)], PLANNED)
    running = asyncio.create_task(sampler.run())
    await asyncio.wait_for(often.wait(), 30)
    assert set(told) == {SOUND}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_trial_that_is_given_another_source_under_way_counts_no_window_twice():
    said, now = {}, BEGAN + timedelta(seconds=31)
    answers = asyncio.Event()

    class Late(Source):
        async def sample(self, *asked):
            await answers.wait()
            return await super().sample(*asked)

    sampler = Sampler({"old": Late(same), "new": Source(same)}, said.__setitem__, lambda: now, settle=1.0)
    sampler.follow(SOUND, "old", [Followed(SAMPLING)], PLANNED)
    (session,) = sampler._sessions[SOUND].values()
    late = asyncio.create_task(sampler._tick([session]))
    await asyncio.sleep(0)
    sampler.follow(SOUND, "new", [Followed(SAMPLING)], PLANNED)
    await sampler._tick([session])
    answers.set()
    await late
    assert said[SOUND].samples == 10
