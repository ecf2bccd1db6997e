"""The two ends of a trial: promoted, or rolled back."""

from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import OnRollback
from promptrollout.api.status import Outcome, Pin, RevisionRef, Rollback
from promptrollout.rollout.delivering import arms_of, serve
from promptrollout.rollout.following import remember
from promptrollout.rollout.turn import Turn


def promote(turn: Turn, reason: str, message: str) -> None:
    """The candidate becomes stable, and all get it."""
    candidate = turn.status.candidate
    if candidate is None:
        return
    remember(turn, candidate, Outcome.PROMOTED, reason)
    analysis = turn.status.analysis
    turn.set(
        stable=RevisionRef(revision=candidate.revision, since=turn.now),
        candidate=None,
        pause=None,
        analysis=analysis.but(checkpoint=None) if analysis else None,
    )
    serve(turn, arms_of(candidate.revision))
    turn.note("Promoted", f"revision {candidate.revision} is promoted: {message}")


def roll_back(turn: Turn, reason: str, message: str, outcome: Outcome = Outcome.ROLLED_BACK) -> None:
    """Weight 0 in one write; the revision stays rejected until the spec changes or someone says retry."""
    candidate, stable = turn.status.candidate, turn.status.stable
    if candidate is None or stable is None:
        return
    remember(turn, candidate, outcome, reason)
    comparison = turn.comparison
    harmed = comparison if reason == "Harmed" else None
    turn.set(
        candidate=None,
        rejected=candidate,
        pause=None,
        analysis=turn.status.analysis.but(checkpoint=None) if turn.status.analysis else None,
        rollback=Rollback(
            revision=candidate.revision,
            reason=reason,
            message=message,
            window_end=harmed.through if harmed else None,
            readable_at=harmed.read_at if harmed else None,
            decided_at=turn.now,
            evidence=harmed.evidence if harmed else "",
        ),
    )
    serve(turn, arms_of(stable.revision), pins=_pins(turn, candidate.revision))
    turn.warn("RolledBack", f"revision {candidate.revision} is rolled back: {message}")


def _pins(turn: Turn, revision: str) -> list[Pin]:
    """With Drain, conversations that began with the candidate may end with it, for a bounded time."""
    if turn.spec is None or turn.spec.assignment.on_rollback is OnRollback.MIGRATE:
        return []
    return [Pin(revision=revision, until=turn.now + parse_duration(turn.spec.assignment.drain_timeout))]
