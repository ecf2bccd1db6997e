"""The table of values in the chart's README, from values.yaml and its comments: `python -m tests.charts.values_table`.

Every value stands below a comment that says what it is for; what has parts is described by its parts.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).parents[2] / "charts" / "prompt-rollout"
README = CHART / "README.md"
HEAD = "| value | default | what for |\n|---|---|---|\n"
#: Shown whole although they are maps: their keys are the user's.
WHOLE = {"sources", "registries", "resources", "podSecurityContext"}


@dataclass(frozen=True)
class Value:
    """One value: its path in dots, its default, and the comment above it."""

    path: str
    default: object
    comment: str


def values(text: str) -> list[Value]:
    """The values of a values.yaml, in order. ValueError for one without a comment."""
    defaults = yaml.safe_load(text)
    found: list[Value] = []
    comments: list[str] = []
    parents: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped:
            comments = []
        elif stripped.startswith("#"):
            comments.append(stripped.lstrip("# "))
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            parents = [*parents[: len(key[1]) // 2], key[2]]
            default = defaults
            for part in parents:
                default = default[part]
            inside = any(parent in WHOLE for parent in parents[:-1])
            if not inside and (not isinstance(default, dict) or not default or key[2] in WHOLE):
                if not comments:
                    raise ValueError(f"{'.'.join(parents)}: no comment says what it is for")
                found.append(Value(".".join(parents), default, " ".join(comments)))
            comments = []
    return found


def table(text: str) -> str:
    """The rows, Markdown."""
    return HEAD + "".join(
        f"| `{value.path}` | `{json.dumps(value.default)}` | {value.comment.replace('|', '&#124;')} |\n"
        for value in values(text)
    )


def current() -> tuple[str, str]:
    """The README as it is, and as it should be."""
    readme = README.read_text()
    return readme, readme[: readme.index(HEAD)] + table((CHART / "values.yaml").read_text())


if __name__ == "__main__":
    is_, should = current()
    if "--write" in sys.argv:
        README.write_text(should)
    elif is_ != should:
        sys.exit(
            "charts/prompt-rollout/README.md is not current: python -m tests.charts.values_table --write"
        )
