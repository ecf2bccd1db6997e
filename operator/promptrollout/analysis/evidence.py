"""The evidence of one comparison: an immutable value that `fold` advances and a checkpoint carries.

All numbers of a metric are one packed row of little-endian float64 (see kinds/base.py), so that equality of two
pieces of evidence is equality of bits, and thousands of rows join to one array without copying them one by one.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from promptrollout.analysis import dispersion
from promptrollout.analysis.counts import Counts, History
from promptrollout.analysis.dispersion import PHI0_UNITS, Prior
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import HEADER, NOTHING_PENDING, Slot
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.plan import AnalysisPlan, CorrelationBasis, MetricKind, MetricPlan
from promptrollout.analysis.sampleratio import RatioCounts

FLOAT = np.dtype("<f8")
_VERSION = 1


class ProblemCode(StrEnum):
    """Why something handed to `fold` was not counted."""

    InvalidWindow = "InvalidWindow"  #: times or weights that make no sense
    OverlappingWindow = "OverlappingWindow"  #: part of it has been counted already
    InvalidCounts = "InvalidCounts"  #: wrong shape, NaN, infinite, negative, more bad than total
    InvalidClusters = "InvalidClusters"  #: cluster sums that cannot be used
    InvalidCheckpoint = "InvalidCheckpoint"  #: a stored state that cannot be read


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out, in words: which metric (None: the whole window), of which window's end."""

    code: ProblemCode
    message: str
    metric: str | None = None
    window_end: float | None = None


@dataclass(frozen=True, slots=True)
class Harm:
    """The moment at which the guards' mean crossed its threshold: it stays crossed."""

    at: float  #: end of the window, unix seconds
    log_e: float


@dataclass(frozen=True, slots=True)
class LatePending:
    """Counts of an earlier exposure that wait to become a window of their own."""

    position: int
    exposure: int
    phi: float
    phi_units: float
    counts: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """State of one rollout's comparison, aligned with the metrics of the plan it was made for.

    `last_end` is the end of the last window seen, `windows` how many were counted, `rejected` how often counts were
    left out. `problems` are those of the latest call only; they are no part of the evidence.
    """

    fingerprints: tuple[str, ...]
    rows: tuple[bytes, ...]
    blocks: tuple[tuple[bytes, bytes], ...]
    late: tuple[LatePending, ...] = ()
    ratio: RatioCounts | None = None
    first_start: float | None = None
    last_end: float | None = None
    exposure: int | None = None
    windows: int = 0
    rejected: int = 0
    harmed: Harm | None = None
    problems: tuple[Problem, ...] = field(default=(), compare=False)

    @classmethod
    def initial(cls, plan: AnalysisPlan, seed: Mapping[str, Counts | History] | None = None) -> Evidence:
        """Nothing compared yet; `seed` is the stable arm's history by metric name (latest 5,000 requests suffice)."""
        rows, blocks = [], []
        for metric in plan.metrics:
            row, block = _start(metric, (seed or {}).get(metric.name))
            rows.append(row)
            blocks.append(block)
        return cls(plan.fingerprints, tuple(rows), tuple(blocks))

    def array(self, position: int) -> Array:
        """A metric's row as a read-only array."""
        return np.frombuffer(self.rows[position], dtype=FLOAT)

    def aligned(self, plan: AnalysisPlan, seed: Mapping[str, Counts | History] | None = None) -> Evidence:
        """The same evidence for another plan: unchanged metrics keep theirs, new and changed ones start anew."""
        if self.fingerprints == plan.fingerprints:
            return self
        have = {fingerprint: i for i, fingerprint in enumerate(self.fingerprints)}
        new = Evidence.initial(plan, seed)
        rows, blocks, moved = list(new.rows), list(new.blocks), {}
        for i, fingerprint in enumerate(plan.fingerprints):
            if (old := have.get(fingerprint)) is not None:
                rows[i], blocks[i] = self.rows[old], self.blocks[old]
                moved[old] = i
        late = tuple(
            LatePending(moved[p.position], p.exposure, p.phi, p.phi_units, p.counts)
            for p in self.late
            if p.position in moved
        )
        return replace(
            self, fingerprints=plan.fingerprints, rows=tuple(rows), blocks=tuple(blocks), late=late
        )

    def to_checkpoint(self) -> dict[str, object]:
        """A JSON-able copy, exact to the bit; under 2 KB a metric."""
        metrics: dict[str, object] = {}
        for i, fingerprint in enumerate(self.fingerprints):
            parts = (self.rows[i], *self.blocks[i])
            late = [[p.exposure, p.phi, p.phi_units, _pack(p.counts)] for p in self.late if p.position == i]
            metrics[fingerprint] = {
                "lengths": [len(part) for part in parts],
                "data": _pack(b"".join(parts)),
                **({"late": late} if late else {}),
            }
        harmed, ratio = self.harmed, self.ratio
        return {
            "version": _VERSION,
            "firstStart": self.first_start,
            "lastEnd": self.last_end,
            "exposure": self.exposure,
            "windows": self.windows,
            "rejected": self.rejected,
            "harmed": None if harmed is None else [harmed.at, harmed.log_e],
            "ratio": None if ratio is None else _ratio_data(ratio),
            "metrics": metrics,
        }

    @classmethod
    def from_checkpoint(
        cls,
        plan: AnalysisPlan,
        data: Mapping[str, object],
        seed: Mapping[str, Counts | History] | None = None,
    ) -> Evidence:
        """Evidence from a checkpoint, for a plan that may have changed since.

        Metrics are matched by fingerprint; new and changed ones start anew, and so do unreadable ones, with a
        problem. A checkpoint that is none at all gives initial evidence and a problem.
        """
        fresh = cls.initial(plan, seed)
        try:
            return _restore(fresh, plan, data)
        except _UNREADABLE as error:
            problem = Problem(
                ProblemCode.InvalidCheckpoint, f"checkpoint cannot be read ({error}): starting anew"
            )
            return replace(fresh, problems=(problem,))


_UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    OverflowError,
    AttributeError,
    zlib.error,
    binascii.Error,
)


def _start(metric: MetricPlan, seed: Counts | History | None) -> tuple[bytes, tuple[bytes, bytes]]:
    """Row and cluster blocks of a metric before its first window."""
    history = seed if isinstance(seed, History) else History(seed)
    kind = kind_of(metric)
    row = np.zeros(kind.size, dtype=FLOAT)
    row[Slot.EXPOSURE] = NOTHING_PENDING
    row[HEADER + 2 * kind.columns :] = kind.seed(metric, history)
    requests, units = no_blocks = (b"", b"")
    if metric.correlation.basis is CorrelationBasis.Clusters:
        requests = _history_blocks(history, units=False)
        units = _history_blocks(history, units=True) if metric.correlation.units else b""
    row[Slot.PHI] = row[Slot.PENDING_PHI] = design_effect(metric, requests, units=False)
    row[Slot.PHI_UNITS] = row[Slot.PENDING_PHI_UNITS] = design_effect(metric, units, units=True)
    return row.tobytes(), (requests, units) if requests or units else no_blocks


def _history_blocks(history: History, *, units: bool) -> bytes:
    """Cluster sums from before the rollout, block after block; what cannot be read is left out."""
    state: Array | None = None
    for entry in history.clusters:
        counts = entry.units if units else entry.requests
        read = "" if counts is None else dispersion.read(counts)
        if isinstance(read, str):
            continue
        row, clusters = read
        if state is None:
            state = dispersion.fresh(clusters)[None]
        if state.shape[1] == dispersion.width(clusters):
            state = dispersion.absorb(state, row[None])
    return b"" if state is None else state.astype(FLOAT).tobytes()


def prior(metric: MetricPlan, *, units: bool) -> Prior:
    """What is believed about a metric's design effect before its first block."""
    if metric.kind in (MetricKind.Events, MetricKind.Histogram):
        return Prior(PHI0_UNITS if units else metric.correlation.phi)
    return Prior(metric.correlation.phi, dispersion.NU_SCORES, scores=True)


def design_effect(metric: MetricPlan, state: bytes, *, units: bool) -> float:
    """Design effect in force for a metric whose blocks are `state` (empty: none yet)."""
    known = prior(metric, units=units)
    if metric.correlation.basis is not CorrelationBasis.Clusters:
        return metric.correlation.phi
    if not state:
        return known.phi0
    return float(dispersion.design_effect(np.frombuffer(state, dtype=FLOAT)[None], known)[0])


def estimated(state: bytes) -> bool:
    """Whether a metric's cluster blocks (empty: none) have told its design effect: a whole block has closed."""
    return bool(state) and dispersion.learned(np.frombuffer(state, dtype=FLOAT))


def _pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def _unpack(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("packed data must be a string")
    return zlib.decompress(base64.b64decode(text, validate=True))


def _ratio_data(ratio: RatioCounts) -> list[object]:
    clusters = None if ratio.clusters is None else [list(arm) for arm in ratio.clusters]
    return [ratio.exposure, ratio.weight, ratio.candidate, ratio.stable, clusters]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("a finite number was expected")
    return float(value)


def _ratio(value: object) -> RatioCounts | None:
    if value is None:
        return None
    exposure, weight, candidate, stable, clusters = _list(value)
    arms = None
    if clusters is not None:
        first, second = (tuple(_number(n) for n in _list(arm)) for arm in _list(clusters))
        arms = (first, second)
    return RatioCounts(
        int(_number(exposure)), int(_number(weight)), _number(candidate), _number(stable), arms
    )


def _restore(fresh: Evidence, plan: AnalysisPlan, data: Mapping[str, object]) -> Evidence:
    if data["version"] != _VERSION:
        raise ValueError(f"version {data['version']} is not {_VERSION}")
    metrics = data["metrics"]
    if not isinstance(metrics, Mapping):
        raise TypeError("metrics must be an object")
    rows, blocks = list(fresh.rows), list(fresh.blocks)
    late: list[LatePending] = []
    problems: list[Problem] = []
    for i, metric in enumerate(plan.metrics):
        entry = metrics.get(metric.fingerprint)
        if entry is None:
            continue
        try:
            row, pair, pending = _metric(entry, metric, i)
        except _UNREADABLE as error:
            message = f"its checkpoint cannot be read ({error}): starting anew"
            problems.append(Problem(ProblemCode.InvalidCheckpoint, message, metric.name))
            continue
        rows[i], blocks[i] = row, pair
        late += pending
    # The API server drops members that are null, so what is absent was None.
    harmed, exposure = data.get("harmed"), data.get("exposure")
    first, last = data.get("firstStart"), data.get("lastEnd")
    return replace(
        fresh,
        rows=tuple(rows),
        blocks=tuple(blocks),
        late=tuple(late),
        ratio=_ratio(data.get("ratio")),
        first_start=None if first is None else _number(first),
        last_end=None if last is None else _number(last),
        exposure=None if exposure is None else int(_number(exposure)),
        windows=int(_number(data["windows"])),
        rejected=int(_number(data["rejected"])),
        harmed=None if harmed is None else Harm(*(_number(v) for v in _list(harmed))),
        problems=tuple(problems),
    )


def _metric(
    entry: Mapping[str, object], metric: MetricPlan, position: int
) -> tuple[bytes, tuple[bytes, bytes], list[LatePending]]:
    """One metric's row, cluster blocks and late counts."""
    kind = kind_of(metric)
    raw = _unpack(entry["data"])
    lengths = [int(_number(n)) for n in _list(entry["lengths"])]
    row, requests, units = (raw[sum(lengths[:i]) : sum(lengths[: i + 1])] for i in range(3))
    if sum(lengths) != len(raw) or len(row) != kind.size * FLOAT.itemsize:
        raise ValueError("wrong length")
    if not np.isfinite(np.frombuffer(row, dtype=FLOAT)).all():
        raise ValueError("a number in it is not finite")
    late = []
    for item in _list(entry.get("late", [])):
        exposure, phi, phi_units, packed = _list(item)
        counts = _unpack(packed)
        if len(counts) != kind.columns * FLOAT.itemsize:
            raise ValueError("late counts of the wrong length")
        late.append(LatePending(position, int(_number(exposure)), _number(phi), _number(phi_units), counts))
    return row, (_modern(requests), _modern(units)), late


def _modern(blocks: bytes) -> bytes:
    """Cluster blocks of any version, as this one keeps them."""
    return dispersion.modern(np.frombuffer(blocks, dtype=FLOAT)).astype(FLOAT).tobytes() if blocks else b""
