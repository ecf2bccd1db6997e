"""Standing still: pauses and blind times, and the clocks that wait for them.

Two clocks run during a trial. The step's stands while its weight proves nothing (`progress.held`); the deadline's
stands while anything stands, for whatever reason (`candidate.held`).
"""

from datetime import datetime, timedelta

from promptrollout.api.status import ArmAnalysis, Candidate, Pause, Progress
from promptrollout.rollout.delivering import seconds
from promptrollout.rollout.gateplan import APPROVAL
from promptrollout.rollout.turn import Turn

INCONCLUSIVE = "Inconclusive"
#: A person's word is asked for, by the strategy: its message says which.
DECISION = "AwaitingDecision"
COMMAND = "Command"
METRICS = "MetricsUnavailable"
MISMATCH = "SampleRatioMismatch"

#: Which pause may take the place of which: what a person asked for is never ended by something that mends itself.
_RANK = {INCONCLUSIVE: 0, DECISION: 0, METRICS: 1, MISMATCH: 2, COMMAND: 3}
#: The pauses that are the strategy's own: it judges anew at each look whether there is still reason for them.
REJUDGED = frozenset({INCONCLUSIVE, DECISION})


def pause(turn: Turn, reason: str, message: str) -> None:
    """Stand still for this reason, unless a stronger one holds already; said once, since when is kept."""
    old = turn.status.pause
    if old and old.reason == reason:
        turn.set(pause=old.but(message=message))
        return
    if old and _RANK.get(old.reason, 0) > _RANK[reason]:
        return
    unpause(turn)
    turn.set(pause=Pause(reason=reason, message=message, since=turn.now))
    turn.warn("Paused", message)


def unpause(turn: Turn) -> None:
    """End the pause, if there is one; the deadline has waited for it."""
    paused, candidate = turn.status.pause, turn.status.candidate
    turn.set(pause=None)
    if paused and candidate:
        put_off_deadline(turn, paused.since, candidate.progress.held_since, _asked_since(turn, candidate))


def hold_clock(turn: Turn) -> None:
    """Stop the step's clock."""
    candidate = turn.status.candidate
    if candidate and candidate.progress.held_since is None:
        turn.set(candidate=candidate.but(progress=candidate.progress.but(held_since=turn.now)))


def release_clock(turn: Turn) -> None:
    """Let the step's clock go on."""
    candidate, paused = turn.status.candidate, turn.status.pause
    if candidate is None or candidate.progress.held_since is None:
        return
    since, progress = candidate.progress.held_since, candidate.progress
    progress = progress.but(held=progress.held + seconds(turn.now - since), held_since=None)
    turn.set(candidate=candidate.but(progress=progress))
    put_off_deadline(turn, since, paused.since if paused else None, _asked_since(turn, candidate))


def elapsed(progress: Progress, now: datetime) -> timedelta:
    """How long the step's clock has run."""
    if progress.since is None:
        return timedelta(0)
    until = progress.held_since or now
    return max(until - progress.since - timedelta(seconds=progress.held), timedelta(0))


def forget_the_future(turn: Turn) -> None:
    """A clock that was set back must leave nothing to wait for a moment that is still far away."""
    now, status = turn.now, turn.status
    if candidate := status.candidate:
        progress = candidate.progress
        if progress.since and progress.since > now:
            progress = progress.but(since=now, held=0.0)
        if progress.held_since and progress.held_since > now:
            progress = progress.but(held_since=now)
        started = min(candidate.started_at, now)
        turn.set(candidate=candidate.but(started_at=started, progress=progress))
    if (paused := status.pause) and paused.since > now:
        turn.set(pause=paused.but(since=now))
    if any(run.started_at > now for run in status.gates):
        turn.set(gates=[run.but(started_at=min(run.started_at, now)) for run in status.gates])
    if (delivered := status.delivered) and delivered.changed_at > now:
        turn.set(delivered=delivered.but(changed_at=now))
    if analysis := status.analysis:
        blind, through = analysis.unavailable_since, analysis.through
        turn.set(
            analysis=analysis.but(
                unavailable_since=blind and min(blind, now),
                through=through and min(through, now),
                arms=[_no_later(arm, now) for arm in analysis.arms],
            )
        )


def _no_later(arm: ArmAnalysis, now: datetime) -> ArmAnalysis:
    blind, through = arm.unavailable_since, arm.through
    return arm.but(unavailable_since=blind and min(blind, now), through=through and min(through, now))


def put_off_deadline(turn: Turn, since: datetime, *others: datetime | None) -> None:
    """What stood since then stands no more. Of several that overlap, each counts until the next began.

    Pauses, blind times and questions to a person; outside the windows of a schedule the deadline stands anyway.
    """
    candidate = turn.status.candidate
    until = min((other for other in others if other), default=turn.now)
    if candidate is None or until <= since:
        return
    stood = until - since
    if turn.strategy and not turn.seen.problems:  # a schedule may be among what is wrong
        stood -= turn.strategy.uncounted(since, until)
    turn.set(candidate=candidate.but(held=candidate.held + seconds(stood)))


def _asked_since(turn: Turn, candidate: Candidate) -> datetime | None:
    """Since when a person is waited for at a gate."""
    trial = (candidate.revision, candidate.attempt)
    waiting = (run for run in turn.status.gates if run.kind == APPROVAL and not run.result)
    return next((run.started_at for run in waiting if (run.revision, run.attempt) == trial), None)
