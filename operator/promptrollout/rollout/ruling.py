"""A policy's rules in force, remembered so that an edit, a deletion or a restart changes nothing under way."""

from datetime import datetime, timedelta

from promptrollout.api.merging import PolicyRules
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import PolicyInForce, RolloutStatus
from promptrollout.rollout.following import goal_of
from promptrollout.rollout.observations import Command, Observations
from promptrollout.rollout.turn import Turn

#: After the API server has not told a policy that is needed.
_ASK_AGAIN = timedelta(seconds=5)


def rules_in_force(status: RolloutStatus) -> PolicyRules | None:
    """What status remembers of a policy."""
    kept = status.policy
    return PolicyRules(kept.kind, kept.name, kept.spec, kept.uid, kept.generation) if kept else None


def begins_anew(spec: RolloutSpec, status: RolloutStatus, seen: Observations, now: datetime) -> bool:
    """Whether what the spec wants is neither stable nor what is on trial or was rejected: it is to be tried now."""
    tried = {each.revision for each in (status.candidate, status.rejected) if each is not None}
    if status.stable is None:
        return bool(seen.wanted) and seen.wanted not in tried
    goal = goal_of(Turn(spec, status, seen, now)) if seen.wanted else None
    return goal is not None and goal.id not in tried


def asks_for_retry(status: RolloutStatus, command: Command | None) -> bool:
    """Whether a person wants to try again what was rejected: that is a new attempt, under the rules of now."""
    if command is None or command.said != "retry" or status.rejected is None or status.candidate is not None:
        return False
    last = status.last_command
    return last is None or (last.id, last.verb) != (command.id, command.said)


def heed_policy(turn: Turn) -> None:
    """Take the rules of this turn into the status, and say when they are others, or when the policy is gone.

    Rules are taken over only with a spec that can be followed: until then those before stay in force.
    """
    seen, old = turn.seen.policy, turn.status.policy
    if seen is None:
        if turn.spec is not None and not turn.seen.problems:
            turn.set(policy=None)
        return
    if seen.unread:
        turn.wake(turn.now + _ASK_AGAIN)
    if seen.renewed and seen.rules and not (turn.seen.problems or turn.seen.unresolved or turn.seen.blocked):
        old = _taken_over(turn, seen.rules)
    if old is None or (old.kind, old.name) != (seen.kind, seen.name):
        return
    if seen.gone and old.gone_since is None:
        turn.warn("PolicyGone", f"{_lost(old)}; {_consequence(old)}")
        old = old.but(gone_since=turn.now)
    elif not seen.gone and old.gone_since is not None:
        turn.note(
            "PolicyFound", f"{old.kind} {old.name} is there again; it counts from the next new prompt on"
        )
        old = old.but(gone_since=None)
    turn.set(policy=old)


def _taken_over(turn: Turn, rules: PolicyRules) -> PolicyInForce:
    old = turn.status.policy
    if old and (old.kind, old.uid, old.generation, old.digest) == (
        rules.kind,
        rules.uid,
        rules.generation,
        rules.digest,
    ):
        return old
    if old is None or (old.kind, old.name, old.digest) != (rules.kind, rules.name, rules.digest):
        turn.note(
            "PolicyInForce",
            f"the rules of {rules.kind} {rules.name}, generation {rules.generation}, count now",
        )
    return PolicyInForce(
        kind=rules.kind,
        name=rules.name,
        uid=rules.uid,
        generation=rules.generation,
        digest=rules.digest,
        since=turn.now,
        spec=dict(rules.spec),
    )


def _lost(kept: PolicyInForce) -> str:
    return f"{kept.kind} {kept.name} does not exist any more"


def _consequence(kept: PolicyInForce) -> str:
    return f"its rules of generation {kept.generation} stay in force, and the next new prompt needs it again"


def policy_problem(turn: Turn) -> str:
    """That the policy is gone, and that this changes nothing for now; empty if it is there."""
    kept = turn.status.policy
    return f"{_lost(kept)}: {_consequence(kept)}" if kept and kept.gone_since else ""
