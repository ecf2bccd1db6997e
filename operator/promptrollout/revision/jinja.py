"""Jinja2 templates in a sandbox: which variables a text uses, and the text with values."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox

# Nothing to load from, so these could never work in a pod.
_LOADS = (jinja2.nodes.Include, jinja2.nodes.Import, jinja2.nodes.FromImport, jinja2.nodes.Extends)
_GLOBALS = ("range", "dict", "namespace")


class JinjaError(ValueError):
    """A text that is no template, with the line; or values that it cannot be rendered with."""


def variables(text: str) -> frozenset[str]:
    """The names that `text` takes from outside. Raises JinjaError."""
    try:
        found = _undeclared(text)
    except jinja2.TemplateError as error:
        line, said = getattr(error, "lineno", None), error.message or type(error).__name__
        raise JinjaError(f"line {line}: {said}" if line else said) from error
    except RecursionError:
        raise JinjaError("is nested too deeply") from None
    return frozenset(found) - frozenset(_GLOBALS)


def render(text: str, values: Mapping[str, object]) -> str:
    """`text` with `values`; a missing value becomes empty. Raises JinjaError."""
    try:
        return _environment().from_string(text).render(dict(values))
    except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise JinjaError(f"rendering failed: {error}") from error


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    # autoescape off: a prompt is not HTML. The newline at the end is part of a prompt.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        autoescape=False,
        keep_trailing_newline=True,
    )
    for name in set(environment.globals) - set(_GLOBALS):
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
    environment = _environment()
    environment.finalize = _as_it_is
    tree = environment.parse(text)
    for node in tree.find_all(_LOADS):
        raise JinjaError(f"line {node.lineno}: include, import and extends are not supported")
    looking = jinja2.meta.TrackingCodeGenerator(environment)
    looking.optimizer = None
    looking.visit(tree)
    return looking.undeclared_identifiers
