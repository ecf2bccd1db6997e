"""What was not readable, in words: from pydantic's errors to problems."""

from collections.abc import Mapping, Sequence

from pydantic_core import ErrorDetails

from promptrollout.api.base import LABEL_PATTERN, NAME_PATTERN
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import DECIMAL_PATTERN, DURATION_PATTERN

_PATTERNS = {
    DURATION_PATTERN: ("is not a duration", "write for example 90s, 10m or 1h30m"),
    DECIMAL_PATTERN: ("is not a decimal number", "write it as a string such as '0.02'"),
    LABEL_PATTERN: ("is not a name", "use lower-case letters, digits and '-', 63 at most"),
    NAME_PATTERN: ("is not a name", "use lower-case letters, digits, '-' and '.', 253 at most"),
}
_WANTED = {
    "string_type": "a string",
    "string_unicode": "a string of valid Unicode",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "list_type": "a list",
    "dict_type": "a map",
    "mapping_type": "a map",
    "model_type": "a map of fields",
    "model_attributes_type": "a map of fields",
    "bool_type": "true or false",
}


def problem_of(root: str, details: ErrorDetails) -> Problem:
    """One of pydantic's errors as what is wrong, where below `root`, and what to do."""
    path = path_of(root, details["loc"])
    message, cure = _words(details)
    return Problem(path, message, cure or f"see kubectl explain {_explained(path)}")


def _words(details: ErrorDetails) -> tuple[str, str]:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind in _WANTED:
        return f"is {kind_of(given)}", f"write {_WANTED[kind]}, or leave the field out"
    if kind == "string_pattern_mismatch":
        said, cure = _PATTERNS.get(str(context.get("pattern")), ("has a form that is refused", ""))
        return f"{_shown(given)} {said}", cure
    said_by_kind = {
        "missing": ("is missing", "add it"),
        "enum": (f"{_shown(given)} is not known", f"write one of {context.get('expected')}"),
        "too_long": ("is too long", f"at most {context.get('max_length')} fit"),
        "string_too_long": ("is too long", f"at most {context.get('max_length')} characters fit"),
        "value_error": _halves(str(context.get("error"))),
    }
    return said_by_kind.get(kind) or (f"{_shown(given)} is refused: {details['msg'].lower()}", "")


def _halves(text: str) -> tuple[str, str]:
    message, _, cure = text.partition("; ")
    return message, cure


def _explained(path: str) -> str:
    return ".".join(["promptrollout", *(part.partition("[")[0] for part in path.split("."))])


def path_of(root: str, location: Sequence[str | int]) -> str:
    """A field path as `kubectl explain` takes it, with indices: `spec.strategy.canary.steps[2].weight`."""
    path = root
    for key in location:
        if isinstance(key, int):
            path += f"[{key}]"
        elif key != "[key]":  # pydantic's mark for: the key itself is wrong
            path += f".{key[:80]}"
    return path


def kind_of(value: object) -> str:
    """What a JSON value is, in words: `a list`, `the number 5`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {_shown(value)}"
    if isinstance(value, str):
        return f"the string {_shown(value)}"
    return "a map" if isinstance(value, Mapping) else "a list"


def _shown(value: object) -> str:
    if isinstance(value, Mapping | list | tuple):
        return kind_of(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return "of more than 19 digits"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
