"""What the operator delivers, read and verified: a payload is served whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from promptrollout_sdk.errors import PayloadError
from promptrollout_sdk.hashing import WHOLE
from promptrollout_sdk.prompt import Prompt

SCHEMA = 1
ROLLOUT_FILE = "rollout.json"
_REVISION = re.compile(r"[0-9a-f]{10}")
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
_ARM = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

#: Reads one file of one version of the payload; PayloadError when it cannot.
Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm and its share in 1/10,000."""

    name: str
    revision: str
    weight: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """What to run beside the answer: share of requests (1/10,000), and the budget of this process."""

    revision: str
    sample: int
    max_concurrent: int
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Contract:
    """What the application says of itself: the parts it asks for, the variables it fills (None: not said)."""

    parts: Collection[str] = ()
    variables: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """A verified payload. `pinned` maps draining revisions to the time (seconds since the epoch) they end."""

    rollout: str
    sequence: int
    exposure: int
    unit: str
    salt: str
    arms: tuple[Arm, ...]
    hash: str
    prompts: Mapping[str, Prompt]
    pinned: Mapping[str, float] = field(default_factory=dict)
    shadow: Shadow | None = None


def load(
    read: Read, contract: Contract, known: Mapping[str, tuple[str, Prompt]]
) -> tuple[Payload, dict[str, str]]:
    """The payload and the digest of each of its files.

    `known` holds prompts that are compiled already, by revision and with their digest: a change of weights
    costs no parsing of prompts. PayloadError with its reason for everything that must not be served.
    """
    fields = _rollout(read(ROLLOUT_FILE))
    claimed = fields.pop("hash", None)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if _digest(text.encode("utf-8", "surrogatepass")) != claimed:
        raise PayloadError("hash", f"{ROLLOUT_FILE} does not match its hash")
    try:
        digests = {str(k): str(v) for k, v in fields["documents"].items()}
        arms = _arms(fields["arms"])
        pinned = {_revision(p["revision"]): _moment(p["until"]) for p in _list(fields.get("pinned", []))}
        shadow = _shadow(fields.get("shadow"))
        live = dict.fromkeys([*(a.revision for a in arms), *pinned, *([shadow.revision] if shadow else [])])
        prompts = {r: _prompt(read, r, digests.get(r, ""), known) for r in live}
        payload = Payload(
            rollout=_str(fields["rollout"]),
            sequence=_whole(fields["sequence"]),
            exposure=_whole(fields["exposure"]),
            unit=_str(fields["unit"]),
            salt=_str(fields["salt"]),
            arms=arms,
            hash=str(claimed),
            prompts=prompts,
            pinned=pinned,
            shadow=shadow,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PayloadError("invalid", f"{ROLLOUT_FILE}: {error!r}") from error
    for prompt in prompts.values():
        _honours(prompt, contract)
    return payload, {revision: digests[revision] for revision in live}


def _rollout(raw: bytes) -> dict[str, Any]:
    fields = _object(raw, ROLLOUT_FILE)
    found = fields.get("schema")
    if found is True or found != SCHEMA:
        raise PayloadError("schema", f"{ROLLOUT_FILE} has schema {found!r}, this SDK reads {SCHEMA}")
    return fields


def _arms(value: object) -> tuple[Arm, ...]:
    arms = tuple(Arm(str(a["name"]), _revision(a["revision"]), _int(a["weight"])) for a in _list(value))
    if any(a.weight < 0 for a in arms) or sum(a.weight for a in arms) != WHOLE:
        raise PayloadError("weights", f"weights {[a.weight for a in arms]} do not sum to {WHOLE}")
    if len({a.name for a in arms}) != len(arms) or not all(_ARM.fullmatch(a.name) for a in arms):
        raise ValueError(f"arm names {[a.name for a in arms]}")
    return arms


def _prompt(read: Read, revision: str, digest: str, known: Mapping[str, tuple[str, Prompt]]) -> Prompt:
    file = f"{revision}.json"
    try:
        raw = read(file)
    except PayloadError as error:
        reason = "revision_missing" if error.reason == "missing" else error.reason
        raise PayloadError(reason, str(error)) from error
    if _digest(raw) != digest:
        raise PayloadError("revision_mismatch", f"{file} is not the file that {ROLLOUT_FILE} speaks of")
    if revision in known and known[revision][0] == digest:
        return known[revision][1]
    document = _object(raw, file)
    if document.get("schema") != SCHEMA:
        raise PayloadError("schema", f"{file} has schema {document.get('schema')!r}, this SDK reads {SCHEMA}")
    return Prompt(document, revision)


def _honours(prompt: Prompt, contract: Contract) -> None:
    lacking = set(contract.parts) - prompt.parts.keys()
    if lacking:
        raise PayloadError("contract", f"revision {prompt.revision} lacks the parts {sorted(lacking)}")
    unknown = prompt.variables - set(contract.variables) if contract.variables is not None else None
    if unknown:
        raise PayloadError(
            "contract",
            f"revision {prompt.revision} needs {sorted(unknown)}, which this application does not fill",
        )


def _shadow(value: object) -> Shadow | None:
    if not isinstance(value, dict):
        return None
    return Shadow(
        revision=_revision(value["revision"]),
        sample=_whole(value["sample"]),
        max_concurrent=_whole(value["maxConcurrent"]),
        usd_per_hour=_amount(value["usdPerHour"]),
    )


def _amount(value: object) -> float:
    if not _AMOUNT.fullmatch(_str(value)):  # no inf and no nan: a budget that nothing exceeds
        raise ValueError(f"{value!r} is no amount")
    return float(_str(value))


def _moment(value: object) -> float:
    moment = datetime.fromisoformat(_str(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment.timestamp()


def _revision(value: object) -> str:
    if not isinstance(value, str) or not _REVISION.fullmatch(value):
        raise ValueError(f"{value!r} is no revision")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _whole(value: object) -> int:
    if _int(value) < 0:
        raise ValueError(f"{value!r} is negative")
    return _int(value)


def _object(raw: bytes, file: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise PayloadError("not_json", f"{file} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise PayloadError("not_json", f"{file} holds no JSON object")
    return value


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
