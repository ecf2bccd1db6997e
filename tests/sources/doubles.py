"""Builders for the tests of this room: a small world of pods whose counters are scraped."""

from collections.abc import Iterable, Mapping, Sequence

from promptrollout.sources.counters import Point
from promptrollout.sources.families import Want
from promptrollout.sources.protocol import MetricQuery, Sample, SourceError, Subject
from promptrollout.sources.strands import Memory, Series, Strand
from promptrollout.sources.tally import Reading, assemble

ERRORS = MetricQuery("errors", preset="sdk/errors")


def subject(*queries: MetricQuery, key: str = "shop/support", exposure: int = 3, **more: object) -> Subject:
    return Subject(
        key,
        "cccccccccc",
        "ssssssssss",
        exposure,
        500,
        queries or (ERRORS,),
        **more,  # type: ignore[arg-type]
    )


def series(name: str, points: Iterable[tuple[float, float]], **labels: str) -> Series:
    return Series({"__name__": name, **labels}, tuple(Point(at, value) for at, value in points))


def requests(
    revision: str,
    points: Iterable[tuple[float, float]],
    *,
    outcome: str = "ok",
    step: str = "3",
    pod: str = "a",
) -> Series:
    labels = {
        "rollout": "shop/support",
        "revision": revision * 10,
        "step": step,
        "outcome": outcome,
        "pod": pod,
    }
    return series("promptrollout_requests_total", points, **labels)


def strands(
    reading: Reading, edges: Sequence[float], found: Iterable[Series], memory: Memory | None = None
) -> Mapping[Want, Strand | SourceError]:
    """What a store with these series would make of the reading's wants; cold, unless there is a memory."""
    known = memory or Memory()
    everything = list(found)
    answer: dict[Want, Strand | SourceError] = {}
    for want in reading.wants():
        mine = [s for s in everything if not want.family.metric or s.labels["__name__"] == want.family.metric]
        if not known.reaches(want, edges[0]):
            before = [
                Series(s.labels, (max(p for p in s.points if p.at <= edges[0]),))
                for s in mine
                if any(p.at <= edges[0] for p in s.points)
            ]
            known.baseline([want], edges[0], before)
        answer.update(known.follow([want], edges, mine))
    return answer


def sample(
    who: Subject, edges: Sequence[float], found: Iterable[Series], memory: Memory | None = None
) -> Sample:
    reading = Reading.of(who)
    return assemble(reading, edges, strands(reading, edges, found, memory), {})
