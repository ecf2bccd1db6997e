"""The payload: what one ConfigMap tells the pods of one rollout.

`rollout.json` holds the decision, `<revision>.json` each live prompt. The hash covers the decision, and the decision
holds a digest of each file, so one hash names the whole and a reader notices a mixture of two versions, a truncated
file and a foreign edit. Every value in `rollout.json` is a string or an integer: no language rounds anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import rfc8785

from promptrollout.delivery.assignment import ranges
from promptrollout.delivery.flagd import flagd_json

SCHEMA = 1
ROLLOUT_FILE = "rollout.json"
FLAGD_FILE = "flagd.json"
REVISION_FILE = "revision.json"
# The API server's limit for the values of a ConfigMap (Kubernetes: validation.MaxSecretSize).
MAX_BYTES = 1024 * 1024
_SHORT = 10
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
_ARM = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_REVISION = re.compile(r"[0-9a-f]{10}")


class PayloadError(ValueError):
    """A payload that must not be served. `reason` is one of the words of the SDKs' `payload_errors` metric."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PayloadTooLargeError(PayloadError):
    """More than a ConfigMap holds; `sizes` in bytes by file."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        super().__init__(
            "too_large",
            f"{sum(sizes.values()):,} bytes together ({listed}), a ConfigMap holds {MAX_BYTES:,}: "
            "shorten the prompt, or let an older revision end before the next begins",
        )
        self.sizes = dict(sizes)


@dataclass(frozen=True, slots=True)
class ArmWeight:
    """An arm: its revision (short hash) and its share in 1/10,000."""

    name: str
    revision: str
    weight: int


@dataclass(frozen=True, slots=True)
class PinnedRevision:
    """A revision that only conversations pinned to it still get, until a moment (RFC 3339, UTC)."""

    revision: str
    until: str


@dataclass(frozen=True, slots=True)
class Shadow:
    """A revision to run beside the answer: for a share of requests (1/10,000), within a budget for each process."""

    revision: str
    sample: int
    max_concurrent: int
    usd_per_hour: str


@dataclass(frozen=True, slots=True)
class Payload:
    """What is served. `documents` (digest of each file's text) and `hash` are empty until `seal_payload`."""

    rollout: str
    sequence: int
    exposure: int
    unit: str
    salt: str
    arms: tuple[ArmWeight, ...]
    pinned: tuple[PinnedRevision, ...] = ()
    shadow: Shadow | None = None
    documents: tuple[tuple[str, str], ...] = ()
    hash: str = ""

    @property
    def revisions(self) -> tuple[str, ...]:
        """The short hashes of all live revisions, in the order of arms, pins, shadow."""
        shadow = (self.shadow.revision,) if self.shadow else ()
        return tuple(
            dict.fromkeys(
                (*(a.revision for a in self.arms), *(p.revision for p in self.pinned), *shadow),
            )
        )


def revision_file(document: Mapping[str, object]) -> tuple[str, str]:
    """(short hash, text of `<revision>.json`) of a sealed revision's document."""
    digest = hashlib.sha256(_canonical(document).encode()).hexdigest()
    short = digest[:_SHORT]
    return short, _canonical({"schema": SCHEMA, "revision": short, "hash": digest, **document})


def revision_config_map(name: str, document: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """(name, data) of the immutable ConfigMap that keeps a revision in history."""
    short, text = revision_file(document)
    _check_size({REVISION_FILE: text})
    return f"{name}-rev-{short}", {REVISION_FILE: text}


def seal_payload(payload: Payload, documents: Mapping[str, Mapping[str, object]]) -> Payload:
    """`payload` with the digests of its files and its hash.

    PayloadError where its parts do not fit together: the caller's own mistake, not the user's.
    """
    return _sealed(payload, _files(payload, documents))


def render(
    payload: Payload, documents: Mapping[str, Mapping[str, object]], *, flagd: bool = False
) -> dict[str, str]:
    """The ConfigMap's data; `documents` are the sealed revisions' documents by short hash.

    PayloadTooLargeError (1 MiB, with the sizes), PayloadError as in `seal_payload`.
    """
    files = _files(payload, documents)
    sealed = _sealed(payload, files)
    data = {ROLLOUT_FILE: _canonical({**_wire(sealed), "hash": sealed.hash})}
    data |= {f"{revision}.json": text for revision, text in files.items()}
    if flagd:
        data[FLAGD_FILE] = flagd_json(sealed.rollout, sealed.arms, {"hash": sealed.hash, "salt": sealed.salt})
    _check_size(data)
    return data


def parse(data: Mapping[str, str]) -> Payload:
    """The payload that `data` holds, everything verified. PayloadError says what is wrong."""
    fields = _object(data, ROLLOUT_FILE)
    if fields.get("schema") is True or fields.get("schema") != SCHEMA:
        raise PayloadError("schema", f"{ROLLOUT_FILE} has schema {fields.get('schema')!r}, known is {SCHEMA}")
    claimed = fields.pop("hash", None)
    if hashlib.sha256(_canonical(fields).encode()).hexdigest() != claimed:
        raise PayloadError("hash", f"{ROLLOUT_FILE} does not match its hash {claimed!r}: edited by hand?")
    try:
        payload = _from_wire(fields, str(claimed))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PayloadError("invalid", f"{ROLLOUT_FILE}: {error!r}") from error
    _check_arms(payload)
    digests = dict(payload.documents)
    for revision in payload.revisions:
        file = f"{revision}.json"
        if file not in data:
            raise PayloadError("revision_missing", f"{file} is missing")
        if _digest(data[file]) != digests.get(revision):
            raise PayloadError("revision_mismatch", f"{file} is not the file that {ROLLOUT_FILE} speaks of")
        schema = _object(data, file).get("schema")
        if schema != SCHEMA:
            raise PayloadError("schema", f"{file} has schema {schema!r}, known is {SCHEMA}")
    return payload


def _files(payload: Payload, documents: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    _check_arms(payload)
    files: dict[str, str] = {}
    for revision in payload.revisions:
        if revision not in documents:
            raise PayloadError("revision_missing", f"no document for the live revision {revision}")
        short, text = revision_file(documents[revision])
        if short != revision:
            raise PayloadError("revision_mismatch", f"the document under {revision} is that of {short}")
        files[revision] = text
    return files


def _sealed(payload: Payload, files: Mapping[str, str]) -> Payload:
    digests = tuple(sorted((revision, _digest(text)) for revision, text in files.items()))
    fields = _wire(payload) | {"documents": dict(digests)}
    digest = hashlib.sha256(_canonical(fields).encode()).hexdigest()
    return replace(payload, documents=digests, hash=digest)


def _check_arms(payload: Payload) -> None:
    try:
        ranges(payload.arms)
    except ValueError as error:
        raise PayloadError("weights", str(error)) from error
    names = [arm.name for arm in payload.arms]
    if len(set(names)) != len(names):
        raise PayloadError("invalid", f"arm names are not unique: {names}")
    for arm in payload.arms:
        if not _ARM.fullmatch(arm.name):
            raise PayloadError("invalid", f"arm name {arm.name!r} is no DNS label")
    for revision in payload.revisions:
        if not _REVISION.fullmatch(revision):
            raise PayloadError("invalid", f"{revision!r} is no revision: 10 hex digits")


def _wire(payload: Payload) -> dict[str, object]:
    fields: dict[str, object] = {
        "schema": SCHEMA,
        "rollout": payload.rollout,
        "sequence": payload.sequence,
        "exposure": payload.exposure,
        "unit": payload.unit,
        "salt": payload.salt,
        "arms": [{"name": a.name, "revision": a.revision, "weight": a.weight} for a in payload.arms],
        "documents": dict(payload.documents),
    }
    if payload.pinned:
        fields["pinned"] = [{"revision": p.revision, "until": p.until} for p in payload.pinned]
    if payload.shadow:
        fields["shadow"] = {
            "revision": payload.shadow.revision,
            "sample": payload.shadow.sample,
            "maxConcurrent": payload.shadow.max_concurrent,
            "usdPerHour": payload.shadow.usd_per_hour,
        }
    return fields


def _from_wire(fields: Mapping[str, object], digest: str) -> Payload:
    shadow = fields.get("shadow")
    return Payload(
        rollout=_str(fields["rollout"]),
        sequence=_int(fields["sequence"]),
        exposure=_int(fields["exposure"]),
        unit=_str(fields["unit"]),
        salt=_str(fields["salt"]),
        arms=tuple(
            ArmWeight(_str(arm["name"]), _str(arm["revision"]), _integer(arm["weight"]))
            for arm in map(_mapping, _list(fields["arms"]))
        ),
        pinned=tuple(
            PinnedRevision(_str(pin["revision"]), _moment(pin["until"]))
            for pin in map(_mapping, _list(fields.get("pinned", [])))
        ),
        shadow=_shadow(_mapping(shadow)) if shadow else None,
        documents=tuple(sorted((k, _str(v)) for k, v in _mapping(fields["documents"]).items())),
        hash=digest,
    )


def _shadow(fields: Mapping[str, object]) -> Shadow:
    return Shadow(
        revision=_str(fields["revision"]),
        sample=_int(fields["sample"]),
        max_concurrent=_int(fields["maxConcurrent"]),
        usd_per_hour=_amount(fields["usdPerHour"]),
    )


def _amount(value: object) -> str:
    if not _AMOUNT.fullmatch(_str(value)):
        raise ValueError(f"{value!r} is no amount")
    return _str(value)


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _moment(value: object) -> str:
    if datetime.fromisoformat(_str(value)).tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return _str(value)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _int(value: object) -> int:
    if _integer(value) < 0:
        raise ValueError(f"{value!r} is negative")
    return _integer(value)


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _object(data: Mapping[str, str], file: str) -> dict[str, object]:
    if file not in data:
        raise PayloadError("missing", f"{file} is missing")
    try:
        value = json.loads(data[file])
    except ValueError as error:
        raise PayloadError("not_json", f"{file} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise PayloadError("not_json", f"{file} holds no JSON object")
    return value


def _canonical(value: Mapping[str, object]) -> str:
    try:
        return rfc8785.dumps(value).decode()  # type: ignore[arg-type]  # checked by rfc8785 itself
    except rfc8785.CanonicalizationError as error:
        raise PayloadError("invalid", f"cannot be written as canonical JSON: {error}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_size(data: Mapping[str, str]) -> None:
    sizes = {name: len(text.encode()) for name, text in data.items()}
    if sum(sizes.values()) > MAX_BYTES:
        raise PayloadTooLargeError(sizes)
