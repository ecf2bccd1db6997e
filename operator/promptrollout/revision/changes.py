"""What a new revision changes against the old one, beside its texts: what applications and models will notice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from promptrollout.revision.sealing import DEFAULT_FORMAT, canonical_json
from promptrollout.revision.variables import VariableDiff, diff_variables

#: Longer values are cut: this is to be read by people.
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Changes:
    """The variables, and everything else in phrases: `model gpt-4 -> gpt-5`."""

    variables: VariableDiff
    settings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.variables or self.settings)


def changes_between(old: Mapping[str, object], new: Mapping[str, object]) -> Changes:
    """From one sealed document to another."""
    return Changes(diff_variables(old, new), tuple(_settings(old, new)))


def _settings(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    yield from _changed("model", old.get("model"), new.get("model"))
    yield from _entries("parameter", old.get("parameters"), new.get("parameters"))
    formats = [str(one.get("templateFormat") or DEFAULT_FORMAT) for one in (old, new)]
    yield from _changed("template format", *formats)
    before, after = _map(old.get("parts")), _map(new.get("parts"))
    yield from (f"part {name} dropped" for name in sorted(before.keys() - after.keys()))
    yield from (f"part {name} added" for name in sorted(after.keys() - before.keys()))
    for name in sorted(before.keys() & after.keys()):
        yield from _part(name if len(after) > 1 else "", _map(before[name]), _map(after[name]))
    yield from _entries("extra", old.get("extra"), new.get("extra"))


def _part(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    of = f" of part {name}" if name else ""
    if ("text" in old) != ("text" in new):
        yield f"form{of}: messages -> text" if "text" in new else f"form{of}: text -> messages"
    for key, said in (("tools", "tools"), ("responseFormat", "response format")):
        if canonical_json(old.get(key)) != canonical_json(new.get(key)):
            how = "added" if key not in old else "dropped" if key not in new else "changed"
            yield f"{said}{of} {how}"


def _entries(kind: str, old: object, new: object) -> Iterator[str]:
    before, after = _map(old), _map(new)
    for name in sorted(before.keys() | after.keys()):
        yield from _changed(f"{kind} {name}", before.get(name), after.get(name))


def _changed(what: str, old: object, new: object) -> Iterator[str]:
    if canonical_json(old) != canonical_json(new):
        yield f"{what} {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
