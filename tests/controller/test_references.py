"""Following what prompts refer to, in virtual time: once for each reference, only while anybody refers to it."""

import asyncio
from dataclasses import replace

import pytest

from promptrollout.cluster.errors import Unavailable
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey
from promptrollout.controller.references import Answer, ConfigMapReference, References
from promptrollout.registries import (
    Fetched,
    NoSuchPromptError,
    RegistryReference,
    RegistryUnavailableError,
)

A, B = ObjectKey("shop", "a"), ObjectKey("shop", "b")
TEXTS = ConfigMapReference(ObjectKey("shop", "texts"))
VERSION = RegistryReference("prompts", "support", version="1")
ALIAS = RegistryReference("prompts", "support", alias="production")

pytestmark = pytest.mark.looptime


class Cluster:
    """One ConfigMap, told as the API server would."""

    def __init__(self):
        self.watches, self.gets, self.broken = 0, 0, False
        self._changes = asyncio.Queue()

    def tell(self, data):
        seen = ConfigMapObject(TEXTS.key, "u1", "1", data) if data is not None else None
        self._changes.put_nowait(seen)

    async def watch_configmap(self, key):
        self.watches += 1
        if self.broken:
            raise Unavailable("watch", "away")
        while True:
            yield await self._changes.get()

    async def get_configmap(self, key):
        self.gets += 1
        return ConfigMapObject(key, "u1", "1", {"k": "polled"})


class Registry:
    """Answers what it is told to."""

    poll_interval = 60.0

    def __init__(self):
        self.answer, self.asked, self.closed = Fetched("1", {"text": "one"}), 0, False

    async def fetch(self, reference):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self):
        self.closed = True


@pytest.fixture
async def world():
    cluster, registry, told = Cluster(), Registry(), []
    references = References(cluster, {"prompts": registry}, told.append)
    yield references, cluster, registry, told
    await references.close()
    assert registry.closed


async def test_a_config_map_is_watched_once_for_all_and_its_change_told_to_all(world):
    references, cluster, _, told = world
    cluster.tell({"k": "one"})
    assert await references.first(A, TEXTS) == Answer(content={"k": "one"})
    assert references.follow(B, TEXTS) == Answer(content={"k": "one"})
    told.clear()
    cluster.tell({"k": "two"})
    await asyncio.sleep(1)
    assert (sorted(told), cluster.watches) == ([A, B], 1)


async def test_the_same_content_again_is_no_news(world):
    references, cluster, _, told = world
    cluster.tell({"k": "one"})
    await references.first(A, TEXTS)
    told.clear()
    cluster.tell({"k": "one"})
    await asyncio.sleep(1)
    assert told == []


async def test_an_absent_config_map_is_an_answer(world):
    references, cluster, _, _ = world
    cluster.tell(None)
    assert (await references.first(A, TEXTS)).problem == "does not exist"


async def test_what_nobody_refers_to_any_more_is_followed_no_longer(world):
    references, cluster, _, told = world
    cluster.tell({"k": "one"})
    await references.first(A, TEXTS)
    references.follow(B, TEXTS)
    references.leave(A)
    assert references.followed == 1
    references.follow(B, VERSION)
    assert references.followed == 1
    await asyncio.sleep(1)
    told.clear()
    cluster.tell({"k": "two"})
    await asyncio.sleep(1)
    assert told == []


async def test_a_rollout_may_refer_to_several_and_hears_once_of_what_it_names_twice(world):
    references, cluster, _, told = world
    cluster.tell({"k": "one"})
    await references.first(A, TEXTS)
    await references.first(A, TEXTS, "warm")
    references.follow(A, VERSION, "terse")
    assert references.followed == 2
    await asyncio.sleep(1)
    told.clear()
    cluster.tell({"k": "two"})
    await asyncio.sleep(1)
    assert told == [A]
    references.leave(A, {"warm"})
    assert references.followed == 1
    references.leave(A)
    assert references.followed == 0


async def test_a_watch_that_breaks_is_begun_anew_and_what_was_known_stands(world):
    references, cluster, _, _ = world
    cluster.broken = True
    assert await references.first(A, TEXTS) is None, "not longer than a turn may wait"
    cluster.broken = False
    cluster.tell({"k": "one"})
    await asyncio.sleep(60)
    assert references.follow(A, TEXTS) == Answer(content={"k": "one"})


async def test_more_config_maps_than_connections_are_looked_at_instead(world, monkeypatch):
    # With its jitter of a fifth, three pauses may take up to 108 s.
    monkeypatch.setattr(
        "promptrollout.controller.references._jitter.uniform", lambda low, high: (low + high) / 2
    )
    _, cluster, _, _ = world
    references = References(cluster, {}, lambda _: None, most_watches=0)
    assert (await references.first(A, TEXTS)).content == {"k": "polled"}
    await asyncio.sleep(
        40
    )  # between 24 and 36 s after the first look comes the second, and 24 s later no third yet
    assert (cluster.watches, cluster.gets) == (0, 2)
    await references.close()


async def test_a_version_is_asked_for_until_it_is_there_and_never_again(world):
    references, _, registry, told = world
    registry.answer = NoSuchPromptError("version 1 does not exist")
    references.follow(A, VERSION)
    await asyncio.sleep(100)
    assert "does not exist" in references.follow(A, VERSION).problem
    registry.answer = Fetched("1", {"text": "one"})
    await asyncio.sleep(100)
    asked = registry.asked
    assert references.follow(A, VERSION) == Answer("1", {"text": "one"})
    await asyncio.sleep(10_000)
    assert registry.asked == asked
    assert told == [A, A]


async def test_an_alias_is_asked_for_at_the_interval_and_an_outage_keeps_what_it_was(world):
    references, _, registry, told = world
    references.follow(A, ALIAS)
    await asyncio.sleep(0.1)
    assert references.follow(A, ALIAS).version == "1"
    await asyncio.sleep(3600)
    assert 50 <= registry.asked <= 76, "once a minute, give or take a fifth"
    assert told == [A], "nothing has moved"
    registry.answer = RegistryUnavailableError("no connection")
    await asyncio.sleep(120)
    assert references.follow(A, ALIAS) == Answer("1", {"text": "one"}, unavailable="no connection")
    assert told == [A, A], "an outage is told once"
    registry.answer = Fetched("2", {"text": "two"})
    await asyncio.sleep(120)
    assert references.follow(A, ALIAS) == Answer("2", {"text": "two"})


async def test_an_outage_is_looked_into_soon_and_then_less_and_less_often(world):
    references, _, registry, _ = world
    registry.answer = RegistryUnavailableError("no connection")
    references.follow(A, ALIAS)
    await asyncio.sleep(10)
    soon = registry.asked
    assert soon >= 3
    await asyncio.sleep(3600)
    assert registry.asked - soon <= 80


async def test_an_error_of_our_own_ends_nothing(world, caplog):
    references, _, registry, _ = world
    registry.answer = ZeroDivisionError("a bug")
    references.follow(A, ALIAS)
    await asyncio.sleep(2)
    assert "an error of the operator" in references.follow(A, ALIAS).unavailable
    registry.answer = Fetched("1", {"text": "one"})
    await asyncio.sleep(120)
    assert replace(references.follow(A, ALIAS), version="") == Answer(content={"text": "one"})
