"""The four template formats: which variables a text uses, and the text with values. No template can run code."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox

from promptrollout.revision import mustache

FORMATS = ("mustache", "jinja2", "fstring", "none")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Nothing to load from, so these could never work in a pod.
_JINJA_LOADS = (jinja2.nodes.Include, jinja2.nodes.Import, jinja2.nodes.FromImport, jinja2.nodes.Extends)
_JINJA_GLOBALS = ("range", "dict", "namespace")


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
        return _jinja_variables(text)
    if template_format == "fstring":
        return Variables(frozenset(name for _, name in _fstring(text) if name is not None))
    _known(template_format)
    return Variables(frozenset())


def render_template(text: str, template_format: str, values: Mapping[str, object]) -> str:
    """`text` with `values`, as a pod's SDK renders it; a missing value becomes empty. Raises TemplateError."""
    if template_format == "mustache":
        return mustache.render(_parse_mustache(text), values)
    if template_format == "jinja2":
        try:
            return _jinja().from_string(text).render(dict(values))
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise TemplateError(f"rendering failed: {error}") from error
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


def _jinja() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    # autoescape off: a prompt is not HTML. The newline at the end is part of a prompt.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        autoescape=False,
        keep_trailing_newline=True,
    )
    for name in set(environment.globals) - set(_JINJA_GLOBALS):
        del environment.globals[name]
    return environment


@jinja2.pass_context
def _as_it_is(context: jinja2.runtime.Context, value: object) -> object:  # noqa: ARG001 - Jinja2's signature
    return value


def _undeclared(text: str) -> set[str]:
    """As jinja2.meta.find_undeclared_variables, which computes constants on the way: without computing anything.

    `{{ 'a' * 10000000000 }}` would take all memory. Neither its optimiser nor its output folds constants here: the
    latter does not where a `finalize` asks for the context of a rendering.
    """
    environment = _jinja()
    environment.finalize = _as_it_is
    tree = environment.parse(text)
    for node in tree.find_all(_JINJA_LOADS):
        raise TemplateError(f"line {node.lineno}: include, import and extends are not supported")
    looking = jinja2.meta.TrackingCodeGenerator(environment)
    looking.optimizer = None
    looking.visit(tree)
    return looking.undeclared_identifiers


def _jinja_variables(text: str) -> Variables:
    try:
        found = _undeclared(text)
    except jinja2.TemplateError as error:
        line, said = getattr(error, "lineno", None), error.message or type(error).__name__
        raise TemplateError(f"line {line}: {said}" if line else said) from error
    except RecursionError:
        raise TemplateError("is nested too deeply") from None
    return Variables(frozenset(found) - frozenset(_JINJA_GLOBALS))


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
