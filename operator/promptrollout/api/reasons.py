"""Every reason that an Event about a rollout may have: docs/events.md and what channels may be told are made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason.

    Attributes:
        types: what its Events may be.
        when: as the end of "it is told when ...".
        cure: what a person should do; empty if nothing.
        told: whether a channel is told of it where neither channel nor rollout names reasons.
    """

    types: tuple[EventType, ...]
    when: str
    cure: str = ""
    told: bool = False


_NORMAL: tuple[EventType, ...] = ("Normal",)
_WARNING: tuple[EventType, ...] = ("Warning",)

REASONS: Mapping[str, Reason] = {
    # A trial, from its beginning to its end.
    "FirstRevision": Reason(_NORMAL, "the first prompt ever is delivered to all"),
    "PromptChanged": Reason(
        ("Normal", "Warning"),
        "a candidate needs other variables, or changes settings; a Warning if variables are added",
        "see that the applications supply the variables that are named: they are empty otherwise",
    ),
    "CandidateDelivered": Reason(_NORMAL, "a candidate is delivered beside stable, at weight 0"),
    "StepStarted": Reason(_NORMAL, "a step begins: the weights that the message names are written"),
    "StepsEdited": Reason(
        _NORMAL, "the steps were edited under way; it goes on where today's weight fits in"
    ),
    "Superseded": Reason(_NORMAL, "the wanted prompt changed before the candidate was promoted"),
    "Promoted": Reason(_NORMAL, "a candidate becomes stable and gets all weight", told=True),
    "Completed": Reason(_NORMAL, "one revision serves all, and the pods have loaded that"),
    "RolledBack": Reason(
        _WARNING,
        "a candidate lost its weight: it harms, was aborted, a gate refused it, or its time was over",
        "read the reason and `report`; stable serves all. Change the prompt, or say retry",
        told=True,
    ),
    "RollbackComplete": Reason(_NORMAL, "all pods are back at stable after a rollback", told=True),
    "Refused": Reason(
        _WARNING,
        "a gate before delivery said no: no pod was told of the candidate",
        "read what the gate reports; change the prompt, or say retry",
        told=True,
    ),
    "ArmDropped": Reason(
        _WARNING,
        "one arm of a test harms and is taken out; the others go on",
        "nothing at once: stable serves its units",
        told=True,
    ),
    "RejectedRevisionGone": Reason(_NORMAL, "the spec wants stable again after a rollback"),
    "WentBack": Reason(
        _NORMAL, "an earlier revision serves all again, untested: undo, or rollbackWindow", told=True
    ),
    # Standing still.
    "Paused": Reason(
        _WARNING,
        "weights stand: inconclusive, a person's word is needed, blind, or a sample-ratio mismatch",
        "do what the message says: as a rule say promote, resume or abort",
        told=True,
    ),
    "Resumed": Reason(_NORMAL, "a pause for want of metrics is over"),
    "Inconclusive": Reason(
        _NORMAL, "it goes on without proof, because analysis.onInconclusive is Promote", told=True
    ),
    "MetricsUnavailable": Reason(
        _WARNING,
        "the metrics cannot be read, so nothing moves; after analysis.metricsTimeout it is Paused",
        "look at the metric source that spec.analysis.source names; it goes on by itself",
    ),
    "MetricsAvailable": Reason(_NORMAL, "the metrics can be read again"),
    "PodsOverdue": Reason(
        _WARNING,
        "pods have not loaded what was decided within delivery.acknowledge.timeout",
        "look at the pods that are named: are they running, and do they mount the ConfigMap as a directory?",
        told=True,
    ),
    "MountNeverRefreshed": Reason(
        _WARNING,
        "pods mount the ConfigMap by subPath, so they never see a change",
        "mount it as a directory and restart the pods",
        told=True,
    ),
    # Gates.
    "GateAsked": Reason(_NORMAL, "a Job is started or a webhook is asked"),
    "ApprovalRequired": Reason(
        _NORMAL, "a gate waits for a person", "look at the revision; say approve, skip or abort", told=True
    ),
    "GatePassed": Reason(_NORMAL, "a gate agrees"),
    "GateSkipped": Reason(_NORMAL, "a person left a gate out"),
    "GateFailed": Reason(
        _WARNING,
        "a gate said no, or did not answer in time; the trial ends",
        "read the gate's report in status.gates",
    ),
    "GateTimedOut": Reason(
        _WARNING,
        "a gate's time is over and its onTimeout is Hold",
        "see why it does not answer; say resume (asks again), skip or abort",
        told=True,
    ),
    # Commands.
    "CommandExecuted": Reason(_NORMAL, "a command was carried out"),
    "CommandRefused": Reason(_WARNING, "a command makes no sense now", "read why; nothing was changed"),
    # What is wanted, and what is in the way of it.
    "Invalid": Reason(
        _WARNING,
        "the spec cannot be followed, or another's ConfigMap is in the way; what is served stays",
        "mend the field whose path is named",
        told=True,
    ),
    "Valid": Reason(_NORMAL, "what made it Invalid is mended"),
    "PromptResolved": Reason(_NORMAL, "a ConfigMap or a registry gives another prompt than before"),
    "PromptSourceUnavailable": Reason(
        _WARNING,
        "the ConfigMap or the registry that has the prompt cannot be asked; what is served stays",
        "look at what the message names; it is asked again by itself",
    ),
    "PromptSourceAvailable": Reason(_NORMAL, "the prompt's source can be asked again"),
    "PolicyInForce": Reason(
        _NORMAL, "a policy's rules are taken over: of a first or a new prompt, a retry, or another policy"
    ),
    "PolicyGone": Reason(
        _WARNING,
        "the policy that the spec names does not exist any more; the rules it gave stay in force",
        "create it again, or name another one: the next new prompt needs it",
    ),
    "PolicyFound": Reason(_NORMAL, "a policy that was gone is there again"),
    "PayloadRepaired": Reason(
        _WARNING,
        "someone changed or deleted the ConfigMap that pods mount; it is as decided again",
        "find out who writes it: the audit log says",
        told=True,
    ),
    "StatusOutdated": Reason(
        _WARNING,
        "the ConfigMap is newer than the status: the status came from a backup",
        "check the weights; what status says is delivered again",
        told=True,
    ),
    "StatusUnreadable": Reason(
        _WARNING,
        "status holds what this operator cannot read; nothing is decided, what is served stays",
        "take the operator that wrote it, or mend the field that is named",
        told=True,
    ),
    "StatusDropped": Reason(
        _WARNING,
        "the API server drops fields of the status that the operator wrote: its definition is older",
        "apply the crds of the operator's release: helm does not upgrade them",
        told=True,
    ),
    "TurnFailed": Reason(
        _WARNING,
        "what is to be done for the rollout is refused or fails, twice in a row: rights, a quota, an admission policy",
        "mend what the message names; it is tried again by itself, and what is served stays",
        told=True,
    ),
    "EvidenceNotKept": Reason(
        _WARNING,
        "what a decision rested on could not be written, although it was tried for minutes",
        "see why ConfigMaps cannot be written: quota, rights, an admission policy; the decision stands",
    ),
    # Notifications themselves; no channel is told of these.
    "NotificationUnknown": Reason(
        _WARNING,
        "spec.notify names a channel or a reason that there is not",
        "mend the field that is named; channels are named in the operator's configuration",
    ),
    "NotificationFailed": Reason(
        _WARNING,
        "a channel could not be told of something",
        "have the operator's administrator look at the channel; the operator's log says more",
    ),
}
#: Reasons of Events that say something of channels, and so are told to none.
ABOUT_CHANNELS = frozenset({"NotificationUnknown", "NotificationFailed"})
#: What a channel is told of where nobody names reasons.
TOLD = frozenset(name for name, reason in REASONS.items() if reason.told)
