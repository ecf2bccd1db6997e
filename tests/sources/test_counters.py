"""Counters into counts: nothing is lost, nothing counted twice."""

import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.sources.counters import (
    STALE,
    NotACounter,
    Point,
    aligned_edges,
    deltas,
    is_stale,
    series_id,
)


@st.composite
def counter_series(draw: st.DrawFn) -> tuple[list[Point], float]:
    """Samples of a real counter with restarts, and how much of it samples can show."""
    steps = draw(
        st.lists(
            st.tuples(st.floats(0.001, 90), st.integers(0, 1000), st.booleans()), min_size=1, max_size=40
        )
    )
    at, value, shown = 0.0, 0.0, 0.0
    points = []
    for wait, growth, restart in steps:
        at += wait
        if restart and growth < value:  # a restart shows only where the value falls
            value = 0.0
        value += growth
        shown += growth
        points.append(Point(at, value))
    return points, shown


def edges_over(points: list[Point], cuts: list[float]) -> list[float]:
    last = points[-1].at
    return sorted({0.0, *(round(c * last, 6) for c in cuts if 0 < c * last < last), last})


CUTS = st.lists(st.floats(0.001, 0.999), max_size=12)


@given(counter_series(), CUTS)
def test_windows_however_cut_sum_to_the_whole(series: tuple[list[Point], float], cuts: list[float]) -> None:
    points, shown = series
    counts, _ = deltas(points, None, edges_over(points, cuts))
    assert math.fsum(counts) == shown


@given(counter_series(), CUTS)
def test_windows_asked_one_by_one_equal_windows_asked_together(
    series: tuple[list[Point], float], cuts: list[float]
) -> None:
    points, _ = series
    edges = edges_over(points, cuts)
    together, _ = deltas(points, None, edges)
    previous, singly = None, []
    for start, end in itertools.pairwise(edges):
        (count,), previous = deltas(points, previous, (start, end))
        singly.append(count)
    assert singly == together


@given(counter_series(), CUTS, st.floats(0, 1))
def test_a_cold_start_counts_the_same_as_one_that_remembers(
    series: tuple[list[Point], float], cuts: list[float], restart_at: float
) -> None:
    points, _ = series
    edges = edges_over(points, cuts)
    start = edges[int(restart_at * (len(edges) - 1))]
    later = [edge for edge in edges if edge >= start]
    if len(later) < 2:
        return
    together, _ = deltas(points, None, edges)
    before = [p for p in points if p.at <= start]
    cold, _ = deltas(points, Point(start, before[-1].value) if before else None, later)
    assert cold == together[len(edges) - len(later) :]


@given(counter_series(), CUTS, st.data())
def test_late_scrapes_are_neither_lost_nor_counted_twice(
    series: tuple[list[Point], float], cuts: list[float], data: st.DataObject
) -> None:
    """A sample that is readable only a window later: nothing falls between the two."""
    points, shown = series
    edges = edges_over(points, cuts)
    late = [data.draw(st.booleans()) for _ in points]
    previous, total = None, 0.0
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        last = i == len(edges) - 2
        readable = [
            p
            for p, is_late in zip(points, late, strict=True)
            if last or not (is_late and start < p.at <= end)
        ]
        (count,), previous = deltas(readable, previous, (start, end))
        total += count
    falls = any(b.value < a.value for a, b in itertools.pairwise(points))
    if falls:  # a restart may hide behind a sample that was not readable: then less is seen, never more
        assert total <= shown
    else:
        assert total == shown


@given(counter_series(), CUTS, st.randoms())
def test_order_and_repetition_of_samples_do_not_matter(
    series: tuple[list[Point], float], cuts: list[float], random: object
) -> None:
    points, _ = series
    edges = edges_over(points, cuts)
    shuffled = points * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis' Random
    assert deltas(shuffled, None, edges) == deltas(points, None, edges)


@given(counter_series(), CUTS, st.floats(0, 1))
def test_staleness_markers_change_nothing(
    series: tuple[list[Point], float], cuts: list[float], where: float
) -> None:
    points, _ = series
    edges = edges_over(points, cuts)
    marked = [*points, Point(where * points[-1].at, STALE)]
    assert deltas(marked, None, edges) == deltas(points, None, edges)


@given(counter_series(), st.sampled_from([math.nan, math.inf, -math.inf, -1.0]), st.floats(0, 1))
def test_what_is_no_count_never_gets_in(series: tuple[list[Point], float], bad: float, where: float) -> None:
    points, _ = series
    end = points[-1].at
    with pytest.raises(NotACounter):
        deltas([*points, Point(max(where * end, 1e-9), bad)], None, (0.0, end))


def test_a_value_below_the_one_before_is_a_restart() -> None:
    points = [Point(10, 100), Point(20, 7), Point(30, 9)]
    assert deltas(points, Point(0, 90), (0, 30)) == ([10 + 7 + 2], Point(30, 9))


def test_a_series_of_a_new_pod_began_at_zero() -> None:
    assert deltas([Point(40, 12)], None, (30, 60)) == ([12.0], Point(40, 12))


def test_a_gap_puts_its_growth_into_the_window_of_the_next_sample() -> None:
    counts, _ = deltas([Point(5, 10), Point(95, 50)], Point(0, 10), (0, 30, 60, 90, 120))
    assert counts == [0, 0, 0, 40]


def test_a_sample_on_the_edge_belongs_to_the_window_it_ends() -> None:
    counts, last = deltas([Point(30, 5), Point(60, 8), Point(61, 9)], Point(0, 0), (0, 30, 60))
    assert counts == [5, 3]
    assert last == Point(60, 8)


def test_a_window_without_samples_keeps_the_memory() -> None:
    assert deltas([], Point(3, 4), (30, 60)) == ([0.0], Point(3, 4))


def test_only_prometheus_own_marker_is_stale() -> None:
    assert is_stale(STALE)
    assert not is_stale(math.nan)
    assert not is_stale(1.0)
    assert struct.pack("<d", STALE) == bytes.fromhex("020000000000f07f")


def test_edges_are_multiples_of_the_interval_between_start_and_end() -> None:
    assert aligned_edges(95, 180, 30) == (95, 120, 150, 180)
    assert aligned_edges(90, 120, 30) == (90, 120)
    assert aligned_edges(90, 91, 30) == (90, 91)
    assert aligned_edges(95, 180, None) == (95, 180)
    assert aligned_edges(1763935200.0, 1763935200.6, 0.2) == (
        1763935200.0,
        1763935200.2,
        1763935200.4,
        1763935200.6,
    )


@given(st.floats(1e9, 2e9), st.floats(0.5, 5000), st.sampled_from([1.0, 5.0, 30.0, 60.0, 0.25]))
def test_edges_ascend_and_cover(start: float, length: float, interval: float) -> None:
    edges = aligned_edges(start, start + length, interval)
    assert (edges[0], edges[-1]) == (start, start + length)
    assert all(a < b <= a + interval + 0.002 for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("start", "end", "interval"), [(5, 5, 1), (5, 5, None), (6, 5, 1), (5, 6, 0), (5, 6, -1)]
)
def test_no_windows_without_time(start: float, end: float, interval: float) -> None:
    with pytest.raises(ValueError, match="no windows"):
        aligned_edges(start, end, interval)


def test_a_series_is_the_same_in_any_order_of_labels() -> None:
    assert series_id({"a": "1", "b": "2"}) == series_id({"b": "2", "a": "1"})


LABELS = st.dictionaries(
    st.sampled_from(["a", "b", "ab", "__name__"]), st.text(alphabet="ab\x1f", max_size=3)
)


@given(LABELS, LABELS)
def test_other_labels_are_another_series(one: dict[str, str], other: dict[str, str]) -> None:
    assert (series_id(one) == series_id(other)) == (one == other)
    nameless = [{k: v for k, v in labels.items() if k != "__name__"} for labels in (one, other)]
    assert (series_id(one, named=False) == series_id(other, named=False)) == (nameless[0] == nameless[1])
