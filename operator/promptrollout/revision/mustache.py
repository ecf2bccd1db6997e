"""Mustache for prompts: the core of the specification, inserted verbatim and without code.

What differs from the specification (mustache/spec): values are never HTML-escaped, since a prompt is not
HTML, so `{{x}}`, `{{{x}}}` and `{{&x}}` mean the same; partials, lambdas and new delimiters are refused. Lines
that hold only a section tag or a comment vanish, as the specification says.
`sdk/conformance/templates.json` fixes the details for every language.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

_TAG = re.compile(r"\{\{(?:\{(?P<triple>[^}]*)\}|(?P<sigil>[#^/!&>=]?)(?P<name>.*?))\}\}", re.DOTALL)
_NAME = re.compile(r"\.|[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_DEEPEST = 100
#: Characters of a template that a message repeats.
_SHOWN = 60
_REFUSED = {">": "partials", "=": "new delimiters"}


class MustacheError(ValueError):
    """A template that cannot be parsed; the message says where (line) and why."""


@dataclass(slots=True)
class Variable:
    """`{{name}}`."""

    name: str


@dataclass(slots=True)
class Section:
    """`{{#name}}…{{/name}}`, or inverted `{{^name}}…{{/name}}`."""

    name: str
    inverted: bool
    children: list[Node] = field(default_factory=list)


Node = str | Variable | Section


def parse(template: str) -> list[Node]:
    """The template as a tree. Raises MustacheError."""
    root: list[Node] = []
    open_sections: list[Section] = []
    position = 0
    # Beyond the last }} there is no tag, and to look for one from each {{ would take the square of the length.
    for tag in _TAG.finditer(template, 0, template.rfind("}}") + 2):
        start, end = _standalone(template, tag) if tag["sigil"] in ("#", "^", "/", "!") else tag.span()
        start = max(start, position)
        nodes = open_sections[-1].children if open_sections else root
        _text(nodes, template[position:start], template, position)
        position = end
        if tag["sigil"] == "!":
            continue
        name = _name(tag, template)
        if tag["sigil"] in ("#", "^"):
            if len(open_sections) == _DEEPEST:
                raise MustacheError(f"more than {_DEEPEST} sections inside each other")
            section = Section(name, inverted=tag["sigil"] == "^")
            nodes.append(section)
            open_sections.append(section)
        elif tag["sigil"] == "/":
            if not open_sections or open_sections[-1].name != name:
                raise MustacheError(
                    f"line {_line(template, tag.start())}: {_shown(tag[0])} closes nothing open"
                )
            open_sections.pop()
        else:
            nodes.append(Variable(name))
    if open_sections:
        raise MustacheError(f"{{{{#{open_sections[-1].name}}}}} is never closed")
    _text(root, template[position:], template, position)
    return root


def names(nodes: Sequence[Node], *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """(first segment of each name used, whether it stands inside a section and so may belong to the section's item)."""
    for node in nodes:
        if isinstance(node, str) or node.name == ".":
            continue
        yield node.name.split(".")[0], inside
        if isinstance(node, Section):
            # Below an inverted section nothing was pushed, so its names are as outside as the section itself.
            yield from names(node.children, inside=inside or not node.inverted)


def render(nodes: Sequence[Node], values: Mapping[str, object]) -> str:
    """The text with `values`; what is missing becomes empty."""
    out: list[str] = []
    _render(nodes, [values], out)
    return "".join(out)


def _render(nodes: Sequence[Node], stack: list[object], out: list[str]) -> None:
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif isinstance(node, Variable):
            out.append(to_text(_lookup(node.name, stack)))
        else:
            value = _lookup(node.name, stack)
            if node.inverted:
                if _falsy(value):
                    _render(node.children, stack, out)
            elif not _falsy(value):
                for item in value if isinstance(value, list | tuple) else (value,):
                    _render(node.children, [*stack, item], out)


def to_text(value: object) -> str:
    """A value as every SDK writes it: nothing for null, numbers as JavaScript does, lists and objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return _json(value) if isinstance(value, Mapping | list | tuple) else str(value)


def _json(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_json(str(key))}:{_json(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(_json(item) for item in value)}]"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    if isinstance(value, bool | int | float):
        return to_text(value)
    return json.dumps(str(value), ensure_ascii=False)


def _number(value: float) -> str:
    """Number::toString of ECMAScript (ECMA-262, 6.1.6.1.20), which RFC 8785 prescribes too."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is finite; this tells mypy
    text = "".join(map(str, digits))
    point = len(text) + exponent
    if value == 0:
        return "0"
    if 0 < point <= 21:
        text = f"{text[:point].ljust(point, '0')}{'.' if text[point:] else ''}{text[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{text}"
    else:
        text = f"{text[0]}{'.' if text[1:] else ''}{text[1:]}e{point - 1:+d}"
    return f"-{text}" if sign else text


def _falsy(value: object) -> bool:
    # As the specification: false, null and the empty list; and the empty string, as in every JavaScript renderer.
    return value is None or value is False or value == "" or (isinstance(value, list | tuple) and not value)


def _lookup(name: str, stack: Sequence[object]) -> object:
    if name == ".":
        return stack[-1]
    first, *rest = name.split(".")
    value: object = None
    for scope in reversed(stack):
        if isinstance(scope, Mapping) and first in scope:
            value = scope[first]
            break
    for segment in rest:
        value = value.get(segment) if isinstance(value, Mapping) else None
    return value


def _name(tag: re.Match[str], template: str) -> str:
    name = (tag["triple"] if tag["triple"] is not None else tag["name"]).strip()
    if tag["sigil"] not in _REFUSED and _NAME.fullmatch(name):
        return name
    where = f"line {_line(template, tag.start())}: {_shown(tag[0])}"
    if tag["sigil"] in _REFUSED:
        raise MustacheError(f"{where}: {_REFUSED[tag['sigil']]} are not supported")
    raise MustacheError(f"{where}: {_shown(name)!r} is no name; write {{{{name}}}} or {{{{name.field}}}}")


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _text(nodes: list[Node], text: str, template: str, position: int) -> None:
    stray = text.find("{{")
    if stray >= 0:
        raise MustacheError(f"line {_line(template, position + stray)}: '{{{{' without '}}}}'")
    if text:
        nodes.append(text)


def _standalone(template: str, tag: re.Match[str]) -> tuple[int, int]:
    """The span of the tag, widened to its whole line when nothing but blanks share it."""
    start, end = tag.span()
    while start and template[start - 1] in " \t":
        start -= 1
    while end < len(template) and template[end] in " \t\r":
        end += 1
    begins = start == 0 or template[start - 1] == "\n"
    ends = end == len(template) or template[end] == "\n"
    return (start, min(end + 1, len(template))) if begins and ends else tag.span()


def _line(template: str, position: int) -> int:
    return template.count("\n", 0, position) + 1
