"""Following series from window to window: what has been counted, and what is new. Pure, but for its memory.

A strand is one want's series over some windows. Between two questions the last counted sample of each series is
remembered, so that nothing is read twice; what is not remembered is read back (`baseline`), so that a restarted
operator counts the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from promptrollout.sources.counters import NotACounter, Point, deltas
from promptrollout.sources.families import Key, Labels, Want
from promptrollout.sources.protocol import Reason, SourceError

#: A series counts as there for so long after its last sample (Prometheus' own look-back).
PRESENT_FOR = 300.0
#: Series without a sample for so long are forgotten.
KEPT_FOR = 86_400.0


@dataclass(frozen=True, slots=True)
class Series:
    """One series as a source answers it: labels and raw samples."""

    labels: Labels
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """By how much one series of an arm grew in each window."""

    arm: str
    labels: Labels
    deltas: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Strand:
    """One want's counts in `windows` windows; `present` names the arms of which any series is there at all."""

    windows: int
    tracks: tuple[Track, ...] = ()
    present: frozenset[str] = frozenset()

    def then(self, later: "Strand") -> "Strand":
        """The windows of both, one after the other."""
        nothing = ((0.0,) * self.windows, (0.0,) * later.windows)
        joined: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, ...]]] = {}
        for place, strand in enumerate((self, later)):
            for track in strand.tracks:
                key = (track.arm, frozenset(track.labels.items()))
                joined.setdefault(key, list(nothing))[place] = track.deltas
        tracks = (Track(arm, dict(labels), (*one, *two)) for (arm, labels), (one, two) in joined.items())
        return Strand(self.windows + later.windows, tuple(tracks), self.present | later.present)


_EVER = (float("-inf"), float("inf"))


@dataclass(slots=True)
class _Remembered:
    through: float
    points: dict[bytes, Point] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)


class Memory:
    """The last counted sample of each series, by want. Not shared between operators, never written down."""

    def __init__(self) -> None:
        self._wants: dict[Want, _Remembered] = {}

    def reaches(self, want: Want, start: float) -> bool:
        """Whether everything up to exactly `start` has been counted, so that the next window can follow."""
        known = self._wants.get(want)
        return known is not None and known.through == start

    def baseline(
        self, wants: Sequence[Want], start: float, values: Iterable[Series]
    ) -> dict[Want, SourceError]:
        """Take up wants at `start`: each series' last value at or before it has been counted already.

        Returns those that cannot be taken up, since one of their series is no counter.
        """
        fresh = {want: _Remembered(start) for want in wants}
        broken: dict[Want, SourceError] = {}
        for want, arm, series in split(wants, values):
            try:
                _, last = deltas(series.points, None, _EVER)
            except NotACounter as problem:
                broken[want] = _not_countable(series, problem)
                continue
            if last is not None:
                fresh[want].points[want.family.identity(series.labels)] = Point(start, last.value)
                fresh[want].seen[arm] = start
        self._wants.update({want: known for want, known in fresh.items() if want not in broken})
        return broken

    def follow(
        self, wants: Sequence[Want], edges: Sequence[float], found: Iterable[Series]
    ) -> dict[Want, Strand | SourceError]:
        """Each want's strand over the windows between `edges`, from series that reach back to the first edge.

        A want with a sample that is no counter's has an error instead: it keeps its memory, so its windows can be
        asked for again; the others are not held up.
        """
        nexts = {want: self._next(want, edges) for want in wants}
        tracks: dict[Want, list[Track]] = {want: [] for want in wants}
        broken: dict[Want, SourceError] = {}
        for want, arm, series in split(wants, found):
            new = nexts[want]
            identity = want.family.identity(series.labels)
            try:
                counts, last = deltas(series.points, self._wants[want].points.get(identity), edges)
            except NotACounter as problem:
                broken[want] = _not_countable(series, problem)
                continue
            if last is None:
                continue
            new.points[identity] = last
            new.seen[arm] = max(last.at, new.seen.get(arm, last.at))
            tracks[want].append(Track(arm, series.labels, tuple(counts)))
        answer: dict[Want, Strand | SourceError] = {}
        for want in wants:
            if want in broken:
                answer[want] = broken[want]
                continue
            self._wants[want] = nexts[want]
            there = frozenset(arm for arm, at in nexts[want].seen.items() if at > edges[0] - PRESENT_FOR)
            answer[want] = Strand(len(edges) - 1, tuple(tracks[want]), there)
        return answer

    def _next(self, want: Want, edges: Sequence[float]) -> _Remembered:
        known = self._wants[want]
        oldest = edges[-1] - KEPT_FOR
        points = {series: point for series, point in known.points.items() if point.at > oldest}
        return _Remembered(edges[-1], points, dict(known.seen))

    def forget_before(self, moment: float) -> None:
        """Drop wants that nobody has asked for since (rollouts that are over)."""
        for want in [w for w, known in list(self._wants.items()) if known.through < moment]:
            del self._wants[want]

    def __len__(self) -> int:
        """How many series are remembered."""
        return sum(len(known.points) for known in list(self._wants.values()))


def split(wants: Sequence[Want], found: Iterable[Series]) -> Iterable[tuple[Want, str, Series]]:
    """Whose each series of a coalesced answer is: (want, arm, series); one may belong to several wants."""
    owners: dict[Key, list[tuple[Want, str]]] = {}
    for want in wants:
        for key, arm in want.owners().items():
            owners.setdefault(key, []).append((want, arm))
    for series in found:
        for want, arm in owners.get(wants[0].family.key(series.labels), ()):
            yield want, arm, series


def _not_countable(series: Series, problem: NotACounter) -> SourceError:
    return SourceError(Reason.NOT_FINITE, f"{describe(series.labels)}: {problem}")


def describe(labels: Mapping[str, str]) -> str:
    """A series for people: `name{label="value",…}`, at most 200 characters."""
    inside = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if k != "__name__")
    text = f"{labels.get('__name__', '')}{{{inside}}}"
    return text if len(text) <= 200 else f"{text[:199]}…"
