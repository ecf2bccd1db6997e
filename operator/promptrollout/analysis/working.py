"""One rollout while its windows are folded, and the way from counts to rows and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptrollout.analysis.counts import ArmRequests, Pair, Window
from promptrollout.analysis.evidence import FLOAT, Evidence, Problem, ProblemCode
from promptrollout.analysis.kinds import Kind, kind_of
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.plan import AnalysisPlan, MetricPlan
from promptrollout.analysis.sampleratio import FULL_WEIGHT, RatioCounts

#: Problems kept of one call, per rollout.
_MOST_PROBLEMS = 16
#: What reading counts raises where something in them is no number.
UNREADABLE = (TypeError, AttributeError, ValueError, OverflowError, struct.error)
#: Times are floats: this many seconds of overlap are rounding.
_TIME_SLACK = 1e-6


class Working:
    """One rollout while its windows are folded."""

    __slots__ = (
        "base",
        "blocks",
        "compiled",
        "exposure",
        "first_start",
        "harmed",
        "incomplete",
        "last_end",
        "late",
        "plan",
        "problems",
        "ratio",
        "rejected",
        "rows",
        "threshold",
        "windows",
        "windows_counted",
    )

    def __init__(self, plan: AnalysisPlan, evidence: Evidence, windows: Sequence[Window]) -> None:
        self.plan = plan
        self.base = evidence.aligned(plan)
        self.compiled = _compiled(plan)
        base = self.base
        self.rows = list(base.rows)
        self.blocks = base.blocks
        self.late = base.late
        self.ratio = base.ratio
        self.first_start, self.last_end = base.first_start, base.last_end
        self.exposure = base.exposure
        self.windows_counted, self.rejected = base.windows, base.rejected
        self.harmed = base.harmed
        self.problems: list[Problem] = []
        #: whether a metric is without new counts in the window at hand
        self.incomplete = False
        self.threshold = plan.harm_threshold
        # Popped from the end.
        self.windows = _ordered(windows)

    def next_window(self) -> Window | None:
        """The next window that counts, or None if this one does not."""
        window = self.windows.pop()
        if (wrong := _wrong_window(window)) is not None:
            self.reject(ProblemCode.InvalidWindow, wrong)
            return None
        if self.last_end is not None:
            if window.end <= self.last_end + _TIME_SLACK:
                return None
            if window.start < self.last_end - _TIME_SLACK:
                message = f"window starts at {window.start}, before the last one ended at {self.last_end}"
                self.reject(ProblemCode.OverlappingWindow, message, None, window.end)
                return None
        self.last_end = window.end
        if self.first_start is None and window.weight > 0:
            self.first_start = window.start
        warm = self.first_start is None or window.start >= self.first_start + self.plan.warm_up
        if not warm:
            return None
        self.windows_counted += 1
        self.incomplete = False
        self.exposure = window.exposure
        self._count_requests(window)
        return window

    def _count_requests(self, window: Window) -> None:
        requests = window.requests
        if requests is None:
            return
        if not _sound_requests(requests):
            message = f"requests per arm must be finite and not negative, got {requests}"
            self.reject(ProblemCode.InvalidCounts, message, None, window.end)
            return
        ratio = self.ratio
        if ratio is None or (ratio.exposure, ratio.weight) != (window.exposure, window.weight):
            ratio = RatioCounts(window.exposure, window.weight)
        self.ratio = ratio.plus(requests)

    def reject(
        self, code: ProblemCode, message: str, metric: str | None = None, end: float | None = None
    ) -> None:
        """Note something that is left out."""
        self.rejected += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(code, message, metric, end))

    def result(self) -> Evidence:
        """The evidence after all windows."""
        base = self.base
        return Evidence(
            base.fingerprints,
            tuple(self.rows),
            self.blocks,
            self.late,
            self.ratio,
            self.first_start,
            self.last_end,
            self.exposure,
            self.windows_counted,
            self.rejected,
            self.harmed,
            tuple(self.problems),
        )


def _ordered(windows: Sequence[Window]) -> list[Window]:
    """Latest first, so that the next one is popped from the end; windows without times come first of all."""
    if len(windows) < 2:
        return list(windows)
    return sorted(windows, key=lambda w: w.end if is_number(w.end) else -math.inf, reverse=True)


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    try:
        return isinstance(value, (float, int)) and math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


def _wrong_window(window: Window) -> str | None:
    """What is wrong with a window's own fields, None if nothing is."""
    start, end = window.start, window.end
    if not (is_number(start) and is_number(end) and start < end):
        return f"window times must be finite and ascending, got {window.start} to {window.end}"
    if not (isinstance(window.exposure, int) and 0 <= window.exposure < 2**53):
        return (
            f"window at {window.start}: exposure must be a whole number of at least 0, got {window.exposure}"
        )
    if not (isinstance(window.weight, int) and 0 <= window.weight <= FULL_WEIGHT):
        return f"window at {window.start}: weight must be a whole number from 0 to 10000, got {window.weight}"
    return None


def _sound_requests(requests: ArmRequests) -> bool:
    candidate, stable, clusters = requests.candidate, requests.stable, requests.clusters
    if not (is_number(candidate) and is_number(stable) and candidate >= 0.0 and stable >= 0.0):
        return False
    if clusters is None:
        return True
    return len(clusters[0]) == len(clusters[1]) and all(_is_count(n) for arm in clusters for n in arm)


def _is_count(value: object) -> bool:
    return is_number(value) and value >= 0.0  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What folding needs of a metric: its kind, its packed margins, and with which others it is folded."""

    metric: MetricPlan
    name: str
    kind: Kind
    params: bytes
    group: tuple[Kind, bool]


#: By the plan's fingerprints: plans are rebuilt often, metrics rarely change.
_COMPILED: dict[tuple[str, ...], tuple[Compiled, ...]] = {}
_COMPILED_LIMIT = 20_000


def _compiled(plan: AnalysisPlan) -> tuple[Compiled, ...]:
    """Each metric, compiled."""
    found = _COMPILED.get(plan.fingerprints)
    if found is None:
        if len(_COMPILED) >= _COMPILED_LIMIT:
            _COMPILED.clear()
        found = tuple(_compile(metric) for metric in plan.metrics)
        _COMPILED[plan.fingerprints] = found
    return found


def _compile(metric: MetricPlan) -> Compiled:
    kind = kind_of(metric)
    params = np.array(kind.params(metric), dtype=FLOAT).tobytes()
    return Compiled(metric, metric.name, kind, params, (kind, metric.higher_is_better))


def stack(rows: Sequence[bytes]) -> Array:
    """Packed rows as one writable array [B, size]."""
    flat = np.frombuffer(bytearray().join(rows), dtype=FLOAT)
    return flat.reshape(len(rows), -1)


def unstack(rows: Array) -> list[bytes]:
    """Rows of an array, packed."""
    flat = np.ascontiguousarray(rows, dtype=FLOAT).data.cast("B")
    size = rows.shape[1] * FLOAT.itemsize
    return [flat[i : i + size].tobytes() for i in range(0, len(flat), size)]


def reject_counts(w: Working, position: int, end: float, what: str) -> None:
    """Leave a metric's counts of a window out, and say so."""
    name = w.plan.metrics[position].name
    w.incomplete = True
    w.reject(ProblemCode.InvalidCounts, f"counts of {name} {what}: left out", name, end)


def read(w: Working, position: int, pair: Pair, end: float) -> bytes | None:
    """A pair's counts as packed columns, or None after noting what is wrong with their shape."""
    compiled = w.compiled[position]
    try:
        row = compiled.kind.read(pair, compiled.metric)
    except UNREADABLE:
        row = "are no numbers"
    if isinstance(row, bytes):
        return row
    reject_counts(w, position, end, row)
    return None
