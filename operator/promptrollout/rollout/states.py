"""The phases and what leads from one to the next: a table, which tests prove complete and free of idle rows."""

from collections.abc import Mapping

from promptrollout.api.status import Phase

#: What each phase says.
MEANINGS: Mapping[Phase, str] = {
    Phase.PENDING: "nothing is decided yet, or the prompt's source cannot be read; what is served stays",
    Phase.DELIVERING: "pods are loading what was decided: a candidate at weight 0, or a revision that serves all",
    Phase.PROGRESSING: "a candidate, or the arms of a test, have weight and are compared with stable",
    Phase.PAUSED: "weights stand until a person speaks, or until what is waited for is there; harm still rolls back",
    Phase.AWAITING_APPROVAL: "weights stand until a person approves",
    Phase.ROLLING_BACK: "stable has all weight again; pods are loading that",
    Phase.DEGRADED: "the wanted was rolled back; stable serves all until the prompt changes or someone says retry",
    Phase.HEALTHY: "one revision serves all, and the pods have it",
    Phase.INVALID: "the spec is wrong or nothing can be delivered; what is served stays",
}

#: From one phase to another, and when.
MOVES: Mapping[tuple[Phase, Phase], str] = {
    (Phase.HEALTHY, Phase.DELIVERING): "new prompt, or a test",
    (Phase.HEALTHY, Phase.ROLLING_BACK): "undo",
    (Phase.DELIVERING, Phase.HEALTHY): "pods have loaded it",
    (Phase.DELIVERING, Phase.PROGRESSING): "first step",
    (Phase.DELIVERING, Phase.PAUSED): "pause, or a decision is asked for",
    (Phase.DELIVERING, Phase.ROLLING_BACK): "abort, undo, or the deadline",
    (
        Phase.PROGRESSING,
        Phase.PAUSED,
    ): "pause; inconclusive; blind; sample-ratio mismatch; a winner to confirm",
    (Phase.PROGRESSING, Phase.DELIVERING): "promoted, or another prompt",
    (Phase.PROGRESSING, Phase.ROLLING_BACK): "harmed, aborted, or the deadline",
    (Phase.PAUSED, Phase.PROGRESSING): "resume or promote; evidence or metrics are back",
    (Phase.PAUSED, Phase.DELIVERING): "promoted, or another prompt",
    (Phase.PAUSED, Phase.ROLLING_BACK): "harmed, or aborted",
    (Phase.ROLLING_BACK, Phase.DEGRADED): "pods are back at stable, or overdue",
    (Phase.ROLLING_BACK, Phase.DELIVERING): "another prompt, or retry",
    (Phase.DEGRADED, Phase.DELIVERING): "another prompt, or retry",
    (Phase.DEGRADED, Phase.ROLLING_BACK): "undo",
    (Phase.DEGRADED, Phase.HEALTHY): "the spec wants stable again",
}

#: Phases that any other may turn into, and that turn back into whatever holds then.
ASIDE: Mapping[Phase, str] = {
    Phase.INVALID: "the spec is wrong, or delivery is blocked",
    Phase.PENDING: "the prompt's source cannot be read, or gates before delivery have not passed",
    Phase.AWAITING_APPROVAL: "a gate waits for a person: before delivery, at a step, or before promotion",
}
