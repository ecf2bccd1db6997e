"""What all commands share: how they print, how they fail, and their common options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import yaml
from rich.console import Console

#: Exit codes: done, refused or failed, wrong usage (typer's own), no answer in time, cannot be decided.
FAILED, USAGE, LATE, UNDECIDABLE = 1, 2, 3, 4


class Format(StrEnum):
    """How the result is printed."""

    json = "json"
    yaml = "yaml"
    wide = "wide"


Output = Annotated[
    Format | None, typer.Option("-o", "--output", help="json, yaml or wide; otherwise for people.")
]
Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Default: the context's.")]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="Default: as kubectl finds it.")]
AllNamespaces = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of all namespaces.")]


class CliError(Exception):
    """Something to tell the user, and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def console() -> Console:
    """Standard output; colours only on a terminal, and no line is broken in a pipe.

    What people wrote is shown as it is: [red] in a message is no colour, and :x: no picture.
    """
    found = Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())
    if not sys.stdout.isatty():
        found.width = 160
    return found


def complain(message: str) -> None:
    """Say what is wrong, as kubectl does."""
    plain = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    plain.print(f"error: {message}")


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with a message."""
    raise CliError(message, code)


def structured(value: object, form: Format | None) -> bool:
    """Print as JSON or YAML where that is asked for; whether it was."""
    if form is Format.json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    elif form is Format.yaml:
        sys.stdout.write(as_yaml(value))
    else:
        return False
    return True


def as_yaml(value: object) -> str:
    """YAML in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def load_documents(file: str) -> list[Mapping[str, object]]:
    """The objects in a YAML or JSON file (`-`: standard input); those of a List one by one."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = list(yaml.load_all(text, Loader=_Loader))
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}")
    except (yaml.YAMLError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        fail(f"{file} is no YAML{f' (line {where.line + 1})' if where else ''}")
    objects: list[Mapping[str, object]] = []
    for document in found:
        if isinstance(document, Mapping):
            items = document.get("items") if str(document.get("kind", "")).endswith("List") else None
            objects += (
                [one for one in items if isinstance(one, Mapping)] if isinstance(items, list) else [document]
            )
    if not objects:
        fail(f"{file} holds no object")
    return objects


# The C loader is ten times as fast, where PyYAML was built with it; evidence is large.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Command = Callable[..., None]
