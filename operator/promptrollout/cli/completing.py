"""Console entry `kubectl_complete-promptrollout`: kubectl asks it for what may come next.

kubectl (1.26 and later) runs it with the words so far, the last one to be completed, and reads one suggestion a line
and then a directive: `:4` means that files are no suggestions.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise

from promptrollout.cli.printing import CliError
from promptrollout.cli.words import VERBS

_OTHERS = {
    "get": "list rollouts",
    "status": "one rollout, well told",
    "history": "earlier revisions and decisions",
    "evidence": "what a decision rested on",
    "plan": "what a rollout can show, and when",
    "simulate": "a rollout in virtual time",
    "replay": "a verdict again from its evidence",
    "version": "the plugin's version",
}
_NO_FILES, _FILES = ":4", ":0"
_OF_FILES = {"plan", "simulate", "replay"}


def suggestions(words: Sequence[str]) -> tuple[list[str], str]:
    """What may come in place of the last word, and the directive."""
    *before, last = words or [""]
    plain = [word for word in before if not word.startswith("-")]
    if not plain:
        known = {**_OTHERS, **VERBS}
        return [f"{name}\t{said}" for name, said in known.items() if name.startswith(last)], _NO_FILES
    if before[-1] in {"-o", "--output"}:
        return [form for form in ("json", "yaml", "wide") if form.startswith(last)], _NO_FILES
    if plain[0] in _OF_FILES or last.startswith("-"):
        return [], _FILES if plain[0] in _OF_FILES else _NO_FILES
    return [name for name in _names(before) if name.startswith(last)], _NO_FILES


def _names(words: Sequence[str]) -> Iterable[str]:
    """The rollouts of the namespace; none if the cluster cannot be asked."""
    from promptrollout.cli.access import Cluster, Seen, Where, run  # noqa: PLC0415 - slow to import; often not needed

    async def read(cluster: Cluster) -> list[Seen]:
        return await cluster.rollouts()

    options = dict(pairwise(words))
    where = Where(options.get("-n") or options.get("--namespace"), options.get("--context"))
    with contextlib.suppress(CliError, OSError):
        return [seen.name for seen in run(where, read)]
    return ()


def main() -> None:
    """Console entry."""
    found, directive = suggestions(sys.argv[1:])
    sys.stdout.write("\n".join([*found, directive]) + "\n")
