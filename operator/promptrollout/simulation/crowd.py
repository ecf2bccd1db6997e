"""Units (conversations) that come and go: their requests in order of time, for many runs at once.

Units arrive as a Poisson process whose rate follows the traffic, make a geometric number of requests, and keep their
hash bucket and cluster. Requests are made block by block; those that fall behind a block's end wait for the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptrollout.simulation.world import World

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

CLUSTERS = 16
#: Conversations that began so long before the first block are under way in it.
_LEAD_IN = 3600.0


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in order of time: which run, when, and which unit (an index into `Units`); [N] each."""

    run: Places
    at: Array
    unit: Places

    def take(self, which: Places | slice) -> Requests:
        """Some of them."""
        return Requests(self.run[which], self.at[which], self.unit[which])


def until_first(unit: Places, bad: Mask) -> Mask:
    """Which requests, in order of time, come no later than the first bad one of their unit, [N] each."""
    places = np.flatnonzero(bad)
    counted = np.ones(len(unit), dtype=bool)
    if not places.size:
        return counted
    affected, opening = np.unique(unit[places], return_index=True)
    where = np.minimum(np.searchsorted(affected, unit), len(affected) - 1)
    mine = affected[where] == unit
    counted[mine] = np.flatnonzero(mine) <= places[opening[where[mine]]]
    return counted


class Units:
    """What stays the same for a unit: its bucket in [0, 1), its cluster, and its luck, one number for each metric."""

    def __init__(self, metrics: int, arms: int = 2) -> None:
        self.bucket: Array = np.zeros(0)
        self.cluster: Places = np.zeros(0, dtype=np.int64)
        self.luck: Array = np.zeros((0, metrics))
        #: by metric and arm, the exposure in which the unit had its first event (-1: none)
        self.affected: Places = np.zeros((0, metrics, arms), dtype=np.int64)

    def add(self, count: int, rng: np.random.Generator) -> Places:
        """Some new units; returns their indices."""
        first = len(self.bucket)
        self.bucket = np.concatenate([self.bucket, rng.random(count)])
        self.cluster = np.concatenate([self.cluster, rng.integers(0, CLUSTERS, count)])
        self.luck = np.concatenate([self.luck, rng.random((count, self.luck.shape[1]))])
        fresh = np.full((count, *self.affected.shape[1:]), -1, dtype=np.int64)
        self.affected = np.concatenate([self.affected, fresh])
        return np.arange(first, first + count)


class Crowd:
    """All units of some runs."""

    def __init__(
        self, world: World, runs: int, metrics: int, rng: np.random.Generator, arms: int = 2
    ) -> None:
        self._world = world
        self._runs = runs
        self._rng = rng
        self.units = Units(metrics, arms)
        self._begun: float | None = None
        self._waiting = Requests(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))

    def block(self, start: float, end: float) -> Requests:
        """All requests in [start, end), which follows on the block before."""
        begin = start - _LEAD_IN if self._begun is None else start
        self._begun = begin
        made = [self._waiting]
        step = 900.0
        while begin < end:
            until = min(begin + step, end)
            made.append(self._arrive(begin, until))
            begin = until
        everything = Requests(
            *(np.concatenate([getattr(part, name) for part in made]) for name in ("run", "at", "unit"))
        )
        later = everything.at >= end
        self._waiting = everything.take(np.flatnonzero(later))
        now = everything.take(np.flatnonzero(~later & (everything.at >= start)))
        return now.take(np.argsort(now.at, kind="stable"))

    def turns(self, count: int) -> Places:
        """Requests of some new units: geometric."""
        drawn: Places = self._rng.geometric(1.0 / self._world.traffic.requests_per_unit, count)
        return drawn

    def _arrive(self, start: float, end: float) -> Requests:
        """The requests of units that arrive in [start, end), over their whole lives."""
        world, rng = self._world, self._rng
        mean = world.traffic.requests_per_unit
        expected = world.rate((start + end) / 2.0) * (end - start) / mean
        count = int(rng.poisson(expected * self._runs))
        index = self.units.add(count, rng)
        turns = self.turns(count)
        first = rng.uniform(start, end, count)
        total = int(turns.sum())
        owner = np.repeat(np.arange(count), turns)
        gaps = rng.uniform(*world.traffic.pause, total)
        opening = np.concatenate([[0], np.cumsum(turns)[:-1]]) if count else np.zeros(0, dtype=np.int64)
        gaps[opening] = 0.0
        elapsed = np.cumsum(gaps)
        if count:
            elapsed -= np.repeat(elapsed[opening], turns)
        run = rng.integers(0, self._runs, count)
        return Requests(run[owner], first[owner] + elapsed, index[owner])
