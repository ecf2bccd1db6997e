"""Evidence as kept: what a decision rested on, as the files of a ConfigMap, and the same verdict again from them.

- `decision.json`: what was decided, when, the verdict and its numbers; the strata; earlier decisions of the trial.
- `plan.json`: metrics, margins and error rates.
- `base.json`: where the windows begin: the stable arm's history, and a checkpoint if earlier windows are missing.
- `windows.jsonl` (small) or `windows.jsonl.gz` (binary): one window a line, see `encoding`.

`replay` folds the windows again. On the same kind of machine all numbers come out the same to the bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum

from promptrollout.analysis.assess import Assessment, assess
from promptrollout.analysis.counts import History, Window
from promptrollout.analysis.encoding import (
    EncodingError,
    decode_history,
    decode_plan,
    encode_history,
    encode_plan,
)
from promptrollout.analysis.evidence import Evidence
from promptrollout.analysis.fold import fold
from promptrollout.analysis.ledger import Ledger, decompress, read_lines
from promptrollout.analysis.plan import AnalysisPlan

SCHEMA = "promptrollout.dev/evidence/v1"
#: Raised whenever the same windows come to other numbers than before. 2: .85 of the prior bets at once, larger stakes
#: on bounded outcomes, the candidate's own design effect. 3: more caution about it while it has no outcomes; sums that
#: vary widely need more samples to be non-inferior.
ENGINE = 3
DECISION, PLAN, BASE = "decision.json", "plan.json", "base.json"
WINDOWS, PACKED = "windows.jsonl", "windows.jsonl.gz"
#: All files of one evidence ConfigMap together, in bytes.
EVIDENCE_LIMIT = 700_000
#: Windows are kept as plain text up to so many bytes.
PLAIN_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision as it was taken. `numbers` are `figures(assessment)`; `through` is the last window's end."""

    kind: str  #: Step, Promoted, RolledBack, Held
    reason: str
    at: str  #: RFC 3339
    through: float
    step: int
    weight: int
    message: str
    numbers: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """JSON-able."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class About:
    """Whose evidence it is."""

    rollout: str
    candidate: str
    stable: str
    attempt: int
    operator: str  #: version
    arm: str = "candidate"
    against: str = "stable"
    engine: int = ENGINE

    def to_json(self) -> dict[str, object]:
        """JSON-able."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Files:
    """What the ConfigMap holds."""

    data: Mapping[str, str]
    binary: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes in all, as the API server counts them."""
        return sum(len(t.encode()) for t in self.data.values()) + sum(len(b) for b in self.binary.values())


@dataclass(frozen=True, slots=True)
class Kept:
    """Evidence read back. `decisions` are in order, the one that it was kept for last."""

    about: Mapping[str, object]
    plan: AnalysisPlan
    base: Evidence
    seed: Mapping[str, History]
    dropped: str
    windows: tuple[Window, ...]
    decisions: tuple[Mapping[str, object], ...] = field(default=())

    @property
    def engine(self) -> object:
        """The engine whose numbers are recorded; the first one did not say."""
        return self.about.get("engine", 1)


def keep(
    ledger: Ledger,
    about: About,
    decision: Decided,
    earlier: Sequence[Decided] = (),
    limit: int = EVIDENCE_LIMIT,
) -> Files:
    """The files of a decision's evidence, at most `limit` bytes: the oldest windows go first."""
    files = _files(ledger, about, decision, earlier)
    while files.size > limit and ledger.chunks:
        spare = files.size - limit
        ledger = ledger.within(max(ledger.size - spare, 0))
        files = _files(ledger, about, decision, earlier)
    return files


def _files(ledger: Ledger, about: About, decision: Decided, earlier: Sequence[Decided]) -> Files:
    packed = ledger.compressed()
    text = decompress(packed) if len(packed) < PLAIN_LIMIT else ""
    plain = bool(text or not packed) and len(text) <= PLAIN_LIMIT
    windows = read_lines(text) if plain else read_lines(decompress(packed))
    since = ledger.since
    known = [one for one in earlier if since is None or one.through > since]
    head = {
        "schema": SCHEMA,
        "about": about.to_json(),
        "decision": decision.to_json(),
        "earlier": [one.to_json() for one in known],
        "strata": strata(windows),
    }
    base = {
        "dropped": ledger.dropped,
        "seed": {name: encode_history(past) for name, past in ledger.seed.items()},
        "checkpoint": ledger.base.to_checkpoint() if ledger.dropped else None,
    }
    data = {DECISION: _text(head), PLAN: _text(encode_plan(ledger.plan)), BASE: _line(base)}
    return Files({**data, WINDOWS: text}, {}) if plain else Files(data, {PACKED: packed})


def strata(windows: Iterable[Window]) -> list[dict[str, object]]:
    """The exposures under which the windows were counted: weight (1/10,000), from and to, how many."""
    found: dict[tuple[int, int], dict[str, object]] = {}
    counts: dict[tuple[int, int], int] = {}
    for window in windows:
        key = (window.exposure, window.weight)
        counts[key] = counts.get(key, 0) + 1
        stratum = found.setdefault(
            key, {"exposure": window.exposure, "weight": window.weight, "from": window.start}
        )
        stratum |= {"to": window.end, "windows": counts[key]}
    return list(found.values())


def read(data: Mapping[str, str], binary: Mapping[str, bytes]) -> Kept:
    """Evidence from the files of `keep`.

    Raises:
        EncodingError: a file is missing or is not what it should be; says which.

    """
    head, base = _object(data, DECISION), _object(data, BASE)
    if head.get("schema") != SCHEMA:
        raise EncodingError(f"{DECISION}: schema {head.get('schema')!r} is not {SCHEMA}")
    plan = decode_plan(_object(data, PLAN))
    seed = {str(name): decode_history(past) for name, past in _mapping(base.get("seed", {})).items()}
    dropped, checkpoint = str(base.get("dropped") or ""), base.get("checkpoint")
    origin = Evidence.initial(plan, seed)
    if checkpoint is not None:
        origin = Evidence.from_checkpoint(plan, _mapping(checkpoint), seed)
        if origin.problems:
            raise EncodingError(f"{BASE}: {origin.problems[0].message}")
    if PACKED in binary:
        windows = _named(PACKED, decompress(binary[PACKED]))
    elif WINDOWS in data:
        windows = _named(WINDOWS, data[WINDOWS])
    else:
        raise EncodingError(f"neither {WINDOWS} nor {PACKED} is there")
    earlier = head.get("earlier", [])
    decisions = [*(earlier if isinstance(earlier, list) else []), head.get("decision")]
    return Kept(
        _mapping(head.get("about", {})),
        plan,
        origin,
        seed,
        dropped,
        windows,
        tuple(_mapping(one) for one in decisions),
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """One decision again: the assessment as recomputed, and whether all numbers are the recorded ones.

    `worst` is the largest relative difference of two numbers, 0 where `identical`, infinite where they differ in more
    than a number.
    """

    decision: Mapping[str, object]
    assessment: Assessment
    identical: bool
    same_verdict: bool
    worst: float


def replay(kept: Kept) -> list[Replayed]:
    """Recompute each decision's verdict from the windows, and compare it with what was recorded."""
    found = []
    for decision in kept.decisions:
        assessment = assess(kept.plan, _through(kept, kept.plan, kept.base, decision))
        numbers = figures(assessment)
        recorded = json.loads(json.dumps(decision.get("numbers")))
        same = json.loads(json.dumps(numbers)) == recorded
        verdict = isinstance(recorded, Mapping) and recorded.get("verdict") == numbers["verdict"]
        worst = 0.0 if same else difference(recorded, json.loads(json.dumps(numbers)))
        found.append(Replayed(decision, assessment, same, verdict, worst))
    return found


def judge(kept: Kept, plan: AnalysisPlan, decision: Mapping[str, object] | None = None) -> Assessment:
    """The verdict that `plan` (other margins, say) would have come to on the same windows.

    Metrics that the plan leaves as they were keep the checkpoint's evidence, others begin at the first window kept.
    """
    base = kept.base.aligned(plan, kept.seed) if kept.dropped else Evidence.initial(plan, kept.seed)
    if kept.dropped and plan != kept.plan and base.harmed is not None:
        # What crossed under the old margins crossed with the old metrics.
        base = replace(base, harmed=None)
    return assess(plan, _through(kept, plan, base, decision or kept.decisions[-1]))


def _through(kept: Kept, plan: AnalysisPlan, base: Evidence, decision: Mapping[str, object]) -> Evidence:
    through = decision.get("through")
    last = float(through) if isinstance(through, (int, float)) else math.inf
    return fold(plan, base, [w for w in kept.windows if w.end <= last])


def figures(assessment: Assessment) -> dict[str, object]:
    """All numbers of a verdict as JSON-able data; what is not finite becomes text."""
    found = _plain(assessment)
    if not isinstance(found, dict):
        raise TypeError("an assessment is an object")
    return found


def difference(one: object, other: object) -> float:
    """Largest relative difference of two numbers at the same place; infinite where anything else differs."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return math.inf
        return max((difference(value, other[key]) for key, value in one.items()), default=0.0)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return math.inf
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
    if numbers and not isinstance(one, bool) and not isinstance(other, bool):
        assert isinstance(one, (int, float))  # noqa: S101 - tells mypy what `numbers` holds
        assert isinstance(other, (int, float))  # noqa: S101 - the same
        return abs(one - other) / max(abs(one), abs(other), 1.0)
    return 0.0 if one == other else math.inf


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text(value: object) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"


def _named(name: str, text: str) -> tuple[Window, ...]:
    try:
        return read_lines(text)
    except EncodingError as error:
        raise EncodingError(f"{name}: {error}") from None


def _object(data: Mapping[str, str], name: str) -> Mapping[str, object]:
    if name not in data:
        raise EncodingError(f"{name} is missing: this is no evidence ConfigMap, or not whole")
    try:
        return _mapping(json.loads(data[name]))
    except (ValueError, RecursionError) as error:
        raise EncodingError(f"{name}: {error}") from None


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise EncodingError(f"an object was expected, not {type(value).__name__}")
    return value
