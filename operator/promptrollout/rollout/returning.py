"""Straight back, without analysis, to a revision that was stable before: by `undo`, or within rollbackWindow."""

from collections.abc import Sequence
from datetime import datetime

from promptrollout.api.status import HistoryEntry, Outcome, RevisionRef
from promptrollout.rollout.delivering import arms_of, running_pins, serve
from promptrollout.rollout.turn import Turn

UNDONE = "Undone"


def proven(turn: Turn) -> list[str]:
    """Revisions that were stable before, the latest first; not those that were rolled back or undone since."""
    stable = turn.status.stable
    return [each for each in _stood(turn.status.history) if not (stable and stable.revision == each)]


def _stood(entries: Sequence[HistoryEntry]) -> list[str]:
    latest: dict[str, Outcome] = {}
    for entry in entries:
        if entry.outcome is not Outcome.SUPERSEDED:  # says nothing of the revision: the spec wanted another
            latest.setdefault(entry.revision, entry.outcome)
    return [revision for revision, outcome in latest.items() if outcome is Outcome.PROMOTED]


def within_window(turn: Turn, revision: str) -> bool:
    """Whether spec.rollbackWindow lets this revision become stable again without a trial."""
    window = turn.spec.rollback_window if turn.spec else None
    return window is not None and revision in proven(turn)[:window]


def go_back(turn: Turn, revision: str, reason: str, undone: str = "") -> None:
    """Make a revision stable at once; `undone` is the one whose place it takes, if that was undone."""
    over = [history_entry(turn, undone, Outcome.ROLLED_BACK, UNDONE, turn.now)] if undone else []
    back = history_entry(turn, revision, Outcome.PROMOTED, reason, turn.now)
    keep_history(turn, [back, *over, *turn.status.history])
    turn.set(
        stable=RevisionRef(revision=revision, since=turn.now),
        candidate=None,
        rejected=None,
        pause=None,
        analysis=None,
        concluded=None,
    )
    serve(turn, arms_of(revision), pins=running_pins(turn))
    turn.note("WentBack", f"revision {revision} was stable before and serves all again ({reason}), untested")


def keep_history(turn: Turn, entries: Sequence[HistoryEntry]) -> None:
    """As many entries as the spec says, and beyond that what it may have to go back to.

    That is as many as rollbackWindow says, and one for `undo` in any case, however often something was tried since.
    """
    if turn.spec is None:
        turn.set(history=list(entries))
        return
    kept = list(entries[: turn.spec.revision_history_limit])
    needed = set(_stood(entries)[: (turn.spec.rollback_window or 1) + 1])
    needed -= {entry.revision for entry in kept if entry.outcome is Outcome.PROMOTED}
    for entry in entries[len(kept) :]:
        if entry.revision in needed and entry.outcome is Outcome.PROMOTED:
            needed.discard(entry.revision)
            kept.append(entry)
    turn.set(history=kept)


def history_entry(
    turn: Turn, revision: str, outcome: Outcome, reason: str, started_at: datetime
) -> HistoryEntry:
    """What became of a revision, now."""
    return HistoryEntry(
        revision=revision, outcome=outcome, reason=reason, started_at=started_at, ended_at=turn.now
    )
