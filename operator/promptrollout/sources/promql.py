"""The little PromQL that the sources write: quoting, alternations, durations. Pure."""

import re
from collections.abc import Iterable, Mapping

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_META = frozenset("\\.+*?()|[]{}^$")


def quote(text: str) -> str:
    """`text` as a double-quoted PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def quote_meta(text: str) -> str:
    """`text` as an RE2 regular expression that matches it and nothing else (Go's regexp.QuoteMeta)."""
    return "".join(f"\\{c}" if c in _META else c for c in text)


def one_of(values: Iterable[str]) -> str:
    """A matcher's operator and value for a label that has one of these values: `="a"` or `=~"a|b"`.

    Sorted and without duplicates, so that the same question is the same text (query logs, result caches).
    """
    wanted = sorted(set(values))
    if len(wanted) == 1:
        return "=" + quote(wanted[0])
    return "=~" + quote("|".join(quote_meta(value) for value in wanted))


def vector(name: str, matchers: Mapping[str, Iterable[str]]) -> str:
    """An instant vector selector: `name{label="a",other=~"b|c"}`, matchers in the order given.

    Names with other characters, dots say, stand in quotes: `{"a.name","a.label"="x"}` (Prometheus 3, UTF-8 names).
    """
    inside = [f"{_label(label)}{one_of(values)}" for label, values in matchers.items()]
    if name and not _NAME.fullmatch(name):
        name, inside = "", [quote(name), *inside]
    return f"{name}{{{','.join(inside)}}}" if inside else name


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else quote(name)


def duration(seconds: float) -> str:
    """A length of time in PromQL, to the millisecond: `30s`, `1500ms`."""
    milliseconds = round(seconds * 1000)
    if milliseconds <= 0:
        raise ValueError(f"a range of {seconds} s selects nothing")
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
