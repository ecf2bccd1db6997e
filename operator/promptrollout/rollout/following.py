"""Following the wanted prompt: a first one, a new one, the old one again."""

from collections.abc import Sequence
from datetime import datetime

from promptrollout.api.gates import GatePlace
from promptrollout.api.status import Candidate, Challenger, Outcome, Pause, Progress, RevisionRef
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.delivering import arms_of, running_pins, salt_for, serve
from promptrollout.rollout.gateplan import gates_at
from promptrollout.rollout.returning import go_back, history_entry, keep_history, within_window
from promptrollout.rollout.sourcing import tell_changes
from promptrollout.rollout.standing import COMMAND
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
        if not goal.arms and within_window(turn, goal.id):
            go_back(turn, goal.id, "RollbackWindow")
        else:
            start_trial(turn, goal)


def goal_of(turn: Turn) -> Goal | None:
    """What the spec wants to be tried; None if stable is all it wants, or what it wants has been tried and concluded.

    A conclusion holds as long as the spec wants the same prompt, and no other trial of it.
    """
    stable, strategy, wanted = turn.status.stable, turn.strategy, turn.seen.wanted
    if strategy is None:
        return None
    if stable is None:
        return Goal(wanted)
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
    """Try this: evidence starts anew. Pods are told of it when the gates before delivery have passed."""
    stable, strategy, spec = turn.status.stable, turn.strategy, turn.spec
    if strategy is None or spec is None:
        return
    progress = Progress(strategy=strategy.name, steps=strategy.steps, plan=strategy.digest())
    changes = turn.seen.changes if goal.id == turn.seen.wanted else None
    gates = gates_at(spec, GatePlace.BEFORE_DELIVERY, first=stable is None)
    candidate = Candidate(
        revision=goal.id,
        arms=[Challenger(name=name, revision=revision) for name, revision in goal.arms],
        attempt=attempt,
        started_at=turn.now,
        progress=progress,
        changes=changes,
        undelivered=bool(gates),
    )
    turn.set(candidate=candidate, rejected=None, pause=_still_paused(turn), analysis=None, concluded=None)
    tell_changes(turn, changes)
    if not gates:
        deliver(turn)
    elif stable is not None:
        serve(turn, arms_of(stable.revision), pins=running_pins(turn))


def _still_paused(turn: Turn) -> Pause | None:
    """What a person has paused goes on when a person says so, whichever prompt is wanted by then."""
    paused = turn.status.pause
    return paused.but(since=turn.now) if paused and paused.reason == COMMAND else None


def deliver(turn: Turn) -> None:
    """Deliver what is to be tried beside stable, at weight 0; the very first revision to all."""
    candidate, stable = turn.status.candidate, turn.status.stable
    if candidate is None:
        return
    if stable is None:
        turn.set(candidate=None, pause=None)
        _deliver_first(turn, candidate.revision, candidate.started_at)
        return
    turn.set(candidate=candidate.but(undelivered=False))
    salt = salt_for(turn.seen.uid, stable.revision, candidate.revision)
    serve(turn, arms_of(stable.revision, candidate), salt, running_pins(turn))
    again = f", attempt {candidate.attempt}" if candidate.attempt > 1 else ""
    turn.note(
        "CandidateDelivered",
        f"{named(candidate)} is delivered beside stable {stable.revision}{again}",
    )


def remember(turn: Turn, arms: Sequence[Challenger], outcome: Outcome, reason: str = "") -> None:
    """Put what was on trial, and is no more, at the head of the history."""
    candidate = turn.status.candidate
    if candidate is None:
        return
    entries = [history_entry(turn, arm.revision, outcome, reason, candidate.started_at) for arm in arms]
    keep_history(turn, [*entries, *turn.status.history])


def _first(turn: Turn) -> None:
    """The very first revision: to all at once, unless gates are to agree to it too."""
    wanted, refused = turn.seen.wanted, turn.status.rejected
    if refused and refused.revision == wanted:
        return
    if turn.status.candidate is None or turn.status.candidate.revision != wanted:
        goal = Goal(wanted)
        _supersede(turn, goal)
        start_trial(turn, goal)


def _deliver_first(turn: Turn, revision: str, started_at: datetime) -> None:
    first = history_entry(turn, revision, Outcome.PROMOTED, "First", started_at)
    turn.set(stable=RevisionRef(revision=revision, since=turn.now), history=[first, *turn.status.history])
    serve(turn, arms_of(revision), salt_for(turn.seen.uid, "", revision))
    turn.note("FirstRevision", f"revision {revision} is the first and is delivered to all")


def _back_to_stable(turn: Turn) -> None:
    stable = turn.status.stable
    if stable is None:
        return
    _supersede(turn, None)
    if turn.status.rejected:
        turn.note("RejectedRevisionGone", f"the spec wants stable {stable.revision} again")
    turn.set(rejected=None, pause=None)
    serve(turn, arms_of(stable.revision), pins=running_pins(turn))


def _supersede(turn: Turn, goal: Goal | None) -> None:
    candidate = turn.status.candidate
    if candidate is None:
        return
    remember(turn, in_trial(turn.status), Outcome.SUPERSEDED, "SpecChanged")
    turn.set(candidate=None, analysis=None)
    gives_way_to = f"revision {turn.seen.wanted}" if goal is None or not goal.arms else "another test"
    turn.note("Superseded", f"the spec wants something else: {named(candidate)} gives way to {gives_way_to}")
