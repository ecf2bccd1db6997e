"""Counters into counts: per-series deltas in aligned windows. Pure.

Statistics.md, "Reading Prometheus": deltas are taken for each series by itself and summed only afterwards; a value
below the one before is a reset; a series never seen before began at zero. `rate` and `increase` extrapolate and
overlap: with them a harmless candidate is rolled back in up to half of all rollouts.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import NamedTuple

#: Prometheus marks the end of a series by this NaN, which is no value (model/value/value.go, StaleNaN).
STALE_BITS = 0x7FF0000000000002
STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]


class Point(NamedTuple):
    """One sample of one series: Unix time in seconds, value."""

    at: float
    value: float


class NotACounter(ValueError):  # noqa: N818 - says what the series is
    """A sample that no counter can have: NaN, an infinity, or less than zero."""

    def __init__(self, point: Point) -> None:
        super().__init__(f"{point.value} at {point.at:.3f} is no value of a counter")
        self.point = point


def is_stale(value: float) -> bool:
    """Whether this is the staleness marker, not an ordinary NaN."""
    return math.isnan(value) and struct.unpack("<Q", struct.pack("<d", value))[0] == STALE_BITS


def deltas(
    samples: Iterable[Point], previous: Point | None, edges: Sequence[float]
) -> tuple[list[float], Point | None]:
    """By how much one counter grew in each of the windows (edges[i], edges[i+1]], and what to remember.

    `previous` is the last sample that has been counted already (None: the series is new and began at zero). Samples
    at or before it are not counted again, samples after the last edge not yet. A sample at or before the first edge,
    but after `previous`, came late: it has not been counted, so the first window gets it. So over any chain of calls,
    each handing its second result to the next, every sample is counted once.

    Order and repetition of samples do not matter. Staleness markers are skipped. NotACounter for any other
    value that is not a finite number ≥ 0.
    """
    counts = [0.0] * (len(edges) - 1)
    last = previous
    window = 0
    for point in sorted(samples):
        if (
            is_stale(point.value)
            or point.at > edges[-1]
            or (previous is not None and point.at <= previous.at)
        ):
            continue
        if not (math.isfinite(point.value) and point.value >= 0):
            raise NotACounter(point)
        while point.at > edges[window + 1]:
            window += 1
        before = 0.0 if last is None else last.value
        counts[window] += point.value - before if point.value >= before else point.value
        last = point
    return counts, last


def aligned_edges(start: float, end: float, interval: float | None) -> tuple[float, ...]:
    """The edges of the windows in (start, end]: `start`, then every multiple of `interval`, then `end`.

    None is one window. ValueError unless start < end and interval > 0.
    """
    if interval is None and start < end:
        return start, end
    if interval is None or not (start < end and interval > 0):
        raise ValueError(f"no windows of {interval} s fit between {start} and {end}")
    first = math.floor(start / interval) + 1
    last = math.ceil(end / interval)
    inner = (round(k * interval, 3) for k in range(first, last))
    return (start, *(edge for edge in inner if start < edge < end), end)


def series_id(labels: Mapping[str, str], *, named: bool = True) -> bytes:
    """A short identity of a series, from all its labels, in whatever order (a million of them are remembered).

    Without `named` the metric's name does not count.
    """
    names, values = _sorted_names(tuple(labels), named)
    text = "\x1e".join((names, *values(labels)))
    return blake2b(text.encode(), digest_size=12).digest()


@lru_cache(maxsize=4096)
def _sorted_names(given: tuple[str, ...], named: bool) -> tuple[str, Callable[..., tuple[str, ...]]]:  # noqa: FBT001 - a cache key
    """The names of labels as one text, and what takes their values in that order; series of one metric share both."""
    names = sorted(name for name in given if named or name != "__name__")
    # The first name twice: of a single name an itemgetter makes no tuple.
    return "\x1f".join(names), itemgetter(*names, names[0]) if names else _no_values


def _no_values(_: object) -> tuple[str, ...]:
    return ()
