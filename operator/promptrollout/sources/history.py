"""The stable arm's own past, to seed the analysis: its latest requests, and how its clusters varied.

Seeds cost power if they are off, never validity (statistics-sharper.md: "p_hat, m and the Newton accuracy cost power
only"), so values on a grid (range queries) are enough: a reset within a grid step loses a little.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from promptrollout.analysis.counts import Counts, EventCounts, History, MetricClusters
from promptrollout.sources.clusters import cluster_wants, read_clusters
from promptrollout.sources.counters import NotACounter, Point, deltas
from promptrollout.sources.families import Want
from promptrollout.sources.presets import Inconsistent, Part, Preset
from promptrollout.sources.protocol import STABLE, MetricQuery, NoData, Problem, Reason, SourceError
from promptrollout.sources.responses import Fault
from promptrollout.sources.strands import Series, Strand, Track, describe, split
from promptrollout.sources.tally import Reading, cells_of, size

#: So many requests are enough (statistics-sharper.md, "p_hat, mu").
ENOUGH = 5000.0
#: How far back is looked until there are enough, in seconds; in so many grid steps each.
_SPANS = (600.0, 3600.0, 21_600.0, 86_400.0)
_STEPS = 20
_CLUSTER_BLOCK, _CLUSTER_STEP = 3600.0, 900.0


class Ranges(Protocol):
    """What of the client is needed here."""

    async def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """A range query; Fault if it fails."""
        ...


async def read_history(
    reading: Reading, client: Ranges, start: float, end: float
) -> dict[str, History | Problem]:
    """By metric, the stable arm's past in (start, end]; see MetricSource."""
    if not start < end:
        nothing: Problem = SourceError(Reason.INVALID_QUERY, f"no history between {start} and {end}")
        return {query.name: nothing for query in reading.subject.queries}
    found: dict[str, History | Problem] = dict(reading.problems)
    clusters = asyncio.ensure_future(_clusters(reading, client, start, end))
    metrics = await asyncio.gather(*(_metric(reading, m, client, (start, end)) for m in reading.presets))
    by_metric = await clusters
    for (query, _), past in zip(reading.presets, metrics, strict=True):
        found[query.name] = past
        if isinstance(past, History):
            found[query.name] = replace(past, clusters=tuple(by_metric.get(query.name, ())))
    return found


async def _metric(
    reading: Reading, metric: tuple[MetricQuery, Preset], client: Ranges, span: tuple[float, float]
) -> History | Problem:
    query, preset = metric
    start, end = span
    history: History | Problem = History()
    try:
        for seconds in (*(s for s in _SPANS if s < end - start), end - start):
            edges = _grid(end - seconds, end, seconds / _STEPS)
            counts = await _counts(reading, (query, preset, preset.parts), client, edges)
            if counts is None:
                first = reading.want(query, preset.parts[0])
                history = NoData(first.selector(STABLE), STABLE)
                continue
            units = (
                await _counts(reading, (query, preset, preset.units), client, edges)
                if query.correlated and preset.units
                else None
            )
            history = History(counts, units if isinstance(units, EventCounts) else None)
            if size(counts) >= ENOUGH:
                break
    except Fault as fault:
        return SourceError(fault.reason, fault.message)
    except Inconsistent:
        return History()  # pods of an older release, with other buckets: begin without a seed
    return history


async def _counts(
    reading: Reading,
    wanted: tuple[MetricQuery, Preset, Sequence[Part]],
    client: Ranges,
    edges: Sequence[float],
) -> Counts | None:
    """The stable arm's counts of all exposures together; None if its first part has no series."""
    query, preset, parts = wanted
    wants = [reading.want(query, part) for part in parts]
    strands = await asyncio.gather(*(_strand(want, client, edges) for want in wants))
    if not strands or not strands[0].tracks:
        return None
    cells: dict[str, list[float]] = {}
    for part, strand in zip(parts, strands, strict=True):
        for _, cell, grown in cells_of(part, strand.tracks):
            cells.setdefault(cell, []).append(sum(grown))
    counts = preset.build(cells, query)
    if isinstance(counts, EventCounts):
        return EventCounts(counts.total, min(counts.bad, counts.total))
    return counts


async def _strand(want: Want, client: Ranges, edges: Sequence[float]) -> Strand:
    step = edges[1] - edges[0]
    found = await client.range(want.selector(STABLE), edges[0], edges[-1], step)
    return strand_of(want, found, edges)


def strand_of(want: Want, found: Iterable[Series], edges: Sequence[float]) -> Strand:
    """The stable arm's strand of series whose values are known on a grid that begins at the first edge."""
    tracks: list[Track] = []
    for _, arm, series in split([want], found):
        if arm != STABLE:
            continue
        first = series.points[0] if series.points and series.points[0].at <= edges[0] + 0.001 else None
        previous = Point(max(first.at, edges[0]), first.value) if first else None
        try:
            grown, _ = deltas(series.points, previous, edges)
        except NotACounter as problem:
            raise Fault(Reason.NOT_FINITE, f"{describe(series.labels)}: {problem}") from None
        tracks.append(Track(arm, series.labels, tuple(grown)))
    return Strand(len(edges) - 1, tuple(tracks), frozenset([STABLE] if tracks else []))


async def _clusters(
    reading: Reading, client: Ranges, start: float, end: float
) -> Mapping[str, list[MetricClusters]]:
    """By metric, cluster sums hour by hour, the last block ending at `end`; what cannot be read is left out."""
    hours = int((end - start) / _CLUSTER_BLOCK)
    if not hours:
        return {}
    wants = sorted(cluster_wants(reading), key=lambda w: (w.family.metric, w.parameter))
    edges = _grid(end - hours * _CLUSTER_BLOCK, end, _CLUSTER_STEP)
    answers = await asyncio.gather(*(_strand(w, client, edges) for w in wants), return_exceptions=True)
    strands: dict[Want, Strand | SourceError] = {}
    for want, answer in zip(wants, answers, strict=True):
        if isinstance(answer, Fault):
            strands[want] = SourceError(answer.reason, answer.message)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            strands[want] = answer
    found: dict[str, list[MetricClusters]] = {}
    per_block = round(_CLUSTER_BLOCK / _CLUSTER_STEP)
    for hour in range(hours):
        first, last = hour * per_block, (hour + 1) * per_block
        cut = {w: _cut(s, first, last) if isinstance(s, Strand) else s for w, s in strands.items()}
        for name, sums in read_clusters(reading, cut, (edges[first], edges[last])).items():
            if any(c is not None and sum(c.stable.requests) > 0 for c in (sums.requests, sums.units)):
                found.setdefault(name, []).append(sums)
    return found


def _cut(strand: Strand, first: int, last: int) -> Strand:
    tracks = tuple(Track(t.arm, t.labels, t.deltas[first:last]) for t in strand.tracks)
    return Strand(last - first, tracks, strand.present)


def _grid(start: float, end: float, step: float) -> tuple[float, ...]:
    """Edges `step` apart, counted back from `end`, to the millisecond that the API takes."""
    count = max(1, round((end - start) / step))
    return tuple(round(end - (count - i) * step, 3) for i in range(count + 1))
