"""Phase, message, texts and conditions: derived once, at the end of a turn, from what was decided."""

from promptrollout.api.quantities import format_weight
from promptrollout.api.status import (
    Candidate,
    Conclusion,
    Condition,
    ConditionStatus,
    Phase,
    RevisionRef,
    Rollback,
    RolloutStatus,
)
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.delivering import (
    acknowledged_at,
    assumes,
    candidate_weight,
    describe_waiting,
    nobody_to_load_it,
    overdue,
)
from promptrollout.rollout.ending import CURE
from promptrollout.rollout.following import named
from promptrollout.rollout.gateplan import APPROVAL
from promptrollout.rollout.returning import UNDONE
from promptrollout.rollout.ruling import policy_problem
from promptrollout.rollout.sourcing import describe_changes, describe_found, source_problem, sources_of
from promptrollout.rollout.standard import Facts, standard_conditions
from promptrollout.rollout.turn import Turn

#: Only there for a prompt that is not written inline.
_PROMPT_AVAILABLE = "PromptAvailable"


def summarise(turn: Turn) -> RolloutStatus:
    """The status as people read it."""
    phase = _phase(turn)
    message = _message(turn, phase)
    status, candidate = turn.status, turn.status.candidate
    turn.set(
        observed_generation=turn.seen.generation,
        phase=phase,
        message=message,
        step=f"{candidate.progress.step}/{candidate.progress.steps}" if candidate else "",
        weight=format_weight(candidate_weight(status.delivered)) if candidate else "",
        verdict=status.analysis.verdict if status.analysis else "",
        stable_revision=status.stable.revision if status.stable else "",
        candidate_revision=",".join(arm.revision for arm in in_trial(status)),
    )
    turn.set(conditions=_conditions(turn, phase, message))
    return turn.status


def _phase(turn: Turn) -> Phase:
    status = turn.status
    if turn.seen.problems or turn.seen.blocked or (turn.spec is None and not turn.seen.unresolved):
        return Phase.INVALID
    if turn.seen.unresolved or not (status.stable or status.candidate or status.rejected):
        return Phase.PENDING
    loaded = acknowledged_at(turn) is not None
    if status.rejected:
        # Once all pods were back it is over; that drained pins go later is no second rollback.
        back = status.rollback
        over = back is not None and (back.acknowledged_at is not None or back.undelivered)
        # Nor is a clock that was set back; but an undo after a rollback is a second one.
        before = turn.began.rollback
        again = back is not None and before is not None and back.is_other_than(before)
        over = over or (turn.began.phase is Phase.DEGRADED and turn.began.rejected is not None and not again)
        return Phase.DEGRADED if loaded or over or overdue(turn) else Phase.ROLLING_BACK
    if status.candidate:
        return _phase_of_trial(turn, status.candidate)
    if status.stable is None:
        return Phase.PENDING
    return Phase.HEALTHY if loaded else Phase.DELIVERING


def _phase_of_trial(turn: Turn, candidate: Candidate) -> Phase:
    gate = turn.gate
    approval = gate is not None and gate.kind == APPROVAL
    if turn.status.pause or (gate and gate.held and not approval):
        return Phase.PAUSED
    if approval:
        return Phase.AWAITING_APPROVAL
    if candidate.undelivered:
        return Phase.PENDING
    started = candidate.progress.step > 0 or candidate_weight(turn.status.delivered) > 0
    return Phase.PROGRESSING if started else Phase.DELIVERING


def _message(turn: Turn, phase: Phase) -> str:
    said, changes = _standing(turn, phase), ""
    if phase is Phase.DELIVERING and turn.status.candidate:
        changes = describe_changes(turn.status.candidate.changes)
    problem = "" if turn.seen.unresolved else source_problem(turn)
    policy = "" if phase is Phase.INVALID else policy_problem(turn)
    asides = "".join(f" ({aside})" for aside in (nobody_to_load_it(turn), problem, policy) if aside)
    return said + (f". Against stable it {changes}" if changes else "") + asides


def _standing(turn: Turn, phase: Phase) -> str:
    status = turn.status
    if phase is Phase.INVALID:
        return _invalid(turn)
    if turn.seen.unresolved:
        return turn.seen.unresolved + "." + _kept(turn)
    if status.pause and phase is Phase.PAUSED:
        return status.pause.message
    if status.rejected and status.rollback:
        return _went_back(turn, phase, status.rejected, status.rollback)
    if phase is Phase.HEALTHY and status.stable:
        return _serves_all(status.stable, status.concluded) + _nothing_to_compare(turn)
    return turn.waiting or "nothing is decided yet"


def _went_back(turn: Turn, phase: Phase, rejected: Candidate, rollback: Rollback) -> str:
    if rollback.undelivered:
        return f"{named(rejected)} is refused and was never delivered: {rollback.message}. {CURE}"
    back = "rolled back" if phase is Phase.DEGRADED else "rolling back"
    waiting = f" ({turn.waiting})" if turn.waiting else ""
    if rollback.reason == UNDONE:
        return f"{rollback.message}{waiting}. Change the prompt, or say retry to try {named(rejected)} again"
    return f"{back} {named(rejected)}: {rollback.message}{waiting}. {CURE}"


def _serves_all(stable: RevisionRef, concluded: Conclusion | None) -> str:
    if concluded is None or concluded.winner != stable.revision:
        return f"revision {stable.revision} serves all"
    return (
        f"revision {stable.revision} (arm {concluded.arm}) won the test and serves all; "
        "write its prompt into spec.prompt, and take the test out of spec.strategy, before the next change"
    )


def _nothing_to_compare(turn: Turn) -> str:
    """That an arm is like the control, unless it has won: its author may have meant another prompt."""
    seen, done = turn.seen, turn.status.concluded
    alike = [arm for arm, revision in seen.arms.items() if revision == seen.wanted]
    if not alike or done is not None:
        return ""
    return f"; arm {', '.join(alike)} of the test has the same prompt, so there is nothing to compare"


def _invalid(turn: Turn) -> str:
    if turn.seen.blocked:
        return turn.seen.blocked
    said = [str(problem) for problem in turn.seen.problems[:3]] or ["the spec cannot be read; mend it"]
    more = len(turn.seen.problems) - len(said)
    return " | ".join(said) + (f" | and {more} more" if more > 0 else "") + "." + _kept(turn)


def _kept(turn: Turn) -> str:
    """What a spec that cannot be followed leaves as it is."""
    status = turn.status
    if status.stable is None:
        return ""
    rejected, rollback = status.rejected, status.rollback
    if rejected and rollback:
        served = "stable serves all"
        if turn.spec is None and turn.status.delivered and turn.status.delivered.written_at is None:
            served = "stable serves all as soon as the spec says again which ConfigMap that is told in"
        return f" In the meantime {named(rejected)} is rolled back ({rollback.message}); {served}."
    return " What is delivered stays as it is."


def _conditions(turn: Turn, phase: Phase, message: str) -> list[Condition]:
    facts = {
        "Healthy": _healthy(phase, message),
        "Progressing": _progressing(phase, message),
        "Delivered": _delivered(turn),
        "MetricsAvailable": _metrics(turn),
        "Decidable": _decidable(turn),
        "Paused": _paused(turn, phase),
        "Valid": _valid(phase, message),
        **standard_conditions(phase, message),
        **_prompt_available(turn),
    }
    old = {c.type: c for c in turn.status.conditions}
    ours = [_condition(turn, name, fact, old.get(name)) for name, fact in facts.items()]
    gone = facts.keys() | {_PROMPT_AVAILABLE}
    return [*ours, *(c for c in turn.status.conditions if c.type not in gone)]


def _condition(turn: Turn, name: str, fact: Facts, old: Condition | None) -> Condition:
    truth, reason, message = fact
    status = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}[truth]
    return Condition(
        type=name,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=old.last_transition_time if old and old.status == status else turn.now,
        observed_generation=turn.seen.generation,
    )


def _healthy(phase: Phase, message: str) -> Facts:
    return phase is Phase.HEALTHY, phase.value, message


def _progressing(phase: Phase, message: str) -> Facts:
    moving = phase in {Phase.DELIVERING, Phase.PROGRESSING, Phase.ROLLING_BACK}
    return moving, phase.value, message if moving else ""


def _delivered(turn: Turn) -> Facts:
    delivered = turn.status.delivered
    if delivered is None:
        return False, "NothingDelivered", "nothing is delivered yet"
    seen, sequence = delivered.acknowledged, delivered.sequence
    if seen.at is not None and assumes(turn):
        return True, "Assumed", f"sequence {sequence} is assumed to be loaded: acknowledge.mode is None"
    if nobody := nobody_to_load_it(turn):
        return True, "NoPods", f"sequence {sequence}: {nobody}"
    if seen.at is not None:
        return True, "Acknowledged", f"{seen.pods} of {seen.of} pods have loaded sequence {sequence}"
    if overdue(turn):
        return False, "AcknowledgementOverdue", describe_waiting(turn)
    return False, "AwaitingAcknowledgement", f"sequence {sequence} is not loaded by all pods yet"


def _metrics(turn: Turn) -> Facts:
    analysis = turn.status.analysis
    if turn.status.candidate is None or analysis is None:
        return None, "NotCompared", "there is nothing to compare now"
    if analysis.unavailable_since is not None:
        return False, "SourceError", analysis.unavailable
    missing = next((said.nothing_matched for said in turn.comparisons if said.nothing_matched), "")
    if missing:
        return False, "NoData", missing
    return True, "Read", "the metrics can be read"


def _decidable(turn: Turn) -> Facts:
    candidate, seen = turn.status.candidate, turn.seen.decidable
    if candidate is None:
        return None, "NotCompared", "there is nothing to compare now"
    if seen is None or seen.trial != (candidate.revision, candidate.attempt):
        return None, "NoTraffic", "not enough traffic of this trial has been seen to say"
    return seen.status, seen.reason, seen.message


def _paused(turn: Turn, phase: Phase) -> Facts:
    pause = turn.status.pause
    if pause and phase is Phase.PAUSED:
        return True, pause.reason, pause.message
    if turn.gate and phase is Phase.PAUSED:
        return True, "GateTimeout", turn.waiting
    return False, "NotPaused", ""


def _valid(phase: Phase, message: str) -> Facts:
    if phase is Phase.INVALID:
        return False, "Invalid", message
    return True, "Valid", ""


def _prompt_available(turn: Turn) -> dict[str, Facts]:
    sources = sources_of(turn.status)
    if not sources:
        return {}
    if away := dict.fromkeys(source.unavailable for source in sources if source.unavailable_since):
        return {_PROMPT_AVAILABLE: (False, "SourceUnavailable", "; ".join(away))}
    lacking = [source for source in sources if not source.revision]
    if turn.seen.unresolved or lacking:
        reference = (lacking or sources)[0].reference
        return {_PROMPT_AVAILABLE: (None, "NotResolved", f"{reference} has given no prompt yet")}
    return {_PROMPT_AVAILABLE: (True, "Resolved", "; ".join(map(describe_found, sources)))}
