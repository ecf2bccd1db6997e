"""Typed reading of JSON from outside: what is absent or of another type reads as empty, nothing raises."""

from collections.abc import Mapping, Sequence
from datetime import datetime

#: JSON as it came over the wire: nothing is known of its values yet.
Json = Mapping[str, object]

_NOTHING: Json = {}


def mapping_at(data: Json, key: str) -> Json:
    """The object under `key`."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else _NOTHING


def mappings_at(data: Json, key: str) -> Sequence[Json]:
    """The objects in the list under `key`."""
    value = data.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else ()


def texts_at(data: Json, key: str) -> Mapping[str, str]:
    """The string values of the object under `key`: labels, annotations, a ConfigMap's data."""
    return {name: value for name, value in mapping_at(data, key).items() if isinstance(value, str)}


def text_at(data: Json, key: str) -> str:
    """The string under `key`."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def number_at(data: Json, key: str) -> int:
    """The integer under `key`."""
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def flag_at(data: Json, key: str) -> bool:
    """The boolean under `key`."""
    return data.get(key) is True


def moment_at(data: Json, key: str) -> datetime | None:
    """The RFC 3339 moment under `key`, aware; None if there is none that can be read."""
    text = text_at(data, key)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
