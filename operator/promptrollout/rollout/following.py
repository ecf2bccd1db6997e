"""Following the wanted prompt: a first one, a new one, the old one again."""

from collections.abc import Sequence

from promptrollout.api.status import Candidate, Challenger, HistoryEntry, Outcome, Progress, RevisionRef
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.delivering import arms_of, salt_for, serve
from promptrollout.rollout.sourcing import tell_changes
from promptrollout.rollout.strategies import Goal
from promptrollout.rollout.turn import Turn


def follow_prompt(turn: Turn) -> None:
    """Make status want what spec wants; a revision that was rejected is not tried again by itself."""
    if turn.status.stable is None:
        _first(turn)
        return
    if turn.status.concluded and turn.status.concluded.wanted != turn.seen.wanted:
        turn.set(concluded=None)
    goal, status = goal_of(turn), turn.status
    if goal is None:
        _back_to_stable(turn)
    elif status.candidate and status.candidate.revision == goal.id:
        return
    elif status.rejected is None or status.rejected.revision != goal.id:
        _supersede(turn, goal)
        start_trial(turn, goal)


def goal_of(turn: Turn) -> Goal | None:
    """What the spec wants to be tried; None if stable is all it wants, or what it wants has been tried and concluded.

    A conclusion holds as long as the spec wants the same prompt, and no other trial of it.
    """
    stable, strategy, wanted = turn.status.stable, turn.strategy, turn.seen.wanted
    if stable is None or strategy is None:
        return None
    done = turn.status.concluded
    if done and (done.winner, done.wanted) == (stable.revision, wanted):
        same = strategy.goal(wanted, wanted, turn.seen.arms)
        if same is None or same.id == done.trial:
            return None
    return strategy.goal(wanted, stable.revision, turn.seen.arms)


def named(candidate: Candidate) -> str:
    """What is on trial, in words."""
    arms = ", ".join(f"{arm.name} ({arm.revision})" for arm in candidate.arms if not arm.dropped)
    return f"the test of {arms}" if candidate.arms else f"revision {candidate.revision}"


def start_trial(turn: Turn, goal: Goal, attempt: int = 1) -> None:
    """Deliver what is to be tried beside stable, at weight 0; evidence starts anew."""
    stable, strategy = turn.status.stable, turn.strategy
    if stable is None or strategy is None:
        return
    progress = Progress(strategy=strategy.name, steps=strategy.steps, plan=strategy.digest())
    changes = turn.seen.changes if goal.id == turn.seen.wanted else None
    candidate = Candidate(
        revision=goal.id,
        arms=[Challenger(name=name, revision=revision) for name, revision in goal.arms],
        attempt=attempt,
        started_at=turn.now,
        progress=progress,
        changes=changes,
    )
    turn.set(candidate=candidate, rejected=None, pause=None, analysis=None, concluded=None)
    serve(turn, arms_of(stable.revision, candidate), salt_for(turn.seen.uid, stable.revision, goal.id))
    tell_changes(turn, changes)
    again = f", attempt {attempt}" if attempt > 1 else ""
    turn.note(
        "CandidateDelivered",
        f"{named(candidate)} is delivered beside stable {stable.revision}{again}",
    )


def remember(turn: Turn, arms: Sequence[Challenger], outcome: Outcome, reason: str = "") -> None:
    """Put what was on trial, and is no more, at the head of the history."""
    candidate = turn.status.candidate
    if candidate is None:
        return
    entries = [
        HistoryEntry(
            revision=arm.revision,
            outcome=outcome,
            reason=reason,
            started_at=candidate.started_at,
            ended_at=turn.now,
        )
        for arm in arms
    ]
    history = [*entries, *turn.status.history]
    turn.set(history=history[: turn.spec.revision_history_limit] if turn.spec else history)


def _first(turn: Turn) -> None:
    wanted = turn.seen.wanted
    first = HistoryEntry(
        revision=wanted, outcome=Outcome.PROMOTED, reason="First", started_at=turn.now, ended_at=turn.now
    )
    turn.set(stable=RevisionRef(revision=wanted, since=turn.now), history=[first])
    serve(turn, arms_of(wanted), salt_for(turn.seen.uid, "", wanted))
    turn.note("FirstRevision", f"revision {wanted} is the first and is delivered to all")


def _back_to_stable(turn: Turn) -> None:
    stable = turn.status.stable
    if stable is None:
        return
    _supersede(turn, None)
    if turn.status.rejected:
        turn.note("RejectedRevisionGone", f"the spec wants stable {stable.revision} again")
    turn.set(rejected=None, pause=None)
    # Conversations that are being drained keep their time.
    serve(turn, arms_of(stable.revision), pins=turn.status.delivered.pins if turn.status.delivered else ())


def _supersede(turn: Turn, goal: Goal | None) -> None:
    candidate = turn.status.candidate
    if candidate is None:
        return
    remember(turn, in_trial(turn.status), Outcome.SUPERSEDED, "SpecChanged")
    turn.set(candidate=None, pause=None, analysis=None)
    gives_way_to = f"revision {turn.seen.wanted}" if goal is None or not goal.arms else "another test"
    turn.note("Superseded", f"{named(candidate)} gives way to {gives_way_to}")
