"""docs/states.md, drawn from the table in `states`: `python -m promptrollout.rollout.diagram --write|--check`."""

import argparse
import sys
from pathlib import Path

from promptrollout.rollout.states import ASIDE, MEANINGS, MOVES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "states.md"

_HEAD = """# The states of a rollout

Drawn from the table in `operator/promptrollout/rollout/states.py` by `make generate`. Tests tell random histories of
edits, commands, verdicts, outages, restarts and clock steps, and check that every transition they see stands in this
table, and that they see each one in it.
"""


def page() -> str:
    """The page, with a mermaid diagram and what each phase means."""
    return "\n".join([_HEAD, "```mermaid", *_diagram(), "```", "", *_phases(), "", *_aside(), ""])


def _diagram() -> list[str]:
    start = ["stateDiagram-v2", "    [*] --> Pending", "    Pending --> Delivering: first prompt"]
    return start + [
        f"    {one.value} --> {other.value}: {_label(when)}" for (one, other), when in MOVES.items()
    ]


def _label(when: str) -> str:
    # A semicolon ends a statement in mermaid.
    return when.replace(";", ",")


def _phases() -> list[str]:
    rows = [f"| {phase.value} | {meaning} |" for phase, meaning in MEANINGS.items()]
    return ["| phase | what it says |", "|---|---|", *rows]


def _aside() -> list[str]:
    said = "These phases are not in the diagram: any other may become one, and it becomes what holds then."
    return [said, "", *(f"- **{phase.value}**: when {when}." for phase, when in ASIDE.items())]


def main() -> int:
    """Write the page, or say whether it is what would be written."""
    parser = argparse.ArgumentParser(description="The diagram of a rollout's states.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write docs/states.md")
    what.add_argument("--check", action="store_true", help="fail if docs/states.md is not up to date")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write(f"{PAGE.name} is out of date; run make generate\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
