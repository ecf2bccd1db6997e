"""Sums by hash cluster of units: the analysis learns from them how much requests of one unit resemble each other.

Pure. They are read in blocks of five minutes, not with every window: the analysis adds them up to an hour anyhow,
and they are as many series again as all the rest.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from promptrollout.analysis.counts import ArmClusters, ClusterCounts, MetricClusters
from promptrollout.sources.families import Want, number_in
from promptrollout.sources.presets import ClusterFamilies
from promptrollout.sources.protocol import CANDIDATE, STABLE, MetricQuery, SourceError
from promptrollout.sources.strands import Strand
from promptrollout.sources.tally import Reading, Strands

#: Number of clusters (statistics-correlated.md, "What the SDK exports").
CLUSTERS = 16
BLOCK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of time whose cluster sums come with the window (by position) that it ends in."""

    window: int
    start: float
    end: float
    readings: tuple[Reading, ...]


def blocks_in(readings: Sequence[Reading], edges: Sequence[float]) -> list[Block]:
    """The blocks that end in the windows between `edges`; they follow each other from each comparison's beginning.

    A block ends at a multiple of five minutes, so that a replay finds the same ones.
    """
    found: list[Block] = []
    for i, (start, end) in enumerate(pairwise(edges)):
        last = math.floor(end / BLOCK_SECONDS) * BLOCK_SECONDS
        if last <= start:
            continue
        before = math.floor(start / BLOCK_SECONDS) * BLOCK_SECONDS
        by_start: dict[float, list[Reading]] = {}
        for reading in readings:
            begin = max(before, reading.subject.since)
            if begin < last and any(_families(reading)):
                by_start.setdefault(begin, []).append(reading)
        found += [Block(i, begin, last, tuple(some)) for begin, some in sorted(by_start.items())]
    return found


def cluster_wants(reading: Reading) -> set[Want]:
    """Everything to read for a subject's cluster sums."""
    return {want for query, families, _ in _families(reading) for want in _wants(reading, query, families)}


def read_clusters(
    reading: Reading, strands: Strands, block: tuple[float, float]
) -> dict[str, MetricClusters]:
    """The cluster sums of one block by metric; a metric whose sums could not be read, or that has none, is absent."""
    found: dict[str, dict[bool, ClusterCounts]] = {}
    for query, families, of_units in _families(reading):
        counts = _counts([strands[want] for want in _wants(reading, query, families)], block)
        if counts is not None:
            found.setdefault(query.name, {})[of_units] = counts
    return {name: MetricClusters(forms.get(False), forms.get(True)) for name, forms in found.items()}


def _families(reading: Reading) -> Iterable[tuple[MetricQuery, ClusterFamilies, bool]]:
    for query, preset in reading.presets:
        if query.correlated and preset.clusters:
            yield query, preset.clusters, False
        if query.correlated and preset.unit_clusters:
            yield query, preset.unit_clusters, True


def _wants(reading: Reading, query: MetricQuery, families: ClusterFamilies) -> list[Want]:
    """Requests, sums and, where there are any, squares."""
    parameter = families.parameter or query.score
    parts = [families.requests, families.sums, *([families.squares] if families.squares else [])]
    return [Want.of(family, reading.subject, parameter) for family in parts]


def _counts(strands: Sequence[Strand | SourceError], block: tuple[float, float]) -> ClusterCounts | None:
    whole = [strand for strand in strands if isinstance(strand, Strand) and strand.present]
    if len(whole) < len(strands):
        return None
    requests, sums = _by_cluster(whole[0]), _by_cluster(whole[1])
    if STABLE not in requests:
        return None
    squares = _by_arm(whole[2]) if len(whole) > 2 else {}
    arms = {
        arm: ArmClusters(of_arm, sums.get(arm, (0.0,) * CLUSTERS), squares.get(arm))
        for arm, of_arm in requests.items()
    }
    return ClusterCounts(block[0], block[1], arms[STABLE], arms.get(CANDIDATE))


def _by_cluster(strand: Strand) -> Mapping[str, tuple[float, ...]]:
    found: dict[str, list[list[float]]] = {}
    for track in strand.tracks:
        cluster = number_in(track.labels, "cluster")
        if cluster is not None and cluster < CLUSTERS:
            rows = found.setdefault(track.arm, [[] for _ in range(CLUSTERS)])
            rows[cluster] += track.deltas
    return {arm: tuple(math.fsum(row) for row in rows) for arm, rows in found.items()}


def _by_arm(strand: Strand) -> Mapping[str, float]:
    found: dict[str, list[float]] = {}
    for track in strand.tracks:
        found.setdefault(track.arm, []).extend(track.deltas)
    return {arm: math.fsum(deltas) for arm, deltas in found.items()}
