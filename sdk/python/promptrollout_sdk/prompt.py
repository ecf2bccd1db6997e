"""One revision's prompt, ready to be rendered."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from promptrollout_sdk.errors import PayloadError
from promptrollout_sdk.templates import Template, compile_template

#: A message as model clients take it: {"role": …, "content": …}.
Message = dict[str, Any]
DEFAULT = "default"


class Part:
    """One prompt of a revision. What it hands out are copies: a caller may change them.

    `variables` are those of the revision's that this part uses.
    """

    def __init__(
        self, fields: Mapping[str, Any], template_format: str, declared: frozenset[str] = frozenset()
    ) -> None:
        self._fields = fields
        text = fields.get("text")
        messages = fields.get("messages") or []
        if not isinstance(messages, list) or (text is None) == (not messages):
            raise PayloadError("revision_invalid", "a part needs exactly one of `messages` and `text`")
        self._text = None if text is None else compile_template(_as_text(text), template_format)
        self._messages = [_compile_message(message, template_format) for message in messages]
        used = {name for template in self._templates() for name in template.names}
        self.variables = declared & used

    @property
    def text(self) -> str:
        """The template of a text prompt; empty for a chat prompt."""
        return str(self._fields.get("text") or "")

    @property
    def messages(self) -> list[Message]:
        """The messages' templates; a text prompt is one user message."""
        if self._text is not None:
            return [{"role": "user", "content": self.text}]
        return [copy.deepcopy(message) for message, _ in self._messages]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Tool definitions in the provider's format."""
        return copy.deepcopy(self._fields.get("tools") or [])

    @property
    def response_format(self) -> dict[str, Any] | None:
        """The wanted form of the answer in the provider's format."""
        return copy.deepcopy(self._fields.get("responseFormat"))

    def render(self, values: Mapping[str, object]) -> list[Message]:
        """The messages with values filled in."""
        if self._text is not None:
            return [{"role": "user", "content": self._text.render(values)}]
        return [_render_message(message, content, values) for message, content in self._messages]

    def unrendered(self) -> Part:
        """The same part with its templates as plain text."""
        return Part(self._fields, "none")

    def render_text(self, values: Mapping[str, object]) -> str:
        """The text with values filled in; of a chat prompt its messages' texts, a blank line between them."""
        if self._text is not None:
            return self._text.render(values)
        contents = [message["content"] for message in self.render(values)]
        return "\n\n".join(content for content in contents if isinstance(content, str))

    def _templates(self) -> Iterator[Template]:
        if self._text is not None:
            yield self._text
        for _, content in self._messages:
            if isinstance(content, Template):
                yield content
            elif content is not None:
                yield from (template for _, template in content if template)


class Prompt:
    """A revision: its parts, model, parameters, variables, extra."""

    def __init__(self, document: Mapping[str, Any], revision: str) -> None:
        parts = document.get("parts")
        if not isinstance(parts, Mapping) or not parts:
            raise PayloadError("revision_invalid", f"revision {revision} has no parts")
        template_format = str(document.get("templateFormat") or "mustache")
        self.revision = revision
        self.variables = frozenset(str(name) for name in document.get("variables") or ())
        self.parts = {
            str(name): Part(fields, template_format, self.variables) for name, fields in parts.items()
        }
        self.main = self.parts.get(DEFAULT) or next(iter(self.parts.values()))
        self.model = str(document.get("model") or "")
        self.parameters: Mapping[str, Any] = document.get("parameters") or {}
        self.extra: Mapping[str, Any] = document.get("extra") or {}

    def part(self, name: str) -> Part:
        """A part by name, the main one for the empty name. KeyError when there is none."""
        return self.parts[name] if name else self.main


def prompt_from_code(default: str | Sequence[Message] | Mapping[str, Any]) -> Prompt:
    """The prompt that the application was given in code: a text, messages, or fields as in the API's `inline`."""
    if isinstance(default, str):
        document: dict[str, Any] = {"text": default}
    elif isinstance(default, Mapping):
        document = dict(default)
    else:
        document = {"messages": [dict(message) for message in default]}
    model = document.get("model")
    if isinstance(model, Mapping):
        document["model"] = model.get("name")
        document.setdefault("parameters", model.get("parameters"))
    if "parts" not in document:
        keys = ("messages", "text", "tools", "responseFormat")
        document["parts"] = {DEFAULT: {key: document[key] for key in keys if document.get(key) is not None}}
    return Prompt(document, revision="default")


def _as_text(value: object) -> str:
    if not isinstance(value, str):
        raise PayloadError("revision_invalid", "a prompt's text must be a string")
    return value


Content = Template | list[tuple[Any, Template | None]] | None


def _compile_message(message: object, template_format: str) -> tuple[Message, Content]:
    if not isinstance(message, dict):
        raise PayloadError("revision_invalid", "a message must be an object")
    content = message.get("content")
    if isinstance(content, str):
        return message, compile_template(content, template_format)
    if not isinstance(content, list):
        return message, None
    return message, [
        (piece, compile_template(piece["text"], template_format) if _is_text(piece) else None)
        for piece in content
    ]


def _is_text(piece: object) -> bool:
    return isinstance(piece, dict) and isinstance(piece.get("text"), str)


def _render_message(message: Message, content: Content, values: Mapping[str, object]) -> Message:
    if content is None:
        return copy.deepcopy(message)
    if isinstance(content, list):
        pieces = [
            {**piece, "text": template.render(values)} if template else copy.deepcopy(piece)
            for piece, template in content
        ]
        return {**message, "content": pieces}
    return {**message, "content": content.render(values)}
