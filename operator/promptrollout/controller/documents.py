"""From a text of an author's, kept outside the spec, to the fields of `spec.prompt.inline`. Nothing in it runs."""

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from promptrollout.api.checks import inline_problems
from promptrollout.api.problem import Problem
from promptrollout.api.prompt import ConfigMapRef, ContentFormat, InlinePrompt, Part
from promptrollout.api.wording import problem_of
from promptrollout.revision import canonical_json, used_variables

#: Deeper documents are refused: no tool definition is.
_DEEPEST = 100
_ROOT = "spec.prompt.inline"
_BY_ENDING = {"yaml": ContentFormat.YAML, "yml": ContentFormat.YAML, "json": ContentFormat.JSON}


class UnreadableError(ValueError):
    """A text that is no prompt document; the message says what is wrong with it."""


def read_document(ref: ConfigMapRef, text: str) -> Mapping[str, object]:
    """The document in a ConfigMap's value. UnreadableError where it is none."""
    ending = ref.key.rpartition(".")[2].lower()
    kind = ref.format or _BY_ENDING.get(ending, ContentFormat.TEXT)
    if not text.strip():
        raise UnreadableError("is empty")
    if kind is ContentFormat.TEXT:
        return {
            "text": text,
            **({"templateFormat": ref.template_format.value} if ref.template_format else {}),
        }
    document = _json(text) if kind is ContentFormat.JSON else _yaml(text)
    if not isinstance(document, dict):
        raise UnreadableError(f"is not a map of fields, as spec.prompt.inline is (read as {kind})")
    if ref.template_format:
        raise UnreadableError("has its own templateFormat: leave it out of configMapRef")
    return document


def read_prompt(document: Mapping[str, object]) -> InlinePrompt | tuple[Problem, ...]:
    """The prompt, or everything that is wrong with it; paths are relative to the document.

    What the API server does for an inline prompt is done here: unknown fields are refused, numbers among the
    parameters become strings. Variables that are not declared are those that the texts use.
    """
    if unknown := _unknown(document):
        return (Problem(unknown, "is not known", f"see kubectl explain promptrollout.{_ROOT}"),)
    given = {key: value for key, value in document.items() if value is not None}
    given["model"] = _with_text_parameters(given.get("model"))
    if not given["model"]:
        del given["model"]
    try:
        prompt = InlinePrompt.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        found = [problem_of(_ROOT, details) for details in error.errors(include_url=False)[:5]]
        return tuple(Problem(p.path.removeprefix(_ROOT).lstrip("."), p.message, p.cure) for p in found)
    if problems := tuple(inline_problems(prompt, "prompt")):
        return problems
    return prompt if "variables" in given else prompt.but(variables=sorted(used_variables(prompt)))


def _unknown(document: Mapping[str, object]) -> str:
    """The path of the first field that would be ignored; empty if there is none."""
    for model, found, path in [
        (InlinePrompt, document, ""),
        *(
            (Part, part, f"parts.{name}.")
            for name, part in _map(document.get("parts")).items()
            if isinstance(part, Mapping)
        ),
    ]:
        known = {field.alias or name for name, field in model.model_fields.items()}
        for key in found:
            if key not in known:
                return f"{path}{str(key)[:80]}"
    return ""


def _with_text_parameters(model: object) -> object:
    if not isinstance(model, Mapping) or not isinstance(model.get("parameters"), Mapping):
        return model
    parameters = {
        name: value if isinstance(value, str) else _as_json(value)
        for name, value in model["parameters"].items()
        if value is not None
    }
    return {**model, "parameters": parameters}


def _as_json(value: object) -> object:
    try:
        return canonical_json(value)
    except ValueError:
        return value


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _json(text: str) -> object:
    try:
        value: object = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not JSON: line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    return value


def _no_number(name: str) -> object:
    raise UnreadableError(f"is not JSON: {name} is no number")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # libyaml's where it was built in
    """YAML as people mean it in a prompt: a date is text, and so is 12:30 (which YAML 1.1 counts in sixties)."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the base class
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def resolve(self, kind: type, value: str | None, implicit: object) -> object:
        """The tag of what is written without one."""
        if kind is yaml.ScalarNode and value and ":" in value:
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)


def _yaml(text: str) -> object:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):  # a few lines of them make gigabytes
                raise UnreadableError(f"uses the YAML alias *{event.anchor}: write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise UnreadableError("is nested too deeply")
        value: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UnreadableError(f"is not YAML: line {line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError(f"is not YAML: {str(error)[:200]}") from None
    return value
