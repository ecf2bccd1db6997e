"""The four template formats: which variables a text uses, and the text with values. No template can run code."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

from promptrollout.revision import mustache

FORMATS = ("mustache", "jinja2", "fstring", "none")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TemplateError(ValueError):
    """A text that is no template of its format."""


@dataclass(frozen=True, slots=True)
class Variables:
    """`required`: names the text certainly takes from outside; `possible`: those which a section's item may give."""

    required: frozenset[str]
    possible: frozenset[str] = frozenset()


def template_variables(text: str, template_format: str) -> Variables:
    """The variables `text` uses. Raises TemplateError with line and cure."""
    if template_format == "mustache":
        return _mustache_variables(text)
    if template_format == "jinja2":
        # Imported here, as below: Jinja2 takes 2 MiB of memory, and only prompts in this format need it.
        from promptrollout.revision import jinja  # noqa: PLC0415

        try:
            return Variables(jinja.variables(text))
        except jinja.JinjaError as error:
            raise TemplateError(str(error)) from error
    if template_format == "fstring":
        return Variables(frozenset(name for _, name in _fstring(text) if name is not None))
    _known(template_format)
    return Variables(frozenset())


def render_template(text: str, template_format: str, values: Mapping[str, object]) -> str:
    """`text` with `values`, as a pod's SDK renders it; a missing value becomes empty. Raises TemplateError."""
    if template_format == "mustache":
        return mustache.render(_parse_mustache(text), values)
    if template_format == "jinja2":
        from promptrollout.revision import jinja  # noqa: PLC0415

        try:
            return jinja.render(text, values)
        except jinja.JinjaError as error:
            raise TemplateError(str(error)) from error
    if template_format == "fstring":
        return "".join(
            literal + ("" if name is None else mustache.to_text(values.get(name)))
            for literal, name in _fstring(text)
        )
    _known(template_format)
    return text


def _known(template_format: str) -> None:
    if template_format not in FORMATS:
        raise TemplateError(f"unknown template format {template_format!r}; one of {', '.join(FORMATS)}")


def _parse_mustache(text: str) -> list[mustache.Node]:
    try:
        return mustache.parse(text)
    except mustache.MustacheError as error:
        raise TemplateError(str(error)) from error


def _mustache_variables(text: str) -> Variables:
    used = list(mustache.names(_parse_mustache(text)))
    required = frozenset(name for name, inside in used if not inside)
    return Variables(required, frozenset(name for name, inside in used if inside) - required)


def _fstring(text: str) -> list[tuple[str, str | None]]:
    """(literal, name or None) pairs; only plain names, so that a value's attributes stay out of reach."""
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{error}; a brace in the text is written {{{{ or }}}}") from error
    for _, name, spec, conversion in pieces:
        if name is not None and (not _IDENTIFIER.fullmatch(name) or spec or conversion):
            shown = (
                name[:60]
                + ("…" if len(name) > 60 else "")
                + (f"!{conversion}" if conversion else "")
                + (f":{spec}" if spec else "")
            )
            raise TemplateError(
                f"{{{shown}}}: only plain names such as {{question}}; "
                "a brace in the text is written {{ or }}"
            )
    return [(literal, name) for literal, name, _, _ in pieces]
