"""The ends of a trial: promoted, or rolled back; and of one arm of several: dropped."""

from collections.abc import Iterable

from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import OnRollback
from promptrollout.api.status import Candidate, Conclusion, Outcome, Pin, RevisionRef, Rollback
from promptrollout.rollout.comparing import forget_checkpoints
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.delivering import arms_of, running_pins, serve
from promptrollout.rollout.following import named, remember
from promptrollout.rollout.observations import CANDIDATE, Comparison
from promptrollout.rollout.turn import Turn

#: What to do after a rollback.
CURE = "Change the prompt, or say retry"


def promote(turn: Turn, reason: str, message: str, arm: str = CANDIDATE) -> None:
    """The candidate (of several: this arm) becomes stable, and all get it."""
    candidate, stable = turn.status.candidate, turn.status.stable
    winner = next((each for each in in_trial(turn.status) if each.name == arm), None)
    if candidate is None or stable is None or winner is None:
        return
    others = [each for each in in_trial(turn.status) if each.name != arm]
    remember(turn, others, Outcome.SUPERSEDED, reason)
    remember(turn, [winner], Outcome.PROMOTED, reason)
    forget_checkpoints(turn)
    conclusion = Conclusion(
        trial=candidate.revision, wanted=stable.revision, winner=winner.revision, arm=arm, at=turn.now
    )
    turn.set(
        stable=RevisionRef(revision=winner.revision, since=turn.now),
        candidate=None,
        pause=None,
        concluded=conclusion if candidate.arms else None,
    )
    left = [stable.revision, *(each.revision for each in others)]
    serve(turn, arms_of(winner.revision), pins=[*running_pins(turn), *_pins(turn, left)])
    turn.note("Promoted", f"revision {winner.revision} is promoted: {message}")


def roll_back(turn: Turn, reason: str, message: str, outcome: Outcome = Outcome.ROLLED_BACK) -> None:
    """Weight 0 in one write; what was tried stays rejected until the prompt changes or someone says retry."""
    candidate, stable = turn.status.candidate, turn.status.stable
    if candidate is not None and candidate.undelivered:
        _refuse(
            turn,
            candidate,
            Rollback(
                revision=",".join(arm.revision for arm in in_trial(turn.status)),
                reason=reason,
                message=message,
                decided_at=turn.now,
                undelivered=True,
            ),
            outcome,
        )
    if candidate is None or stable is None or candidate.undelivered:
        return
    live, what = in_trial(turn.status), named(candidate)
    remember(turn, live, outcome, reason)
    harmed = turn.comparison if reason == "Harmed" else None
    forget_checkpoints(turn)
    turn.set(
        candidate=None,
        rejected=candidate,
        pause=None,
        rollback=Rollback(
            revision=",".join(arm.revision for arm in live),
            reason=reason,
            message=message,
            window_end=harmed.through if harmed else None,
            readable_at=harmed.read_at if harmed else None,
            decided_at=turn.now,
        ),
    )
    serve(
        turn,
        arms_of(stable.revision),
        pins=[*running_pins(turn), *_pins(turn, [arm.revision for arm in live])],
    )
    turn.warn("RolledBack", f"{what} is rolled back, stable {stable.revision} serves all: {message}. {CURE}")


def drop(turn: Turn, said: Comparison, reason: str, message: str) -> None:
    """Of several, take out this arm alone: stable serves its units, and no other unit moves."""
    candidate, stable, delivered = turn.status.candidate, turn.status.stable, turn.status.delivered
    arm = next((each for each in in_trial(turn.status) if each.name == said.arm), None)
    if candidate is None or stable is None or delivered is None or arm is None:
        return
    remember(turn, [arm], Outcome.ROLLED_BACK, reason)
    arms = [each.but(dropped=reason) if each.name == arm.name else each for each in candidate.arms]
    promoting = "" if candidate.promoting == arm.name else candidate.promoting
    changed = candidate.but(arms=arms, promoting=promoting)
    turn.set(candidate=changed)
    weights = {each.name: each.weight for each in delivered.arms}
    pins = [*running_pins(turn), *_pins(turn, [arm.revision])]
    serve(turn, arms_of(stable.revision, changed, weights), pins=pins)
    turn.warn(
        "ArmDropped",
        f"arm {arm.name} (revision {arm.revision}) is dropped, stable serves its units: {message}",
    )


def _refuse(turn: Turn, candidate: Candidate, why: Rollback, outcome: Outcome) -> None:
    """No pod was told of it, so nothing has to be taken back."""
    remember(turn, in_trial(turn.status), outcome, why.reason)
    turn.set(candidate=None, rejected=candidate, pause=None, rollback=why)
    turn.warn("Refused", f"{named(candidate)} is refused and was never delivered: {why.message}. {CURE}")


def _pins(turn: Turn, revisions: Iterable[str]) -> list[Pin]:
    """With Drain, conversations that began with these may end with them, for a bounded time."""
    if turn.spec is None or turn.spec.assignment.on_rollback is OnRollback.MIGRATE:
        return []
    until = turn.now + parse_duration(turn.spec.assignment.drain_timeout)
    return [Pin(revision=revision, until=until) for revision in revisions]
