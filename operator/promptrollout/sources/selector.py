"""Selectors that users write: one instant vector selector with `{{revision}}`, checked strictly. Pure.

The grammar is PromQL's (https://prometheus.io/docs/prometheus/latest/querying/basics/), less everything that is not a
single vector selector: the source adds the range itself, and takes deltas per series. A function, an
aggregation or a rate around the counter would make those deltas meaningless, so each is refused by name.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from promptrollout.sources.promql import one_of

PLACEHOLDER = "{{revision}}"
MAX_LENGTH = 1024

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"""\\(?:[abfnrtv\\'"]|x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})""")
_WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "and", "or", "unless"}


@dataclass(frozen=True)
class Selector:
    """A checked custom selector.

    `name` is the metric's name ("" if only matchers say it), `label` the label that carries the revision,
    `before` and `after` what stands around the revision in its value, `head` and `tail` the text around that matcher.
    """

    name: str
    label: str
    before: str
    after: str
    head: str
    tail: str

    def value(self, revision: str) -> str:
        """The value that the label has for this revision."""
        return f"{self.before}{revision}{self.after}"

    def render(self, revisions: "list[str] | tuple[str, ...]") -> str:
        """The selector for these revisions, in one matcher: `rev="a"` or `rev=~"a|b"`."""
        return f"{self.head}{one_of(self.value(revision) for revision in revisions)}{self.tail}"


class SelectorError(ValueError):
    """What is wrong with a selector, where, and what to write instead."""


@dataclass(frozen=True)
class _Matcher:
    label: str
    operator: str
    value: str
    start: int
    end: int


class _Reader:
    """A cursor over the text; every refusal names the place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def refuse(self, problem: str, at: int | None = None) -> SelectorError:
        return SelectorError(f"column {(self.at if at is None else at) + 1}: {problem}")

    def spaces(self) -> None:
        self.at = self._end(_SPACE)

    def _end(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        return found.end() if found else self.at

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, pattern: re.Pattern[str]) -> str:
        start, self.at = self.at, self._end(pattern)
        return self.text[start : self.at]

    def string(self) -> str:
        """A quoted string, as it stands between its quotes; escapes are checked, not resolved."""
        quote, start = self.peek(), self.at
        self.at += 1
        while (char := self.peek()) != quote:
            if char == "" or (char == "\n" and quote != "`"):
                raise self.refuse(f"the string that begins here with {quote} has no end", start)
            if char == "\\" and quote != "`":
                if not self.take(_ESCAPE):
                    raise self.refuse(r"unknown escape; write \\ for a backslash, or use `…` for raw text")
            else:
                self.at += 1
        self.at += 1
        return self.text[start + 1 : self.at - 1]


def check_selector(text: str) -> str | None:
    """What is wrong with a custom selector, in one sentence with the place and the cure; None if nothing is."""
    try:
        parse_selector(text)
    except SelectorError as problem:
        return str(problem)
    return None


@lru_cache(maxsize=4096)
def parse_selector(text: str) -> Selector:
    """The selector that `text` is; SelectorError if it is not one."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"the selector has {len(text)} characters; at most {MAX_LENGTH} are accepted")
    reader = _Reader(text)
    reader.spaces()
    name = reader.take(_NAME)
    reader.spaces()
    matchers: list[_Matcher] = []
    if reader.peek() == "{" and name not in _WORDS:
        matchers = _matchers(reader)
        reader.spaces()
    if reader.at < len(text):
        raise _trailing(reader, name)
    if not name and not matchers:
        raise SelectorError("the selector is empty; write a metric's name and its labels in braces")
    if name and any(m.label == "__name__" for m in matchers):
        raise SelectorError("the metric's name is given twice; leave the matcher __name__ out")
    return _with_placeholder(text, name, matchers)


def _with_placeholder(text: str, name: str, matchers: list[_Matcher]) -> Selector:
    found = [m for m in matchers if PLACEHOLDER in m.value]
    count = text.count(PLACEHOLDER)
    if not found:
        raise SelectorError(
            f'no label is compared with {PLACEHOLDER}; add for example prompt_revision="{PLACEHOLDER}", '
            "so that both revisions can be told apart"
        )
    matcher = found[0]
    if count > 1:
        raise SelectorError(f"{PLACEHOLDER} occurs {count} times; it may stand in one matcher only")
    if matcher.operator != "=":
        raise SelectorError(
            f"column {matcher.start + 1}: {PLACEHOLDER} needs the operator =, not {matcher.operator}; "
            f'write {matcher.label}="{PLACEHOLDER}"'
        )
    if "\\" in matcher.value:
        raise SelectorError(f"column {matcher.start + 1}: no escapes are accepted beside {PLACEHOLDER}")
    if matcher.label == "__name__":
        raise SelectorError(f"{PLACEHOLDER} cannot be part of the metric's name; use a label of its own")
    before, after = matcher.value.split(PLACEHOLDER)
    end_of_label = matcher.start + text[matcher.start : matcher.end].index("=")
    return Selector(
        name=name or next((m.value for m in matchers if m.label == "__name__" and m.operator == "="), ""),
        label=matcher.label,
        before=before,
        after=after,
        head=text[:end_of_label],
        tail=text[matcher.end :],
    )


def _matchers(reader: _Reader) -> list[_Matcher]:
    opened = reader.at
    reader.at += 1
    found: list[_Matcher] = []
    while True:
        reader.spaces()
        if reader.peek() == "}":
            reader.at += 1
            return found
        if reader.peek() == "":
            raise reader.refuse("the brace that opens here is never closed", opened)
        found.append(_matcher(reader))
        reader.spaces()
        if reader.peek() == ",":
            reader.at += 1
        elif reader.peek() not in ("}", ""):
            raise reader.refuse("a comma or the closing brace is expected here")


def _matcher(reader: _Reader) -> _Matcher:
    start = reader.at
    quoted = reader.peek() in ('"', "'")
    label = reader.string() if quoted else reader.take(_LABEL)
    if not label:
        raise reader.refuse("a label's name is expected here")
    reader.spaces()
    operator = reader.take(_OPERATOR)
    if not operator:
        if quoted and reader.peek() in (",", "}"):  # {"a.name", …}: PromQL's form for names in UTF-8
            return _Matcher("__name__", "=", label, start, reader.at)
        raise reader.refuse("one of = != =~ !~ is expected here")
    reader.spaces()
    if reader.peek() not in ('"', "'", "`"):
        raise reader.refuse(f"the value of {label} must be a quoted string")
    value = reader.string()
    return _Matcher(label, operator, value, start, reader.at)


def _trailing(reader: _Reader, name: str) -> SelectorError:
    """Why the text after the selector is refused, by what the author probably wanted."""
    rest = reader.text[reader.at :]
    word = re.match(r"[a-zA-Z]*", rest)
    first = word[0].lower() if word else ""
    if rest.startswith("("):
        return SelectorError(
            f"{name}(…) is a function or an aggregation; give the bare counter: deltas are taken for each series "
            "by itself, and rate() or sum() would hide its resets"
        )
    if rest.startswith("@") or first == "offset":
        problem = "offset and @ are not accepted; windows are set by the operator"
    elif rest[0] in _REFUSED:
        problem = _REFUSED[rest[0]]
    elif name in _WORDS or first in _WORDS or rest[0] in "+-*/%^=!<>":
        problem = "operators are not accepted; give one vector selector, nothing around it"
    else:
        problem = f'unexpected {rest[:20]!r}; give one vector selector such as name{{label="value"}}'
    return reader.refuse(problem)


_REFUSED = {
    "[": "no range is wanted; the analysis interval is added by the operator",
    "#": "comments are not accepted",
}
