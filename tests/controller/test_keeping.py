"""Keeping evidence: written after all else, once for each decision, tried again, and trimmed when nothing names it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from promptrollout.analysis import Evidence, assess, events_metric, fold
from promptrollout.analysis.keeping import read, replay
from promptrollout.analysis.ledger import Ledger
from promptrollout.analysis.plan import AnalysisPlan
from promptrollout.api.status import DecisionRecord
from promptrollout.cluster.errors import AlreadyExists, Unavailable
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.controller import keeping
from promptrollout.controller.keeping import Job, Keeper, evidence_name
from promptrollout.rollout import Comparison
from tests.analysis.builders import events, window
from tests.controller.conftest import until

PLAN = AnalysisPlan((events_metric("errors"),))
OWNER = RolloutObject(ObjectKey("shop", "support"), "uid-1", 1, "1", {}, {}, kind="PromptRollout")
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Stored:
    """The ConfigMaps of a cluster; `failures` are raised first."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.maps = {}
        self.events = []

    async def create_configmap(self, content):
        if self.failures:
            raise self.failures.pop(0)
        if content.key in self.maps:
            raise AlreadyExists("create", "is there")
        owners = (content.owner,)
        stored = ConfigMapObject(
            content.key, "u", "1", content.data, content.labels, {}, owners, content.immutable
        )
        self.maps[content.key] = stored
        return stored

    async def get_configmap(self, key):
        return self.maps.get(key)

    async def list_configmaps(self, namespace, labels, *, contents=True):
        assert not contents, "evidence is large: only its metadata may travel"
        for one in list(self.maps.values()):
            if labels.items() <= one.labels.items():
                yield replace(one, data={})

    async def delete_configmap(self, observed):
        del self.maps[observed.key]

    def tell(self, owner, note):
        self.events.append(note.reason)


def comparison(count=5):
    windows = [window(i, {"errors": events((30, 20), (60, 1))}) for i in range(count)]
    start = Evidence.initial(PLAN)
    after = fold(PLAN, start, windows)
    ledger = Ledger.begin(PLAN, start).plus(windows, after)
    verdict = assess(PLAN, after).verdict
    return Comparison(("bbbb", 1), verdict, START, START, ledger=ledger, state=after)


def record(kind="Step", minute=0):
    return DecisionRecord(
        revision="bbbb", kind=kind, at=START + timedelta(minutes=minute), verdict="Inconclusive"
    )


@asynccontextmanager
async def working(cluster):
    told = []
    keeper = Keeper(cluster, cluster.tell, lambda key, kept: told.append(kept), "1.2.3")
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_is_told_only_when_it_exists_and_can_be_replayed():
    cluster = Stored()
    async with working(cluster) as (keeper, told):
        keeper.keep(Job(OWNER, "aaaa", (record(),), comparison()))
        assert not told
        await until(lambda: told, "the evidence")
    (stored,) = cluster.maps.values()
    assert (stored.key.name, stored.immutable) == (told[0].name, True)
    assert told[0].decided_at == {START}
    assert stored.controlled_by("uid-1")
    kept = read(stored.data, {})
    assert kept.about["operator"] == "1.2.3"
    assert replay(kept)[0].identical


async def test_later_evidence_holds_earlier_decisions_of_the_trial():
    cluster = Stored()
    async with working(cluster) as (keeper, told):
        keeper.keep(Job(OWNER, "aaaa", (record(),), comparison()))
        keeper.keep(Job(OWNER, "aaaa", (record("RolledBack", 1),), comparison(7)))
        await until(lambda: len(told) == 2, "the evidence")
        assert told[1].decided_at == {START, START + timedelta(minutes=1)}
        # Until the status has been told of both, neither goes, whatever it names now.
        keeper.keep(Job(OWNER, named=frozenset()))
        await asyncio.sleep(0.1)
        assert len(cluster.maps) == 2
        keeper.answered(OWNER.key, frozenset(kept.name for kept in told))
        keeper.keep(Job(OWNER, named=frozenset({told[1].name})))
        await until(lambda: len(cluster.maps) == 1, "the evidence")
    assert next(iter(cluster.maps)).name == told[1].name


async def test_the_same_decision_written_again_is_no_second_one():
    cluster = Stored()
    async with working(cluster) as (keeper, told):
        for _ in range(2):
            keeper.keep(Job(OWNER, "aaaa", (record(),), comparison()))
        await until(lambda: len(told) == 2, "the evidence")
    assert len(cluster.maps) == 1


async def test_a_failed_write_is_tried_again_and_nobody_waits_for_it(monkeypatch):
    monkeypatch.setattr(keeping, "_AGAIN_S", (0.01, 0.01, 0.01))
    cluster = Stored(Unavailable("create", "down"), Unavailable("create", "down"))
    async with working(cluster) as (keeper, told):
        keeper.keep(Job(OWNER, "aaaa", (record(),), comparison()))
        await until(lambda: told, "the evidence")
    assert cluster.events == []


async def test_what_can_not_be_kept_is_said_and_never_named(monkeypatch):
    monkeypatch.setattr(keeping, "_AGAIN_S", (0.01, 0.01, 0.01))
    cluster = Stored(*(Unavailable("create", "down") for _ in range(9)))
    async with working(cluster) as (keeper, told):
        keeper.keep(Job(OWNER, "aaaa", (record(),), comparison()))
        await until(lambda: cluster.events, "the event")
        assert told == []
    assert cluster.events == ["EvidenceNotKept"]


def test_the_name_says_whose_it_is_and_differs_by_decision():
    names = {evidence_name(OWNER, record(kind, minute)) for kind in ("Step", "Held") for minute in (0, 1)}
    assert len(names) == 4
    assert all(name.startswith("support-ev-") for name in names)
    long = replace(OWNER, key=ObjectKey("shop", "a" * 250))
    assert len(evidence_name(long, record())) <= 253
