"""The metric source for Prometheus and what speaks its API (Thanos, Mimir, VictoriaMetrics).

One query for each family of counters and batch of rollouts, never one for each rollout. Raw samples come from
range selectors in instant queries at the windows' end; deltas are taken here, series by series (`strands`).
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from promptrollout.analysis.counts import History, MetricClusters
from promptrollout.sources.client import PrometheusClient, QueryDone
from promptrollout.sources.clusters import blocks_in, cluster_wants, read_clusters
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.counters import aligned_edges
from promptrollout.sources.families import Family, Want, batches, select
from promptrollout.sources.history import read_history
from promptrollout.sources.loaded import loaded_query, read_loaded
from promptrollout.sources.promql import duration
from promptrollout.sources.protocol import LoadedBy, Problem, Reason, Sample, SourceError, Subject
from promptrollout.sources.responses import Fault
from promptrollout.sources.strands import Memory, Series, Strand
from promptrollout.sources.tally import Owed, Reading, Strands, assemble

#: A replay of many windows reads at most so much at a time.
_CHUNK_SECONDS = 3600.0
_CHUNK_WINDOWS = 120
#: After so many queries of one round without an answer the rest are not asked: the store is down.
_PATIENCE = 3
#: What nobody has asked for in so long is forgotten.
_IDLE = 7200.0


class _Round:
    """One call's patience with a store that does not answer."""

    def __init__(self) -> None:
        self._silent = 0
        self._last: tuple[Reason, str] | None = None

    def check(self) -> None:
        """Fault, as the queries before, if asking on is of no use."""
        if self._last is not None and self._silent >= _PATIENCE:
            raise Fault(*self._last)

    def note(self, fault: Fault | None) -> None:
        """How a query went."""
        if fault is not None and fault.reason in (Reason.UNREACHABLE, Reason.TIMEOUT):
            self._silent, self._last = self._silent + 1, (fault.reason, fault.message)
        else:
            self._silent, self._last = 0, None


class PrometheusSource:
    """A MetricSource. `on_query` is called after each query, for the operator's own metrics."""

    def __init__(self, config: PrometheusConfig, on_query: Callable[[QueryDone], None] | None = None) -> None:
        self._config = config
        self._client = PrometheusClient(config, on_query)
        self._slots = asyncio.Semaphore(config.concurrency)
        #: Windows and blocks of cluster sums are read at different times, and some series for both.
        self._memory, self._blocks = Memory(), Memory()
        self._owed: dict[tuple[str, str, str], tuple[float, Owed]] = {}
        #: How many wants of a family a query may have, learned from answers that were too large.
        self._most: dict[Family, int] = {}

    @property
    def series(self) -> int:
        """How many series are remembered."""
        return len(self._memory) + len(self._blocks)

    async def sample(
        self, subjects: Sequence[Subject], start: float, end: float, interval: float | None = None
    ) -> Mapping[str, Sample]:
        """See MetricSource."""
        try:
            edges = aligned_edges(start, end, interval)
        except ValueError as error:
            wrong = SourceError(Reason.INVALID_QUERY, str(error))
            return {s.key: Sample((), {q.name: wrong for q in s.queries}) for s in subjects}
        round_ = _Round()
        samples: dict[str, Sample] = {}
        going = [Reading.of(subject) for subject in subjects]
        for chunk in _chunks(edges):
            found = await self._sample_chunk(going, chunk, round_)
            samples = {**samples, **{key: _joined(samples.get(key), new) for key, new in found.items()}}
            going = [r for r in going if found[r.subject.key].windows]
            if not going:
                break
        self._forget(end)
        return samples

    async def _sample_chunk(
        self, readings: Sequence[Reading], edges: Sequence[float], round_: _Round
    ) -> dict[str, Sample]:
        wants = {want for reading in readings for want in reading.wants()}
        strands, clusters = await asyncio.gather(
            self._read_all(wants, edges, round_, self._memory), self._clusters(readings, edges, round_)
        )
        return {
            r.subject.key: self._assemble(r, edges, strands, clusters.get(r.subject.key)) for r in readings
        }

    def _assemble(
        self,
        reading: Reading,
        edges: Sequence[float],
        strands: Strands,
        clusters: Mapping[tuple[int, str], MetricClusters] | None,
    ) -> Sample:
        """The windows, with what the windows before left over (nothing, if another question came between)."""
        subject = reading.subject
        key = (subject.key, subject.candidate, subject.stable)
        through, left = self._owed.get(key, (edges[0], {}))
        owed = dict(left) if through == edges[0] else {}
        sample = assemble(reading, edges, strands, owed, clusters)
        if sample.windows:
            self._owed[key] = (edges[-1], owed)
        return sample

    async def _clusters(
        self, readings: Sequence[Reading], edges: Sequence[float], round_: _Round
    ) -> dict[str, dict[tuple[int, str], MetricClusters]]:
        """Sums by cluster, by subject, of the blocks that end in these windows. Without them the analysis assumes."""
        found: dict[str, dict[tuple[int, str], MetricClusters]] = {}
        for block in blocks_in(readings, edges):
            wants = {w for reading in block.readings for w in cluster_wants(reading)}
            strands = await self._read_all(wants, (block.start, block.end), round_, self._blocks)
            for reading in block.readings:
                for name, sums in read_clusters(reading, strands, (block.start, block.end)).items():
                    found.setdefault(reading.subject.key, {})[block.window, name] = sums
        return found

    async def _read_all(
        self, wants: Iterable[Want], edges: Sequence[float], round_: _Round, memory: Memory
    ) -> dict[Want, Strand | SourceError]:
        by_family: dict[Family, list[Want]] = {}
        for want in wants:
            by_family.setdefault(want.family, []).append(want)
        tasks = [
            self._read_batch(batch, edges, round_, memory)
            for family, some in by_family.items()
            for batch in batches(some, self._most.get(family, self._config.batch), self._config.longest_query)
        ]
        strands: dict[Want, Strand | SourceError] = {}
        for answer in await asyncio.gather(*tasks):
            strands.update(answer)
        return strands

    async def _read_batch(
        self, wants: list[Want], edges: Sequence[float], round_: _Round, memory: Memory
    ) -> dict[Want, Strand | SourceError]:
        try:
            return await self._read(wants, edges, round_, memory)
        except Fault as fault:
            if fault.reason is Reason.TOO_LARGE and (len(wants) > 1 or len(edges) > 2):
                if len(edges) == 2:  # a replay's answers are larger; they say nothing of the usual ones
                    self._most[wants[0].family] = max(1, len(wants) // 2)
                return await self._read_halves(wants, edges, round_, memory)
            return dict.fromkeys(wants, SourceError(fault.reason, fault.message))

    async def _read_halves(
        self, wants: list[Want], edges: Sequence[float], round_: _Round, memory: Memory
    ) -> dict[Want, Strand | SourceError]:
        """Half of the rollouts at a time; of one rollout, half of the windows."""
        if len(wants) > 1:
            middle = len(wants) // 2
            first = await self._read_batch(wants[:middle], edges, round_, memory)
            return {**first, **await self._read_batch(wants[middle:], edges, round_, memory)}
        (want,) = wants
        middle = len(edges) // 2
        early = (await self._read_batch(wants, edges[: middle + 1], round_, memory))[want]
        if isinstance(early, SourceError):
            return {want: early}
        late = (await self._read_batch(wants, edges[middle:], round_, memory))[want]
        return {want: late if isinstance(late, SourceError) else early.then(late)}

    async def _read(
        self, wants: list[Want], edges: Sequence[float], round_: _Round, memory: Memory
    ) -> dict[Want, Strand | SourceError]:
        """One query, and before it one for what is not remembered."""
        start, end = edges[0], edges[-1]
        broken: dict[Want, SourceError] = {}
        new = [want for want in wants if not memory.reaches(want, start)]
        if new:
            query = f"last_over_time({select(new)}[{duration(self._config.lookback)}])"
            values = await self._ask(query, start, "lookback", round_)
            broken = await self._client.compute(partial(memory.baseline, new, start, values))
        sound = [want for want in wants if want not in broken]
        if not sound:
            return dict(broken)
        span = duration(end - start + self._config.late)
        found = await self._ask(f"{select(sound)}[{span}]", end, "sample", round_)
        return broken | await self._client.compute(partial(memory.follow, sound, edges, found))

    async def _ask(self, query: str, at: float, purpose: str, round_: _Round) -> list[Series]:
        async with self._slots:
            round_.check()
            try:
                found = await self._client.instant(query, at, purpose)
            except Fault as fault:
                round_.note(fault)
                raise
            round_.note(None)
            return found

    async def acknowledgements(
        self, rollouts: Collection[str]
    ) -> Mapping[str, tuple[LoadedBy, ...]] | SourceError:
        """See MetricSource."""
        answer: dict[str, tuple[LoadedBy, ...]] = {}
        wanted = sorted(set(rollouts))
        try:
            for i in range(0, len(wanted), self._config.batch):
                some = wanted[i : i + self._config.batch]
                found = await self._client.instant(loaded_query(some), None, "acknowledge")
                answer.update(read_loaded(found, some))
        except Fault as fault:
            return SourceError(fault.reason, fault.message)
        return answer

    async def history(self, subject: Subject, start: float, end: float) -> Mapping[str, History | Problem]:
        """See MetricSource."""
        return await read_history(Reading.of(subject), self._client, start, end)

    async def close(self) -> None:
        """See MetricSource."""
        await self._client.close()

    def _forget(self, now: float) -> None:
        for memory in (self._memory, self._blocks):
            memory.forget_before(now - _IDLE)
        self._owed = {key: owed for key, owed in self._owed.items() if owed[0] >= now - _IDLE}


def _chunks(edges: Sequence[float]) -> Iterable[Sequence[float]]:
    """The edges in pieces that one query can answer; each piece begins where the one before ended."""
    first = 0
    while first < len(edges) - 1:
        last = first + 1
        while (
            last < len(edges) - 1
            and last - first < _CHUNK_WINDOWS
            and edges[last + 1] - edges[first] <= _CHUNK_SECONDS
        ):
            last += 1
        yield edges[first : last + 1]
        first = last


def _joined(before: Sample | None, new: Sample) -> Sample:
    """Two samples of consecutive windows; that there was no data earlier is no news once there is."""
    if before is None:
        return new
    errors = {name: p for name, p in before.problems.items() if isinstance(p, SourceError)}
    return Sample(before.windows + new.windows, {**errors, **new.problems})
