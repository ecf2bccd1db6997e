"""docs/states.md (README has its diagram) and docs/events.md, made of the tables in `states` and `api.reasons`:

`python -m promptrollout.rollout.diagram --write|--check`.
"""

import argparse
import sys
from pathlib import Path

from promptrollout.api.reasons import REASONS
from promptrollout.rollout.states import ASIDE, MEANINGS, MOVES

_DOCS = Path(__file__).resolve().parents[3] / "docs"
README = _DOCS.parent / "README.md"
PAGE = _DOCS / "states.md"
EVENTS = _DOCS / "events.md"

_HEAD = """# The states of a rollout

Drawn from the table in `operator/promptrollout/rollout/states.py` by `make generate`. Tests tell random histories of
edits, commands, verdicts, outages, restarts and clock steps, and check that every transition they see stands in this
table, and that they see each one in it.
"""


_EVENTS_HEAD = """# Events

Made of the table in `operator/promptrollout/api/reasons.py` by `make generate`; a test holds it against the code.

```
kubectl events --for promptrollout/support-answer
```

An Event is written when something changes, never because it still holds: a restarted operator tells nothing again. What
repeats is counted in one Event, and each object's flood is cut (at most 50 at once, then one in 30 s). Events live an
hour or so; what must outlive them stands in `status.decisions`, `status.history` and `status.conditions`.
[Channels](notifications.md) can be told of the same. The metric `promptrollout_operator_decisions_total` counts
decisions by reason.
"""


def events_page() -> str:
    """The page with every reason of an Event."""
    rows = [
        f"| `{name}` | {' or '.join(one.types)} | {one.when} | {one.cure or 'nothing'} | {'yes' if one.told else ''} |"
        for name, one in REASONS.items()
    ]
    said = "The last column: whether a channel is told of it where neither channel nor rollout names reasons."
    head = ["| reason | type | when | what to do | told |", "|---|---|---|---|---|"]
    return "\n".join([_EVENTS_HEAD, *head, *rows, "", said, ""])


def page() -> str:
    """The page, with a mermaid diagram and what each phase means."""
    return "\n".join([_HEAD, "```mermaid", *_diagram(), "```", "", *_phases(), "", *_aside(), ""])


def readme(text: str) -> str:
    """README with the diagram between its marks; ValueError if they are not there."""
    head, begin, rest = text.partition("<!-- states: ")
    mark, end_of_mark, rest = rest.partition("-->")
    _, end, tail = rest.partition("<!-- /states -->")
    if not (begin and end_of_mark and end):
        raise ValueError("README.md has no marks <!-- states: … --> and <!-- /states --> to draw between")
    drawn = "\n".join(["```mermaid", *_diagram(), "```"])
    return f"{head}{begin}{mark}{end_of_mark}\n{drawn}\n{end}{tail}"


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
    """Write the pages, or say whether they are what would be written."""
    parser = argparse.ArgumentParser(
        description="The diagram of a rollout's states, and the table of its Events."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--write", action="store_true", help="write docs/states.md, docs/events.md and README's"
    )
    what.add_argument("--check", action="store_true", help="fail if one of them is not up to date")
    write = parser.parse_args().write
    stale = False
    drawn = readme(README.read_text(encoding="utf-8"))
    for file, text in ((PAGE, page()), (EVENTS, events_page()), (README, drawn)):
        if write:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{file.name} is out of date; run make generate\n")
            stale = True
    return int(stale)


if __name__ == "__main__":
    raise SystemExit(main())
