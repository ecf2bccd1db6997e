"""The state machine: `decide(spec, status, observations, now) -> Decision`. Pure, synchronous, total.

- `observations`: what the shell saw; `decision`: what it shall do.
- `decide`: the order in which the concerns get their say, and nothing else.
- `sourcing`, `ruling`, `delivering`, `commands`, `following`, `gating`, `trial`, `settling`: one concern each.
- `strategies`: one file each; the rest knows none by name.
- `summary`: phase, message and conditions, derived once at the end.
"""

from promptrollout.rollout.comparing import checkpoint_of
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.decide import decide
from promptrollout.rollout.decision import Decision, Note, Sampling
from promptrollout.rollout.gateplan import GateRequest
from promptrollout.rollout.observations import (
    Better,
    Command,
    Comparison,
    GateAnswer,
    KeptEvidence,
    LoadedPayload,
    Observations,
    PodsSeen,
    PolicySeen,
    SourceSeen,
)
from promptrollout.rollout.ruling import asks_for_retry, begins_anew, rules_in_force

__all__ = [
    "Better",
    "Command",
    "Comparison",
    "Decision",
    "GateAnswer",
    "GateRequest",
    "KeptEvidence",
    "LoadedPayload",
    "Note",
    "Observations",
    "PodsSeen",
    "PolicySeen",
    "Sampling",
    "SourceSeen",
    "asks_for_retry",
    "begins_anew",
    "checkpoint_of",
    "decide",
    "in_trial",
    "rules_in_force",
]
