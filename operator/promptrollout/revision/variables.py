"""A prompt's declared variables against those its texts use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from promptrollout.revision.sealing import (
    DEFAULT_FORMAT,
    SupportsModelDump,
    as_mapping,
    join,
    seal,
)
from promptrollout.revision.templates import TemplateError, Variables, render_template, template_variables


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the author has to repair: where (relative to the prompt) and what to do."""

    field_path: str
    message: str

    def __str__(self) -> str:
        return f"{self.field_path}: {self.message}"


@dataclass(frozen=True, slots=True)
class VariableDiff:
    """What applications have to supply anew, and what they supply in vain, from one revision to the next."""

    added: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


def check_variables(prompt: SupportsModelDump | Mapping[str, object]) -> list[Problem]:
    """Every text that is no template, and a declared list that differs from what the texts use.

    With a text that cannot be parsed the lists are not compared: what it uses is unknown.
    """
    document = as_mapping(prompt)
    template_format = str(document.get("templateFormat") or DEFAULT_FORMAT)
    problems: list[Problem] = []
    required: set[str] = set()
    possible: set[str] = set()
    for path, text in _texts(document):
        try:
            used = template_variables(text, template_format)
        except TemplateError as error:
            problems.append(Problem(path, str(error)))
        else:
            required |= used.required
            possible |= used.possible
    mismatch = None if problems else _mismatch(document, Variables(frozenset(required), frozenset(possible)))
    return [*problems, mismatch] if mismatch else problems


def used_variables(prompt: SupportsModelDump | Mapping[str, object]) -> frozenset[str]:
    """What the texts certainly take from outside; of texts that are no templates, nothing."""
    document = as_mapping(prompt)
    template_format = str(document.get("templateFormat") or DEFAULT_FORMAT)
    used: set[str] = set()
    for _, text in _texts(document):
        with contextlib.suppress(TemplateError):
            used |= template_variables(text, template_format).required
    return frozenset(used)


def diff_variables(old: Mapping[str, object], new: Mapping[str, object]) -> VariableDiff:
    """Declared variables of two documents."""
    before, after = _declared(old), _declared(new)
    return VariableDiff(added=tuple(sorted(after - before)), removed=tuple(sorted(before - after)))


def preview(
    prompt: SupportsModelDump | Mapping[str, object], values: Mapping[str, object]
) -> dict[str, object]:
    """The sealed parts with their texts rendered, as a pod would send them. Raises SealError, TemplateError."""
    document = seal(prompt).document
    template_format = str(document["templateFormat"])
    return {"parts": _rendered(document["parts"], template_format, values)}


def _rendered(value: object, template_format: str, values: Mapping[str, object]) -> object:
    if not isinstance(value, Mapping):
        return value
    return {name: _rendered_part(part, template_format, values) for name, part in value.items()}


def _rendered_part(part: Mapping[str, object], fmt: str, values: Mapping[str, object]) -> dict[str, object]:
    rendered = dict(part)
    if isinstance(text := part.get("text"), str):
        rendered["text"] = render_template(text, fmt, values)
    if isinstance(messages := part.get("messages"), Sequence):
        rendered["messages"] = [
            {**message, "content": _rendered_content(message["content"], fmt, values)} for message in messages
        ]
    return rendered


def _rendered_content(content: object, fmt: str, values: Mapping[str, object]) -> object:
    if isinstance(content, str):
        return render_template(content, fmt, values)
    if not isinstance(content, Sequence):
        return content
    return [
        {**piece, "text": render_template(piece["text"], fmt, values)}
        if isinstance(piece, Mapping) and isinstance(piece.get("text"), str)
        else piece
        for piece in content
    ]


def _declared(document: Mapping[str, object]) -> set[str]:
    names = document.get("variables") or ()
    return {str(name) for name in names} if isinstance(names, Sequence) else set()


def _mismatch(document: Mapping[str, object], used: Variables) -> Problem | None:
    declared = _declared(document)
    missing = used.required - declared
    unused = declared - used.required - used.possible
    if not missing and not unused:
        return None
    cures = []
    if missing:
        cures.append(f"declare {_list(missing)}")
    if unused:
        cures.append(f"remove {_list(unused)} or use it in the text")
    return Problem(
        "variables",
        f"declared are {_list(declared)}, the text uses {_list(used.required)}: {' and '.join(cures)}",
    )


def _list(names: set[str] | frozenset[str]) -> str:
    return "[" + ", ".join(sorted(names)) + "]"


def _texts(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    parts = document.get("parts")
    if isinstance(parts, Mapping) and parts:
        for name, part in parts.items():
            if isinstance(part, Mapping):
                yield from _part_texts(part, f"parts.{name}")
    else:
        yield from _part_texts(document, "")


def _part_texts(part: Mapping[str, object], path: str) -> Iterator[tuple[str, str]]:
    if isinstance(text := part.get("text"), str):
        yield join(path, "text"), text
    messages = part.get("messages")
    for i, message in enumerate(messages if isinstance(messages, Sequence) else ()):
        if not isinstance(message, Mapping):
            continue
        where = join(path, f"messages[{i}].content")
        content = message.get("content")
        if isinstance(content, str):
            yield where, content
        elif isinstance(content, Sequence):
            for j, piece in enumerate(content):
                if isinstance(piece, Mapping) and isinstance(piece.get("text"), str):
                    yield f"{where}[{j}].text", str(piece["text"])
