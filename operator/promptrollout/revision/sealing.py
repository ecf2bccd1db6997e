"""A prompt's normal form and its name: sha256 over canonical JSON (RFC 8785) of what changes an answer.

Two prompts that make every pod send the same request get the same hash, however they were written: absent, null
and empty optional fields are alike, the order of `variables` does not count, and a single prompt is the part
`default`. Names, labels and annotations are no part of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import rfc8785

SCHEMA = 1
SHORT = 10
DEFAULT_PART = "default"
DEFAULT_FORMAT = "mustache"

# A number (RFC 8259, section 6), a truth value, or the outside of a list or an object.
_JSON = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|\[.*\]|\{.*\}", re.DOTALL)
_KNOWN = frozenset(
    {"messages", "text", "tools", "responseFormat", "parts", "model", "parameters", "variables"}
    | {"templateFormat", "extra"}
    | {"schema", "revision", "hash"}  # of a document that was read back from a ConfigMap
)
_KNOWN_PART = frozenset({"messages", "text", "tools", "responseFormat"})


class SealError(ValueError):
    """A prompt that has no canonical form; `field_path` is relative to the prompt."""

    def __init__(self, field_path: str, message: str) -> None:
        super().__init__(f"{field_path}: {message}" if field_path else message)
        self.field_path = field_path
        self.message = message


@runtime_checkable
class SupportsModelDump(Protocol):
    """What `seal` needs of a pydantic model; its aliases are the names of the API."""

    def model_dump(self, *, mode: str, by_alias: bool, exclude_none: bool) -> dict[str, object]:
        """The model as JSON-able values."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A sealed prompt: `hash` (64 hex digits), `short` (its first 10), the normal form and that as canonical JSON."""

    hash: str
    short: str
    document: Mapping[str, object]
    json: str

    def file(self) -> dict[str, object]:
        """The content of `<revision>.json`, the document that pods read."""
        return {"schema": SCHEMA, "revision": self.short, "hash": self.hash, **self.document}


def canonical_json(value: object, field_path: str = "") -> str:
    """`value` as RFC 8785 canonical JSON; SealError where JSON has no portable form for it."""
    try:
        return rfc8785.dumps(value).decode()  # type: ignore[arg-type]  # checked by rfc8785 itself
    except rfc8785.CanonicalizationError as error:
        raise SealError(field_path, f"cannot be written as canonical JSON: {error}") from error


def seal(prompt: SupportsModelDump | Mapping[str, object]) -> Revision:
    """The revision of `prompt` (the API's prompt document, or an already sealed document).

    SealError when the prompt has no text, both a text and parts, unknown fields, or values JSON can't carry.
    """
    document = _normalise(as_mapping(prompt))
    for key, value in document.items():
        canonical_json(value, key)  # so that the error names the field
    text = canonical_json(document)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Revision(hash=digest, short=digest[:SHORT], document=document, json=text)


def as_mapping(prompt: SupportsModelDump | Mapping[str, object]) -> Mapping[str, object]:
    """The prompt as a mapping with the API's field names."""
    if isinstance(prompt, Mapping):
        return prompt
    return prompt.model_dump(mode="json", by_alias=True, exclude_none=True)


def _normalise(prompt: Mapping[str, object]) -> dict[str, object]:
    _reject_unknown(prompt, _KNOWN, "")
    model, parameters = _model(prompt)
    variables = prompt.get("variables") or ()
    if not isinstance(variables, Sequence) or isinstance(variables, str):
        raise SealError("variables", "must be a list of names")
    document: dict[str, object] = {
        "parts": _parts(prompt),
        "model": model,
        "parameters": parameters,
        "variables": sorted({str(name) for name in variables}),
        "templateFormat": str(prompt.get("templateFormat") or DEFAULT_FORMAT),
        "extra": _without_nulls(prompt.get("extra"), "extra"),
    }
    return {key: value for key, value in document.items() if value or key == "parts"}


def _parts(prompt: Mapping[str, object]) -> dict[str, object]:
    single = {key: prompt[key] for key in _KNOWN_PART if prompt.get(key)}
    parts = prompt.get("parts")
    if not parts:
        if not single:
            raise SealError("", "the prompt has neither `messages` nor `text` nor `parts`: give one of them")
        return {DEFAULT_PART: _part(single, "")}
    if single:
        both = ", ".join(f"`{key}`" for key in sorted(single))
        raise SealError("parts", f"cannot stand beside {both}: move them into a part")
    if not isinstance(parts, Mapping):
        raise SealError("parts", "must map part names to prompts")
    return {str(name): _part(part, f"parts.{name}") for name, part in parts.items()}


def _part(part: object, path: str) -> dict[str, object]:
    if not isinstance(part, Mapping):
        raise SealError(path, "must be a prompt with `messages` or `text`")
    _reject_unknown(part, _KNOWN_PART, path)
    if bool(part.get("messages")) == bool(part.get("text")):
        raise SealError(path, "needs exactly one of `messages` and `text`")
    messages = part.get("messages") or ()
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise SealError(join(path, "messages"), "must be a list")
    normal: dict[str, object] = {
        "messages": [_message(m, join(path, f"messages[{i}]")) for i, m in enumerate(messages)],
        "text": part.get("text"),
        "tools": part.get("tools"),
        "responseFormat": part.get("responseFormat"),
    }
    return {key: value for key, value in normal.items() if value}


def _message(message: object, path: str) -> dict[str, object]:
    if not isinstance(message, Mapping) or not message.get("role"):
        raise SealError(path, "a message needs a `role`")
    optional = {
        str(k): v for k, v in message.items() if k not in ("role", "content") and v not in (None, "", [], {})
    }
    return {"role": message["role"], "content": message.get("content") or "", **optional}


def _model(prompt: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    model = prompt.get("model") or ""
    parameters = prompt.get("parameters")
    if isinstance(model, Mapping):
        _reject_unknown(model, frozenset({"name", "parameters"}), "model")
        if parameters and model.get("parameters"):
            raise SealError("parameters", "given twice: here and in `model.parameters`")
        return str(model.get("name") or ""), _parameters(
            model.get("parameters") or parameters, "model.parameters"
        )
    return str(model), _parameters(parameters, "parameters")


def _parameters(value: object, path: str) -> dict[str, object]:
    return {key: _parameter(item) for key, item in _without_nulls(value, path).items()}


def _parameter(value: object) -> object:
    """What a model server wants for a parameter that the API can only carry as a string.

    A string that is a number, a truth value, a list or an object in JSON is that value (`"0.2"`, `"true"`,
    `'["END"]'`); any other string is itself, and so is everything that is no string.
    """
    if not isinstance(value, str) or not _JSON.fullmatch(value):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError:
        return value
    return parsed


def _without_nulls(value: object, path: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SealError(path, "must be a map")
    return {str(key): item for key, item in value.items() if item is not None}


def _reject_unknown(value: Mapping[str, object], known: frozenset[str], path: str) -> None:
    # A field this version does not know could change an answer without changing the hash.
    unknown = sorted(str(key) for key in value if key not in known)
    if unknown:
        raise SealError(join(path, unknown[0]), f"unknown field; known are {', '.join(sorted(known))}")


def join(path: str, field: str) -> str:
    """`field` below `path`, in the notation of Kubernetes field paths."""
    return f"{path}.{field}" if path else field
