"""Templates, compiled once when a payload is loaded. Nothing here can run code or call into the application."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from types import BuiltinMethodType
from typing import TYPE_CHECKING, NamedTuple

from promptrollout_sdk import mustache
from promptrollout_sdk.errors import PayloadError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Render = Callable[[Mapping[str, object]], str]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JINJA_GLOBALS = ("range", "dict", "namespace")
_PLAIN = (str, bytes, int, float, Decimal, date, time, timedelta, list, tuple, dict, set, frozenset)


class Template(NamedTuple):
    """`render`: from values to text, missing values become empty. `names`: what it looks up, its own names included."""

    render: Render
    names: frozenset[str]


def compile_template(text: str, template_format: str) -> Template:
    """The template. PayloadError for a text that is none."""
    compiler = _COMPILERS.get(template_format)
    if compiler is None:
        raise PayloadError("template", f"unknown template format {template_format!r}: a newer SDK is needed")
    return compiler(text)


def _compile_none(text: str) -> Template:
    return Template(lambda _: text, frozenset())


def _compile_mustache(text: str) -> Template:
    try:
        nodes = mustache.parse(text)
    except mustache.MustacheError as error:
        raise PayloadError("template", str(error)) from error
    names = frozenset(name for name, _ in mustache.names(nodes))
    return Template(lambda values: mustache.render(nodes, values), names)


def _compile_fstring(text: str) -> Template:
    try:
        pieces = [(literal, name) for literal, name, _, _ in string.Formatter().parse(text)]
    except ValueError as error:
        raise PayloadError("template", str(error)) from error
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is not None and (spec or conversion or not _IDENTIFIER.fullmatch(name)):
            raise PayloadError("template", f"{{{name}}}: only plain names are supported")

    def render(values: Mapping[str, object]) -> str:
        return "".join(
            literal if name is None else literal + mustache.to_text(values.get(name))
            for literal, name in pieces
        )

    return Template(render, frozenset(name for _, name in pieces if name is not None))


def _compile_jinja2(text: str) -> Template:
    try:
        from jinja2 import nodes  # noqa: PLC0415 - an optional dependency

        environment = _jinja_environment()
        tree = environment.parse(text)
        names = frozenset(name.name for name in tree.find_all(nodes.Name) if name.ctx == "load")
        template = environment.from_string(tree)
    except ImportError as error:
        message = "a jinja2 prompt needs jinja2: pip install 'promptrollout-sdk[jinja2]'"
        raise PayloadError("template", message) from error
    except Exception as error:
        raise PayloadError("template", f"{type(error).__name__}: {error}") from error
    return Template(lambda values: template.render(dict(values)), names)


def _jinja_environment() -> ImmutableSandboxedEnvironment:
    from jinja2.runtime import BlockReference, LoopContext, Macro  # noqa: PLC0415 - an optional dependency
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Sandbox(ImmutableSandboxedEnvironment):
        """Jinja2's own sandbox would call any public method: `{{ order.cancel() }}` in a prompt would cancel it."""

        def is_safe_callable(self, obj: object) -> bool:
            """Only what is the template's own, and the methods of plain data."""
            owner = getattr(obj, "__self__", None)
            own = isinstance(obj, Macro | BlockReference | LoopContext) or isinstance(owner, LoopContext)
            method = isinstance(obj, BuiltinMethodType) and isinstance(owner, _PLAIN)
            known = any(obj is one for one in self.globals.values())
            return (own or method or known) and super().is_safe_callable(obj)

    environment = Sandbox(autoescape=False, keep_trailing_newline=True)
    for name in set(environment.globals) - set(_JINJA_GLOBALS):
        del environment.globals[name]
    return environment


_COMPILERS: Mapping[str, Callable[[str], Template]] = {
    "none": _compile_none,
    "mustache": _compile_mustache,
    "fstring": _compile_fstring,
    "jinja2": _compile_jinja2,
}
