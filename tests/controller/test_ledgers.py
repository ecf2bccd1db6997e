"""How much of the windows of many trials is kept in memory."""

import itertools
from datetime import UTC, datetime, timedelta

from promptrollout.analysis import EventCounts, Pair, Window
from promptrollout.analysis.ledger import CHUNK_WINDOWS, WINDOWS_LIMIT
from promptrollout.api.spec import Analysis
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.sampler import LEDGERS_BYTES, Followed, Sampler
from promptrollout.rollout import Sampling
from promptrollout.sources.planning import plan_of
from promptrollout.sources.protocol import Sample

NOW = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLANNED = plan_of(Analysis.model_validate({"metrics": [{"name": "errors", "preset": "sdk/errors"}]}))


class Busy:
    """A source with the same count in each window, and no past."""

    async def history(self, subject, start, end):
        return {}

    async def sample(self, subjects, start, end, interval):
        counts = Pair(EventCounts(19.0, 1.0), EventCounts(170.0, 3.0))
        edges = itertools.pairwise(range(int(start), int(end) + 1, int(interval)))
        windows = tuple(Window(float(a), float(b), 1, 1000, {"errors": counts}) for a, b in edges)
        return {subject.key: Sample(windows) for subject in subjects}


def following(rollouts, news=lambda _key, _said: None, windows=0):
    now = NOW + MINUTE * windows
    sampler = Sampler({"default": Busy()}, news, lambda: now, 0.0)
    for number in range(rollouts):
        sampling = Sampling(("bbbb", 1), "bbbb", "aaaa", 1, 1000, NOW, MINUTE, timedelta(0))
        sampler.follow(ObjectKey("shop", str(number)), "default", [Followed(sampling)], PLANNED)
    return sampler


async def test_many_trials_share_the_memory_for_their_windows(monkeypatch):
    assert following(50)._share == WINDOWS_LIMIT
    assert 0 < 2000 * following(2000)._share <= LEDGERS_BYTES
    monkeypatch.setattr("promptrollout.controller.sampler.LEDGERS_BYTES", 20_000)
    kept = {}
    windows = 8 * CHUNK_WINDOWS
    for rollouts in (1, 2):
        sampler = following(rollouts, lambda key, said: kept.update({key: said.ledger}), windows)
        sessions = [s for pairs in sampler._sessions.values() for s in pairs.values()]
        for start in range(0, windows, CHUNK_WINDOWS // 2):
            begin = NOW + MINUTE * start
            await sampler._read(sessions, begin.timestamp(), (begin + MINUTE * CHUNK_WINDOWS / 2).timestamp())
        assert sum(ledger.size for ledger in kept.values()) <= 20_000
    assert kept[ObjectKey("shop", "0")].dropped
