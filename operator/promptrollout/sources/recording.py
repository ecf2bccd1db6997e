"""What a source answered, kept as data: JSON to a file and back, exactly. Pure.

The form is that of the types themselves: an object with `@`, the type's name, and the fields that differ from their
defaults.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import cast

from promptrollout.analysis.counts import (
    ArmClusters,
    ArmRequests,
    ClusterCounts,
    EventCounts,
    HistogramCounts,
    History,
    LateCounts,
    MetricClusters,
    Pair,
    PairedCounts,
    ScoreCounts,
    SumCounts,
    Window,
)
from promptrollout.sources.protocol import LoadedBy, NoData, Problem, Reason, SourceError


@dataclass(frozen=True, slots=True)
class Recording:
    """Windows, histories and acknowledgements by rollout key.

    `problems` has (end of the window, metric, problem) for what could not be read.
    """

    windows: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    history: Mapping[str, Mapping[str, History | Problem]] = field(default_factory=dict)
    loaded: Mapping[str, tuple[LoadedBy, ...]] = field(default_factory=dict)
    problems: Mapping[str, tuple[tuple[float, str, Problem], ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The recording as text; `from_json` gives an equal one."""
        return json.dumps(_encode(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Recording":
        """The recording that `text` is; ValueError, with what is wrong, if it is none."""
        try:
            found = _decode(json.loads(text))
        except RecursionError:
            raise ValueError("not a recording: nested too deeply") from None
        if not isinstance(found, Recording):
            raise ValueError(f"not a recording: {type(found).__name__}")  # noqa: TRY004 - the text is wrong, not the call
        return found


_KINDS: tuple[type[object], ...] = (
    ArmClusters,
    ArmRequests,
    ClusterCounts,
    EventCounts,
    HistogramCounts,
    History,
    LateCounts,
    LoadedBy,
    MetricClusters,
    NoData,
    Pair,
    PairedCounts,
    Recording,
    ScoreCounts,
    SourceError,
    SumCounts,
    Window,
)
_TYPES: Mapping[str, Callable[..., object]] = {kind.__name__: kind for kind in _KINDS}


def _encode(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        kept = {f.name: getattr(value, f.name) for f in fields(value) if not _is_default(f, value)}
        return {"@": type(value).__name__, **{name: _encode(v) for name, v in kept.items()}}
    if isinstance(value, Mapping):
        return {_shielded(str(name)): _encode(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    return value


def _shielded(name: str) -> str:
    """A key that begins like our mark for a type gets another "@" before it."""
    return f"@{name}" if name.startswith("@") else name


def _is_default(f: object, owner: object) -> bool:
    default = getattr(f, "default", MISSING)
    value = getattr(owner, getattr(f, "name", ""))
    if isinstance(default, float) and isinstance(value, float) and math.isnan(default) and math.isnan(value):
        return True
    return default is not MISSING and type(value) is type(default) and value == default


def _decode(value: object) -> object:
    if isinstance(value, list):
        return tuple(_decode(v) for v in value)
    if not isinstance(value, dict):
        return value
    members = {str(name).removeprefix("@"): _decode(v) for name, v in value.items() if name != "@"}
    if "@" not in value:
        return members
    kind = _TYPES.get(str(value["@"]))
    if kind is None:
        raise ValueError(f"not a recording: unknown type {value['@']!r}")
    try:
        if "reason" in members:
            members["reason"] = Reason(cast("str", members["reason"]))
        return kind(**members)
    except TypeError as error:
        raise ValueError(f"not a recording: {error}") from None
