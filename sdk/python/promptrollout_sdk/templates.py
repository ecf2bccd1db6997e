"""Templates, compiled once when a payload is loaded. Nothing here can run code or reach into an object."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from promptrollout_sdk import mustache
from promptrollout_sdk.errors import PayloadError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Render = Callable[[Mapping[str, object]], str]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JINJA_GLOBALS = ("range", "dict", "namespace")


def compile_template(text: str, template_format: str) -> Render:
    """A function from values to text; missing values become empty. PayloadError for a text that is no template."""
    compiler = _COMPILERS.get(template_format)
    if compiler is None:
        raise PayloadError("template", f"unknown template format {template_format!r}: a newer SDK is needed")
    return compiler(text)


def _compile_none(text: str) -> Render:
    return lambda _: text


def _compile_mustache(text: str) -> Render:
    try:
        nodes = mustache.parse(text)
    except mustache.MustacheError as error:
        raise PayloadError("template", str(error)) from error
    return lambda values: mustache.render(nodes, values)


def _compile_fstring(text: str) -> Render:
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

    return render


def _compile_jinja2(text: str) -> Render:
    try:
        environment = _jinja_environment()
        template = environment.from_string(text)
    except ImportError as error:
        message = "a jinja2 prompt needs jinja2: pip install 'promptrollout-sdk[jinja2]'"
        raise PayloadError("template", message) from error
    except Exception as error:
        raise PayloadError("template", f"{type(error).__name__}: {error}") from error
    return lambda values: template.render(dict(values))


def _jinja_environment() -> ImmutableSandboxedEnvironment:
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - an optional dependency

    environment = ImmutableSandboxedEnvironment(autoescape=False, keep_trailing_newline=True)
    for name in set(environment.globals) - set(_JINJA_GLOBALS):
        del environment.globals[name]
    return environment


_COMPILERS: Mapping[str, Callable[[str], Render]] = {
    "none": _compile_none,
    "mustache": _compile_mustache,
    "fstring": _compile_fstring,
    "jinja2": _compile_jinja2,
}
