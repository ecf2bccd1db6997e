"""`status` of a PromptRollout: everything the operator must remember, and everything a reader wants to know."""

from enum import StrEnum

from pydantic import Field

from promptrollout.api.base import Many, Moment, Remembered, Seconds, Sentence, Some, Word
from promptrollout.api.prompt import FreeObject


class Phase(StrEnum):
    """Where a rollout is."""

    PENDING = "Pending"
    DELIVERING = "Delivering"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    AWAITING_APPROVAL = "AwaitingApproval"
    ROLLING_BACK = "RollingBack"
    DEGRADED = "Degraded"
    HEALTHY = "Healthy"
    INVALID = "Invalid"


class Outcome(StrEnum):
    """What became of a revision."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"

    @classmethod
    def _missing_(cls, value: object) -> "Outcome | None":
        """What a newer version called an outcome is kept as it is, so that the history loses nothing."""
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


class ConditionStatus(StrEnum):
    """Three-valued truth of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Remembered):
    """One condition, for `kubectl wait --for=condition=...`."""

    type: Word = Field(
        description=(
            "Healthy, Progressing, Delivered, MetricsAvailable, Paused, Valid and others; "
            "for other tools Ready, Reconciling and Stalled."
        )
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Word = Field(description="Why, in one CamelCase word.")
    message: Sentence = Field(default="", description="Why, in a sentence.")
    last_transition_time: Moment = Field(description="When status last changed.")
    observed_generation: int = Field(default=0, description="The generation of the spec it speaks of.")


class Arm(Remembered):
    """One revision that is being served."""

    name: Word = Field(description="candidate, stable, or an arm's name.")
    revision: Word = Field(description="The revision's short hash.")
    weight: int = Field(description="Its share in 1/10,000; all arms sum to 10,000.")


class Pin(Remembered):
    """A revision without weight that conversations which began with it may still end with."""

    revision: Word = Field(description="The revision's short hash.")
    until: Moment = Field(description="When the last of them must be over.")


class Acknowledged(Remembered):
    """Which pods have loaded the payload."""

    pods: int = Field(default=0, description="How many pods have loaded it.")
    of: int = Field(
        default=0,
        description="How many pods are waited for: the ready ones, and those that say they serve an older payload.",
    )
    waiting_for: Some[Word] = Field(default_factory=list, description="Pods that have not (the first ten).")
    never_refreshed: Some[Word] = Field(
        default_factory=list,
        description="Pods that mount the ConfigMap by subPath, which kubelet never refreshes (the first ten).",
    )
    at: Moment | None = Field(default=None, description="When the quorum had loaded it; unset until then.")


class ShadowRun(Remembered):
    """What runs beside stable, unseen."""

    revision: Word = Field(description="The revision's short hash.")
    sample: int = Field(description="Its share of requests in 1/10,000.")
    max_concurrent: int = Field(description="Runs at the same time in each process.")
    usd_per_hour: Word = Field(description="Dollars an hour in each process.")


class Delivered(Remembered):
    """What pods are told to serve. The ConfigMap is a pure function of this."""

    sequence: int = Field(description="Grows by one at each change of the payload.")
    exposure: int = Field(description="Grows by one at each change of weights; the label `step` of metrics.")
    salt: Word = Field(description="Mixed into the assignment; new for each candidate.")
    arms: Some[Arm] = Field(description="What is served, candidate first, stable last.")
    pins: Many[Pin] = Field(default_factory=list, description="Revisions that only pinned conversations get.")
    shadow: ShadowRun | None = Field(default=None, description="What runs beside stable, unseen.")
    changed_at: Moment = Field(description="When this was decided.")
    written_at: Moment | None = Field(default=None, description="When the ConfigMap was written.")
    acknowledged: Acknowledged = Field(default_factory=Acknowledged, description="Which pods have loaded it.")


class RevisionRef(Remembered):
    """A sealed prompt."""

    revision: Word = Field(description="The revision's short hash.")
    since: Moment = Field(description="Since when it has this place.")


class Progress(Remembered):
    """Where the strategy is."""

    strategy: Word = Field(description="The strategy's name.")
    step: int = Field(default=0, description="The step in work, from 1; 0 before the first.")
    steps: int = Field(default=0, description="How many steps there are.")
    plan: Word = Field(default="", description="A digest of the steps, by which an edit is noticed.")
    since: Moment | None = Field(default=None, description="When the step's weight was loaded by the pods.")
    held: Seconds = Field(default=0.0, description="Seconds that this step's clock stood.")
    held_since: Moment | None = Field(default=None, description="Since when the clock stands, if it does.")
    answered: int = Field(
        default=0,
        description="The candidate's answers before this step's clock began: minSamples leaves them out.",
    )


class PromptSource(Remembered):
    """Where the wanted prompt comes from, if not from the spec itself, and what was found there last."""

    reference: Sentence = Field(description="What the spec names.")
    version: Word = Field(default="", description="The version found: the registry's, or the ConfigMap's.")
    revision: Word = Field(default="", description="The short hash of what was found, sealed.")
    resolved_at: Moment | None = Field(default=None, description="When it was found.")
    unavailable_since: Moment | None = Field(
        default=None, description="Since when it cannot be asked, if so."
    )
    unavailable: Sentence = Field(default="", description="Why not.")


class ArmSource(PromptSource):
    """Where the prompt of a test's arm comes from, and what was found there last."""

    arm: Word = Field(description="The arm's name.")


class PolicyInForce(Remembered):
    """The policy's rules under which the rollout goes on, whatever has become of the policy since."""

    kind: Word = Field(description="PromptRolloutPolicy or ClusterPromptRolloutPolicy.")
    name: Word = Field(description="The policy's name.")
    uid: Word = Field(default="", description="The policy's uid.")
    generation: int = Field(default=0, description="The generation of its spec that is in force.")
    digest: Word = Field(default="", description="Of that spec: the same digest, the same rules.")
    since: Moment = Field(description="Since when these rules are in force.")
    spec: FreeObject = Field(
        default_factory=dict, description="The rules: the policy's spec as it was then. Not for people."
    )
    gone_since: Moment | None = Field(
        default=None, description="Since when there is no such policy any more, if so."
    )


class PromptChanges(Remembered):
    """What a candidate changes against stable, beside its texts."""

    variables_added: Many[Word] = Field(
        default_factory=list, description="Variables that applications must supply from now on."
    )
    variables_dropped: Many[Word] = Field(
        default_factory=list, description="Variables that are supplied in vain."
    )
    settings: Many[Sentence] = Field(
        default_factory=list, description="Model, parameters, template format, parts, tools and the rest."
    )


class Challenger(Remembered):
    """One of several revisions that are tried together."""

    name: Word = Field(description="Its arm's name.")
    revision: Word = Field(description="The revision's short hash.")
    dropped: Word = Field(
        default="", description="Why it was taken out of the trial, in one word, if it was."
    )


class Candidate(Remembered):
    """What is on trial: one revision, or several that are tried together."""

    revision: Word = Field(
        description="The revision's short hash; of several tried together, the trial's own digest."
    )
    arms: Some[Challenger] = Field(
        default_factory=list, description="The revisions, where several are tried together."
    )
    attempt: int = Field(default=1, description="1, or more after a retry.")
    started_at: Moment = Field(description="When it became the candidate.")
    held: Seconds = Field(
        default=0.0, description="Seconds paused or without metrics; the deadline waits for them."
    )
    progress: Progress = Field(description="Where the strategy is.")
    changes: PromptChanges | None = Field(
        default=None, description="What it changes against stable, beside its texts."
    )
    undelivered: bool = Field(
        default=False, description="Gates before delivery have yet to pass: no pod is told of it."
    )
    promoting: Word = Field(
        default="", description="The arm that someone wants promoted once the gates before that have passed."
    )


class GateRun(Remembered):
    """One gate that was asked about one revision, and its answer. It is asked once, whatever restarts."""

    id: Word = Field(
        description="Follows from revision, attempt, gate and place; the Job's name ends with it."
    )
    gate: Word = Field(description="The gate's name.")
    kind: Word = Field(description="job, webhook or approval.")
    place: Word = Field(description="BeforeDelivery, BeforePromotion, or Step.")
    revision: Word = Field(description="The revision that it was asked about.")
    attempt: int = Field(default=1, description="The attempt at that revision.")
    digest: Word = Field(default="", description="Of what was asked; another one after an edit of the gate.")
    result: Word = Field(
        default="", description="Passed, Failed, TimedOut or Skipped; empty while it is waited for."
    )
    score: Word = Field(default="", description="The score that was reported, if one was.")
    report: Sentence = Field(default="", description="What was reported.")
    message: Sentence = Field(default="", description="How it stands, or why it ended so.")
    by: Word = Field(default="", description="Who approved or skipped it.")
    job: Word = Field(default="", description="The Job that ran.")
    asked: int = Field(default=1, description="How often it was asked: 2 or more after a resume.")
    started_at: Moment = Field(description="When it was asked.")
    ended_at: Moment | None = Field(default=None, description="When it was answered.")
    held: bool = Field(default=False, description="Its time is over, and it is still waited for.")


class MetricStatus(Remembered):
    """One metric's evidence, in words and numbers."""

    name: Word = Field(description="The metric's name.")
    role: Word = Field(description="Guard, Required or Observe.")
    verdict: Word = Field(description="Harmed, NonInferior, Inconclusive or NoData.")
    candidate: Word = Field(default="", description="The candidate's value.")
    stable: Word = Field(default="", description="Stable's value over the same windows.")
    difference: Sentence = Field(
        default="",
        description="Candidate minus stable, with its confidence sequence; of latency and the like, how often the "
        "candidate's value is the larger one of a pair.",
    )
    samples: int = Field(default=0, description="Answers of the candidate that were compared.")
    stable_samples: int = Field(default=0, description="Answers of stable that they were compared with.")
    statistic: Word = Field(default="", description="What the values are: rate, mean, p95.")
    harm: Word = Field(default="", description="Evidence for harm against its threshold: 3.1 of 20.")
    non_inferiority: Word = Field(
        default="", description="Evidence for non-inferiority against its threshold."
    )
    remaining: Word = Field(
        default="",
        description="What today's difference and traffic point to, and how much longer that takes.",
    )
    guarantee: Word = Field(default="", description="How the error rates hold: exact, or asymptotic and why.")
    message: Sentence = Field(default="", description="What is missing or odd, in a sentence.")


class ComparisonStatus(Remembered):
    """What the comparison of one revision with another says."""

    verdict: Word = Field(default="NoData", description="Harmed, NonInferior, Inconclusive or NoData.")
    harm: Word = Field(default="", description="Combined evidence for harm against its threshold.")
    through: Moment | None = Field(default=None, description="The end of the last window that was read.")
    metrics: Some[MetricStatus] = Field(default_factory=list, description="Each metric.")
    unavailable_since: Moment | None = Field(default=None, description="Since when metrics cannot be read.")
    unavailable: Sentence = Field(default="", description="Why not.")
    checkpoint: FreeObject | None = Field(
        default=None,
        description="The evidence so far, from which a restarted operator goes on. Not for people.",
    )
    checkpoint_through: Moment | None = Field(
        default=None, description="The end of the last window in the checkpoint; later ones are read again."
    )


class ArmAnalysis(ComparisonStatus):
    """The comparison of one arm of several with stable, or with another arm."""

    arm: Word = Field(description="The arm's name.")
    against: Word = Field(description="What it is compared with: stable, or another arm's name.")
    better: Word = Field(default="", description="Evidence that it is better, against its threshold.")


class AnalysisStatus(ComparisonStatus):
    """The comparison of candidate and stable; of several arms, all of them in sum, and each."""

    arms: Many[ArmAnalysis] = Field(
        default_factory=list, description="Each comparison, where several arms are tried together."
    )


class Rollback(Remembered):
    """A rollback, and how fast it was."""

    revision: Word = Field(description="The revision that was rolled back.")
    reason: Word = Field(description="Why, in one word.")
    message: Sentence = Field(description="Why, with the numbers.")
    window_end: Moment | None = Field(default=None, description="The end of the window that decided.")
    readable_at: Moment | None = Field(default=None, description="When that window's data had been read.")
    decided_at: Moment = Field(description="When it was decided (and status written).")
    written_at: Moment | None = Field(default=None, description="When the ConfigMap was written.")
    acknowledged_at: Moment | None = Field(default=None, description="When the last pod was back at stable.")
    undelivered: bool = Field(default=False, description="No pod was ever told of it: it was refused before.")
    evidence: Word = Field(default="", description="The ConfigMap that holds the windows it rests on.")

    def is_other_than(self, other: "Rollback") -> bool:
        """Is this another rollback than the one before, and not that one gone on?"""
        return (self.revision, self.reason, self.decided_at) != (
            other.revision,
            other.reason,
            other.decided_at,
        )


class HistoryEntry(Remembered):
    """What became of an earlier revision."""

    revision: Word = Field(description="The revision's short hash.")
    outcome: Outcome = Field(description="Promoted, RolledBack, Aborted or Superseded.")
    reason: Word = Field(default="", description="Why, in one word.")
    started_at: Moment = Field(description="When it became the candidate.")
    ended_at: Moment = Field(description="When that was over.")
    evidence: Word = Field(default="", description="The ConfigMap that holds the windows that this rests on.")


class DecisionRecord(Remembered):
    """A decision that rested on the comparison, and where its evidence is kept."""

    revision: Word = Field(description="The short hash of what was judged.")
    arm: Word = Field(default="candidate", description="Its arm.")
    against: Word = Field(default="stable", description="The arm that it was compared with.")
    attempt: int = Field(default=1, description="Which attempt.")
    kind: Word = Field(description="Step, Held, Promoted, RolledBack or Dropped (one arm of several).")
    reason: Word = Field(default="", description="Why, in one word.")
    step: int = Field(default=0, description="The step in work when it was decided.")
    weight: int = Field(default=0, description="The weight of all that was on trial then, in 1/10,000.")
    verdict: Word = Field(default="", description="The verdict that it rested on.")
    through: Moment | None = Field(default=None, description="The end of the last window that it rested on.")
    at: Moment = Field(description="When it was decided.")
    evidence: Word = Field(
        default="",
        description="The ConfigMap that keeps the windows it rests on; empty until that is written.",
    )


class Conclusion(Remembered):
    """A trial whose winner is not the prompt that the spec wants: that is no reason to go back."""

    trial: Word = Field(description="The trial's digest: another trial is not concluded by it.")
    wanted: Word = Field(description="The revision that the spec wanted then, and that was the control.")
    winner: Word = Field(description="The revision that became stable.")
    arm: Word = Field(default="", description="The winner's arm.")
    at: Moment = Field(description="When.")


class CommandResult(Remembered):
    """What became of the last command."""

    # Never cut: by it a command is known to have been executed.
    id: str = Field(description="The id it came with.", json_schema_extra={"maxLength": 262_144})
    verb: Word = Field(description="What was asked: the verb, and after a slash what it was given.")
    result: Word = Field(description="Executed or Refused.")
    message: Sentence = Field(default="", description="What was done, or why not.")
    at: Moment = Field(description="When.")
    earlier: Some[Word] = Field(
        default_factory=list,
        description="Digests of the commands before it, the latest first: each id counts once.",
    )


class Pause(Remembered):
    """Why a rollout stands still."""

    reason: Word = Field(
        description=(
            "Command, MetricsUnavailable, Inconclusive, AwaitingDecision, SampleRatioMismatch or GateTimeout."
        )
    )
    message: Sentence = Field(description="What it waits for, and how to go on.")
    since: Moment = Field(description="Since when.")


class RolloutStatus(Remembered):
    """What the operator knows and remembers of a rollout."""

    observed_generation: int = Field(default=0, description="The generation of the spec this speaks of.")
    phase: Phase = Field(default=Phase.PENDING, description="Where the rollout is.")
    message: Sentence = Field(default="", description="What it waits for and until when, in one sentence.")
    step: Word = Field(default="", description="The step, as 3/5.")
    weight: Word = Field(default="", description="The candidate's weight, as 25%.")
    verdict: Word = Field(default="", description="The analysis' verdict.")
    stable_revision: Word = Field(default="", description="The revision that has proven itself.")
    candidate_revision: Word = Field(default="", description="The revision on trial.")
    stable: RevisionRef | None = Field(default=None, description="The revision that has proven itself.")
    candidate: Candidate | None = Field(default=None, description="The revision on trial.")
    rejected: Candidate | None = Field(
        default=None,
        description="The wanted revision, if it was rolled back or aborted: not tried again by itself.",
    )
    source: PromptSource | None = Field(
        default=None, description="Where the wanted prompt was found, unless it is written inline."
    )
    arm_sources: Some[ArmSource] = Field(
        default_factory=list,
        description="Where the prompts of a test's arms were found, but for those that are written inline.",
    )
    policy: PolicyInForce | None = Field(
        default=None, description="The policy's rules that are in force, if the spec names a policy."
    )
    delivered: Delivered | None = Field(default=None, description="What pods are told to serve.")
    pause: Pause | None = Field(default=None, description="Why it stands still, if it does.")
    analysis: AnalysisStatus | None = Field(
        default=None, description="The comparison of candidate and stable."
    )
    rollback: Rollback | None = Field(default=None, description="The last rollback.")
    concluded: Conclusion | None = Field(
        default=None, description="The trial whose winner is stable although the spec wants its control."
    )
    gates: Many[GateRun] = Field(default_factory=list, description="Gates that were asked, the latest first.")
    last_command: CommandResult | None = Field(default=None, description="What became of the last command.")
    history: Many[HistoryEntry] = Field(
        default_factory=list, description="Earlier revisions, the latest first."
    )
    decisions: Some[DecisionRecord] = Field(
        default_factory=list, description="What was decided on the comparison, the latest first."
    )
    conditions: Some[Condition] = Field(
        default_factory=list,
        description="For kubectl wait.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
