"""Following the wanted prompt: a first one, a new one, the old one again."""

from promptrollout.api.status import Candidate, HistoryEntry, Outcome, Progress, RevisionRef
from promptrollout.rollout.delivering import arms_of, salt_for, serve
from promptrollout.rollout.turn import Turn


def follow_prompt(turn: Turn) -> None:
    """Make status want what spec wants; a revision that was rejected is not tried again by itself."""
    status, wanted = turn.status, turn.seen.wanted
    if status.stable is None:
        _first(turn)
    elif status.candidate and status.candidate.revision == wanted:
        return
    elif status.stable.revision == wanted:
        _back_to_stable(turn)
    elif status.rejected is None or status.rejected.revision != wanted:
        _supersede(turn)
        start_trial(turn, wanted)


def start_trial(turn: Turn, revision: str, attempt: int = 1) -> None:
    """Deliver this revision beside stable, at weight 0; evidence starts anew."""
    stable, strategy = turn.status.stable, turn.strategy
    if stable is None or strategy is None:
        return
    progress = Progress(strategy=strategy.name, steps=strategy.steps, plan=strategy.digest())
    turn.set(
        candidate=Candidate(revision=revision, attempt=attempt, started_at=turn.now, progress=progress),
        rejected=None,
        pause=None,
        analysis=None,
    )
    serve(turn, arms_of(stable.revision, revision), salt_for(turn.seen.uid, stable.revision, revision))
    again = f", attempt {attempt}" if attempt > 1 else ""
    turn.note(
        "CandidateDelivered", f"revision {revision} is delivered beside stable {stable.revision}{again}"
    )


def remember(turn: Turn, candidate: Candidate, outcome: Outcome, reason: str = "") -> None:
    """Put a trial that is over at the head of the history."""
    entry = HistoryEntry(
        revision=candidate.revision,
        outcome=outcome,
        reason=reason,
        started_at=candidate.started_at,
        ended_at=turn.now,
    )
    limit = turn.spec.revision_history_limit if turn.spec else len(turn.status.history) + 1
    turn.set(history=[entry, *turn.status.history][:limit])


def _first(turn: Turn) -> None:
    wanted = turn.seen.wanted
    first = HistoryEntry(
        revision=wanted, outcome=Outcome.PROMOTED, reason="First", started_at=turn.now, ended_at=turn.now
    )
    turn.set(stable=RevisionRef(revision=wanted, since=turn.now), history=[first])
    serve(turn, arms_of(wanted), salt_for(turn.seen.uid, "", wanted))
    turn.note("FirstRevision", f"revision {wanted} is the first and is delivered to all")


def _back_to_stable(turn: Turn) -> None:
    _supersede(turn)
    if turn.status.rejected:
        turn.note("RejectedRevisionGone", f"the spec wants stable {turn.seen.wanted} again")
    turn.set(rejected=None, pause=None)
    # Conversations that are being drained keep their time.
    serve(turn, arms_of(turn.seen.wanted), pins=turn.status.delivered.pins if turn.status.delivered else ())


def _supersede(turn: Turn) -> None:
    candidate = turn.status.candidate
    if candidate is None:
        return
    remember(turn, candidate, Outcome.SUPERSEDED, "SpecChanged")
    turn.set(candidate=None, pause=None, analysis=None)
    turn.note("Superseded", f"revision {candidate.revision} gives way to {turn.seen.wanted}")
