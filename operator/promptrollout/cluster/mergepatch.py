"""JSON merge patches (RFC 7386) that turn one object into another, and only where they differ.

A merge patch replaces lists whole and removes a key by null; so a key that is gone must be nulled by name, and a null
in the wanted object means "not there", never "null". Hence the patch is made by comparing, not by sending the new one.
"""

import math
from collections.abc import Mapping

from promptrollout.cluster.values import Json


class NotJsonError(ValueError):
    """A value that JSON cannot hold; the message says where it is."""


def merge_patch(current: Json, wanted: Json) -> dict[str, object]:
    """The smallest merge patch from `current` to `wanted`; empty when nothing differs.

    A None in an object of `wanted` counts as absent (in a list it stays, as RFC 7386 has it).

    Raises:
        NotJsonError: `wanted` holds what JSON cannot: NaN, an infinity, a key that is no string, a foreign type.
    """
    return _object_patch(current, _clean(wanted, ()))


def apply_merge_patch(target: object, patch: object) -> object:
    """What a server makes of `target` given `patch`: the pseudo code of RFC 7386, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def same(left: object, right: object) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are (a server may store either for the other), 1 and true not."""
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def _object_patch(current: Json, wanted: Json) -> dict[str, object]:
    patch: dict[str, object] = {key: None for key in current if key not in wanted}
    for key, value in wanted.items():
        known = current.get(key)
        if key in current and same(known, value):
            continue
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            patch[key] = _object_patch(known, value)
        else:
            patch[key] = value
    return patch


_Path = tuple["_Path", str | int] | tuple[()]


def _clean(value: Json, path: _Path) -> dict[str, object]:
    """A copy of an object in plain JSON types, without the keys whose value is None."""
    for key in value:
        if not isinstance(key, str):
            raise NotJsonError(f"{_text(path) or 'top level'}: key {key!r} is not a string")
    return {key: _plain(item, (path, key)) for key, item in value.items() if item is not None}


def _plain(value: object, path: _Path) -> object:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return _clean(value, path)
    if isinstance(value, list | tuple):
        return [_plain(item, (path, index)) for index, item in enumerate(value)]
    if not isinstance(value, float):
        raise NotJsonError(f"{_text(path)}: {type(value).__name__} is no JSON value")
    if not math.isfinite(value):
        raise NotJsonError(f"{_text(path)}: {value} cannot be stored, JSON knows only finite numbers")
    return value


def _text(path: _Path) -> str:
    if not path:
        return ""
    above, last = path
    return f"{_text(above)}[{last}]" if isinstance(last, int) else f"{_text(above)}.{last}"
