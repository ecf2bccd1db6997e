"""One decision: the order in which the concerns get their say."""

from datetime import datetime

from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import RolloutStatus
from promptrollout.rollout.announcing import announcements
from promptrollout.rollout.commands import obey
from promptrollout.rollout.contest import samplings
from promptrollout.rollout.decision import Decision
from promptrollout.rollout.delivering import observe_delivery
from promptrollout.rollout.following import follow_prompt
from promptrollout.rollout.gating import close_gates, record_answers, wanted_gates
from promptrollout.rollout.grounds import name_kept_evidence, record_decisions
from promptrollout.rollout.observations import Observations
from promptrollout.rollout.ruling import heed_policy
from promptrollout.rollout.settling import BLOCKED_AGAIN, end_drain, settle
from promptrollout.rollout.sourcing import heed_sources
from promptrollout.rollout.standing import forget_the_future
from promptrollout.rollout.summary import summarise
from promptrollout.rollout.trial import heed_analysis, run_trial
from promptrollout.rollout.turn import Turn


def decide(spec: RolloutSpec | None, status: RolloutStatus, seen: Observations, now: datetime) -> Decision:
    """The whole next status and what else is wanted, from all that is known at `now` (UTC).

    Total and deterministic: the same arguments give the same decision, and no argument makes it raise.
    `spec` is None if it could not be read; `seen.problems` then says why. A spec that is invalid, a prompt that is
    not known yet, or a delivery that is blocked, leaves what is served as it is: only harm and commands still act.
    Harm comes before commands: who says promote cannot have known of it.
    """
    turn = Turn(spec, status, seen, now)
    forget_the_future(turn)
    heed_sources(turn)
    heed_policy(turn)
    observe_delivery(turn)
    record_answers(turn)
    heed_analysis(turn)
    obey(turn)
    if spec is not None and not (seen.problems or seen.blocked or seen.unresolved):
        follow_prompt(turn)
        run_trial(turn)
    end_drain(turn)
    close_gates(turn)
    if turn.status.candidate is None:
        settle(turn)
    if seen.blocked:
        turn.wake(now + BLOCKED_AGAIN)
    name_kept_evidence(turn)
    decided = record_decisions(turn)
    final = summarise(turn)
    return Decision(
        status=final,
        notes=(*turn.notes, *announcements(status, final)),
        sampling=samplings(turn),
        gates=wanted_gates(turn),
        awaiting_pods=final.delivered is not None and final.delivered.acknowledged.at is None,
        decided=decided,
        wake_at=turn.wake_at,
    )
