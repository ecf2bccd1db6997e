"""From strands of series to the windows that the analysis takes. Pure."""

import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

from promptrollout.analysis.counts import (
    ArmRequests,
    Counts,
    EventCounts,
    HistogramCounts,
    LateCounts,
    MetricClusters,
    Pair,
    PairedCounts,
    ScoreCounts,
    SumCounts,
    Window,
)
from promptrollout.sources.families import Want
from promptrollout.sources.presets import REQUESTS, Build, Cell, Inconsistent, Part, Preset, preset_of, settle
from promptrollout.sources.protocol import (
    CANDIDATE,
    STABLE,
    MetricQuery,
    NoData,
    Problem,
    Reason,
    Sample,
    SourceError,
    Subject,
)
from promptrollout.sources.strands import Strand, Track

#: (window, exposure, arm)
Place = tuple[int, int, str]
#: What counts owe the next window, by metric, form (requests or units), exposure and arm.
Owed = MutableMapping[tuple[str, str, int, str], float]
Strands = Mapping[Want, Strand | SourceError]

_ARMS = (CANDIDATE, STABLE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one subject's metrics need read: each query with its preset, and what is wrong with the others."""

    subject: Subject
    presets: tuple[tuple[MetricQuery, Preset], ...]
    problems: Mapping[str, Problem]

    @classmethod
    def of(cls, subject: Subject) -> "Reading":
        """Resolve the subject's queries."""
        presets: list[tuple[MetricQuery, Preset]] = []
        problems: dict[str, Problem] = {}
        for query in subject.queries:
            try:
                preset = preset_of(query)
            except ValueError as error:
                problems[query.name] = SourceError(Reason.INVALID_QUERY, str(error))
                continue
            presets.append((query if query.edges else replace(query, edges=preset.edges), preset))
        return cls(subject, tuple(presets), problems)

    def want(self, query: MetricQuery, part: Part) -> Want:
        """What this query wants of one part."""
        return Want.of(part.family, self.subject, part.parameter or query.score)

    @property
    def requests(self) -> Want | None:
        """All requests by arm, if the pods have the SDK."""
        has_sdk = any(query.preset.startswith("sdk/") for query, _ in self.presets)
        return Want.of(REQUESTS.family, self.subject) if has_sdk else None

    def wants(self) -> set[Want]:
        """Everything to read for the windows' counts."""
        found = {self.want(q, part) for q, preset in self.presets for part in _all_parts(q, preset)}
        return found | ({self.requests} if self.requests else set())


def _all_parts(query: MetricQuery, preset: Preset) -> tuple[Part, ...]:
    return preset.parts + (preset.units if query.correlated else ())


@dataclass(slots=True)
class _Metric:
    """One metric's pairs by (window, exposure), or why there are none."""

    pairs: dict[tuple[int, int], Pair] = field(default_factory=dict)
    problem: Problem | None = None


def assemble(
    reading: Reading,
    edges: Sequence[float],
    strands: Strands,
    owed: Owed,
    clusters: Mapping[tuple[int, str], MetricClusters] | None = None,
) -> Sample:
    """One subject's windows between `edges`; `owed` is brought up to date, `clusters` are by (window, metric).

    If no metric could be read there are no windows.
    """
    subject = reading.subject
    problems: dict[str, Problem] = dict(reading.problems)
    metrics: dict[str, _Metric] = {}
    for query, preset in reading.presets:
        metric = _read_metric(reading, (query, preset), strands, len(edges) - 1, owed)
        if metric.problem is not None:
            problems[query.name] = metric.problem
        if not isinstance(metric.problem, SourceError):
            metrics[query.name] = metric
    if subject.queries and not metrics:
        return Sample((), problems)
    requests = _requests(reading, strands, len(edges) - 1)
    windows = tuple(
        Window(
            start=edges[i],
            end=edges[i + 1],
            exposure=subject.exposure,
            weight=subject.weight,
            metrics={
                n: m.pairs[i, subject.exposure]
                for n, m in metrics.items()
                if (i, subject.exposure) in m.pairs
            },
            late=tuple(_late(metrics, i, subject.exposure)),
            requests=requests[i] if requests else None,
            clusters={name: found for (at, name), found in (clusters or {}).items() if at == i},
        )
        for i in range(len(edges) - 1)
    )
    return Sample(windows, problems)


def _read_metric(
    reading: Reading, metric: tuple[MetricQuery, Preset], strands: Strands, windows: int, owed: Owed
) -> _Metric:
    query, preset = metric
    problem = _problem(reading, query, preset, strands)
    if isinstance(problem, SourceError):
        return _Metric(problem=problem)
    if isinstance(problem, NoData) and problem.arm == "both":
        return _Metric(problem=problem)
    try:
        counts = _counts(reading, (query, preset.parts), strands, preset.build)
        units = _counts(reading, (query, preset.units), strands, preset.build) if query.correlated else {}
    except Inconsistent as error:
        return _Metric(problem=SourceError(Reason.INCONSISTENT, f"{query.name}: {error}"))
    if preset.waits:
        counts = _waiting(query.name, counts, windows, owed)
    exposures = {reading.subject.exposure} | {exposure for _, exposure, _ in (*counts, *units)}
    found = _Metric(problem=problem)
    for exposure in sorted(exposures):
        settled = [
            _settled((query.name, form, exposure), values, windows, owed, preset.build({}, query))
            for form, values in (("requests", counts), ("units", units))
        ]
        for i in range(windows):
            (candidate, stable), (unit_c, unit_s) = settled[0][i], settled[1][i]
            paired = bool(query.correlated and preset.units)
            pair = Pair(
                candidate,
                stable,
                candidate_units=unit_c if paired and isinstance(unit_c, EventCounts) else None,
                stable_units=unit_s if paired and isinstance(unit_s, EventCounts) else None,
            )
            if exposure == reading.subject.exposure or not _nothing(pair):
                found.pairs[i, exposure] = pair
    return found


def _waiting(metric: str, counts: Mapping[Place, Counts], windows: int, owed: Owed) -> dict[Place, Counts]:
    """Requests are counted in the window of their exposure's first event, of either arm; from then on in their own.

    So labels that come a day later, for a step that may be over, find the requests that they belong to.
    """
    found = dict(counts)
    for exposure in sorted({exposure for _, exposure, _ in counts}):
        begun = (metric, "begun", exposure, STABLE)
        if begun in owed:
            continue
        totals = {arm: owed.pop((metric, "waiting", exposure, arm), 0.0) for arm in _ARMS}
        for i in range(windows):
            here = {arm: counts.get((i, exposure, arm)) for arm in _ARMS}
            bad = {arm: one.bad if isinstance(one, EventCounts) else 0.0 for arm, one in here.items()}
            for arm, one in here.items():
                totals[arm] += size(one)
                found[i, exposure, arm] = EventCounts(totals[arm] if any(bad.values()) else 0.0, bad[arm])
            if any(bad.values()):
                owed[begun] = 1.0
                break
        else:
            owed.update({(metric, "waiting", exposure, arm): held for arm, held in totals.items()})
    return found


def _settled(
    where: tuple[str, str, int], counts: Mapping[Place, Counts], windows: int, owed: Owed, nothing: Counts
) -> list[tuple[Counts, Counts]]:
    """Both arms' counts of each window in one exposure, excesses carried over."""
    metric, form, exposure = where
    arms: list[list[Counts]] = []
    for arm in _ARMS:
        left = owed.pop((metric, form, exposure, arm), 0.0)
        row: list[Counts] = []
        for i in range(windows):
            counted, left = settle(counts.get((i, exposure, arm), nothing), left)
            row.append(counted)
        if left:
            owed[metric, form, exposure, arm] = left
        arms.append(row)
    return list(zip(*arms, strict=True))


def _counts(
    reading: Reading, wanted: tuple[MetricQuery, Sequence[Part]], strands: Strands, build: Build
) -> dict[Place, Counts]:
    """The counts of each window, exposure and arm that has any series."""
    query, parts = wanted
    cells: dict[Place, dict[Cell, list[float]]] = {}
    for part in parts:
        strand = strands[reading.want(query, part)]
        if isinstance(strand, SourceError):
            continue
        for track, cell, grown in cells_of(part, strand.tracks):
            exposure = part.family.exposure(track.labels)
            at = reading.subject.exposure if exposure is None else exposure
            for i, delta in enumerate(grown):
                cells.setdefault((i, at, track.arm), {}).setdefault(cell, []).append(delta)
    return {place: build(of_place, query) for place, of_place in cells.items()}


def cells_of(part: Part, tracks: Iterable[Track]) -> Iterable[tuple[Track, Cell, tuple[float, ...]]]:
    """Which cell each track feeds, and by how much in each window."""
    for track in tracks:
        for cell in part.cells(track.labels):
            yield track, cell, track.deltas


def _problem(reading: Reading, query: MetricQuery, preset: Preset, strands: Strands) -> Problem | None:
    found = [(part, reading.want(query, part)) for part in _all_parts(query, preset)]
    for _, want in found:
        strand = strands[want]
        if isinstance(strand, SourceError):
            return strand
    for place in (0, *preset.anywhere):
        want = found[place][1]
        strand = strands[want]
        present = strand.present if isinstance(strand, Strand) else frozenset()
        missing = [arm for arm in _ARMS if arm not in present and not (preset.one_armed and arm == STABLE)]
        if len(missing) == len(_ARMS):
            return NoData(want.selector(), "both")
        if missing and place == 0:
            return NoData(want.selector(missing[0]), missing[0])
    return None


def _requests(reading: Reading, strands: Strands, windows: int) -> list[ArmRequests] | None:
    """Requests of the exposure in force; None if they could not be read."""
    want = reading.requests
    strand = strands.get(want) if want else None
    if not isinstance(strand, Strand) or not strand.present:
        return None
    sums: dict[str, list[list[float]]] = {arm: [[] for _ in range(windows)] for arm in _ARMS}
    for track in strand.tracks:
        if REQUESTS.family.exposure(track.labels) == reading.subject.exposure:
            for i, delta in enumerate(track.deltas):
                sums[track.arm][i].append(delta)
    return [
        ArmRequests(math.fsum(candidate), math.fsum(stable))
        for candidate, stable in zip(sums[CANDIDATE], sums[STABLE], strict=True)
    ]


def _late(metrics: Mapping[str, _Metric], window: int, exposure: int) -> Iterable[LateCounts]:
    for name in sorted(metrics):
        for (i, other), pair in sorted(metrics[name].pairs.items()):
            if i == window and other != exposure:
                yield LateCounts(name, other, pair)


def _nothing(pair: Pair) -> bool:
    return not any(size(c) for c in (pair.candidate, pair.stable, pair.candidate_units, pair.stable_units))


def size(counts: Counts | None) -> float:
    """How many samples an arm's counts rest on."""
    match counts:
        case EventCounts():
            return counts.total
        case ScoreCounts() | SumCounts() | PairedCounts():
            return counts.count
        case HistogramCounts():
            return math.fsum(counts.buckets)
    return 0.0
