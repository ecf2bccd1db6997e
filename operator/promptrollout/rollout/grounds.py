"""What decisions rest on: each is recorded with its verdict, and with its evidence once that is kept.

Evidence is written after everything else (a rollback must not wait for it), and the status names it when it exists.
"""

from datetime import datetime

from promptrollout.api.status import DecisionRecord, RolloutStatus
from promptrollout.rollout.delivering import candidate_weight
from promptrollout.rollout.observations import STABLE, Comparison, KeptEvidence
from promptrollout.rollout.standing import INCONCLUSIVE, MISMATCH
from promptrollout.rollout.turn import Turn, challengers

#: What a note's reason says was decided.
_KINDS = {
    "StepStarted": "Step",
    "Paused": "Held",
    "Promoted": "Promoted",
    "RolledBack": "RolledBack",
    "ArmDropped": "Dropped",
}
#: Decisions that the status remembers.
MOST_DECISIONS = 30


def record_decisions(turn: Turn) -> tuple[DecisionRecord, ...]:
    """Put what this turn decided on the comparison at the head of status.decisions; what was put there.

    Commands are decisions too: who promoted or aborted did so on what was known then. Where several arms are tried,
    each pair that is compared is a ground of its own.
    """
    kinds = dict.fromkeys(_KINDS[note.reason] for note in turn.notes if note.reason in _KINDS)
    if not kinds:
        return ()
    # As the turn began: what was on trial then may be over by now.
    began = Turn(turn.spec, turn.began, turn.seen, turn.now)
    made = tuple(
        _record(turn, kind, said)
        for kind in kinds
        if kind != "Held" or _held(turn)
        for said in began.comparisons
    )
    if made:
        turn.set(decisions=[*reversed(made), *turn.status.decisions][:MOST_DECISIONS])
    return made


def _held(turn: Turn) -> bool:
    return turn.status.pause is not None and turn.status.pause.reason in {INCONCLUSIVE, MISMATCH}


def _record(turn: Turn, kind: str, seen: Comparison) -> DecisionRecord:
    candidate = turn.began.candidate
    arms = {arm.name: arm.revision for arm in challengers(candidate)} if candidate else {}
    return DecisionRecord(
        revision=arms.get(seen.arm, seen.trial[0]),
        arm=seen.arm,
        against=seen.against,
        attempt=seen.trial[1],
        kind=kind,
        reason=_reason(turn, kind),
        step=candidate.progress.step if candidate else 0,
        weight=candidate_weight(turn.began.delivered),
        verdict=seen.verdict.value,
        through=min(seen.through, turn.now),
        at=turn.now,
    )


def _reason(turn: Turn, kind: str) -> str:
    status = turn.status
    if kind == "Held":
        return status.pause.reason if status.pause else ""
    if kind == "RolledBack":
        return status.rollback.reason if status.rollback else ""
    if kind == "Promoted":
        return status.history[0].reason if status.history else ""
    return ""


def name_kept_evidence(turn: Turn) -> None:
    """Say in status where evidence is kept that has been written since."""
    for kept in turn.seen.kept:
        _name(turn, kept)


def _name(turn: Turn, kept: KeptEvidence) -> None:
    status = turn.status

    def held(revision: str, at: datetime) -> bool:
        return kept.revision in revision.split(",") and at in kept.decided_at

    decisions = [
        one.but(evidence=kept.name)
        if held(one.revision, one.at) and (one.arm, one.against) == (kept.arm, kept.against)
        else one
        for one in status.decisions
    ]
    turn.set(decisions=decisions)
    if kept.against != STABLE:
        return
    history = [
        one.but(evidence=kept.name) if held(one.revision, one.ended_at) else one for one in status.history
    ]
    turn.set(history=history)
    if status.rollback and held(status.rollback.revision, status.rollback.decided_at):
        turn.set(rollback=status.rollback.but(evidence=kept.name))


def evidence_names(status: RolloutStatus) -> frozenset[str]:
    """Every evidence ConfigMap that a status names."""
    named = {one.evidence for one in status.decisions} | {one.evidence for one in status.history}
    return frozenset((named | {status.rollback.evidence if status.rollback else ""}) - {""})
