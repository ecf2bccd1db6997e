"""What the shell saw before a decision. All of it is data: nothing here can be asked for more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from promptrollout.analysis import Evidence, Verdict
from promptrollout.analysis.ledger import Ledger
from promptrollout.api.merging import PolicyRules
from promptrollout.api.problem import Problem
from promptrollout.api.status import MetricStatus, PromptChanges

#: Longer than any verb with its argument; there is no telling what someone may have written there.
_LONGEST_COMMAND = 63


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asked for through the annotation `promptrollout.dev/command: "<verb>[/<argument>]:<id>"`.

    `by`: who that was, as far as it can be known.
    """

    verb: str
    id: str
    by: str = "someone"
    argument: str = ""

    @classmethod
    def parse(cls, text: str, by: str = "someone") -> "Command":
        """Split it; a text without an id has itself as id, so that it still runs once only."""
        asked, colon, name = text.strip().partition(":")
        verb, slash, argument = asked.strip().partition("/")
        if slash and not argument:
            verb = asked.strip()  # "undo/" with a name forgotten is not "undo"
        return cls(verb, name.strip() if colon and name.strip() else text.strip(), by, argument)

    @property
    def said(self) -> str:
        """Verb and argument as they are told, and no more of them than a status keeps."""
        return (f"{self.verb}/{self.argument}" if self.argument else self.verb)[:_LONGEST_COMMAND]


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What a gate has said so far.

    Attributes:
        result: Passed or Failed; empty while it has not answered.
        score, report: as it told them, in its own words.
        message: how it stands or why it ended so, as a phrase.
        job: the Job that runs, if one does.
    """

    result: str = ""
    score: str = ""
    report: str = ""
    message: str = ""
    job: str = ""


@dataclass(frozen=True, slots=True)
class LoadedPayload:
    """A pod's own word on what it serves (`promptrollout_loaded`), its hash already checked."""

    sequence: int
    at: datetime


@dataclass(frozen=True, slots=True)
class PodsSeen:
    """The pods that serve the prompt, and what each says it has loaded.

    `never_refreshed` are those that mount the ConfigMap by subPath. `unavailable` is why that could not be found out,
    as a sentence; empty if it could.
    """

    ready: tuple[str, ...] = ()
    loaded: Mapping[str, LoadedPayload] = field(default_factory=dict)
    never_refreshed: tuple[str, ...] = ()
    unavailable: str = ""


#: The names of the arms where there is one candidate; stable's is always this.
CANDIDATE, STABLE = "candidate", "stable"


@dataclass(frozen=True, slots=True)
class Better:
    """Evidence that an arm is better, not just not worse: its logarithm, whether it suffices, and in words."""

    log_e: float
    reached: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The analysis' word on one arm and stable (or another arm), up to the window that ended at `through`.

    Attributes:
        trial: the candidate's revision and attempt that it speaks of.
        arm: the arm that is judged.
        against: the arm that it is compared with.
        better: evidence that it is better; None where nobody asked.
        read_at: when that window's data had been read.
        harm: the combined evidence for harm against its threshold, as text; `harm_reason` with the numbers.
        samples: the candidate's answers so far.
        outlook: what is not shown yet, and how long it may take, as a phrase.
        state: all of the evidence, for a checkpoint.
        unreadable: why some metric cannot be read, as a phrase; empty if all can.
        mismatch: how the sample ratio differs from the weights, as a sentence; empty if it does not.
        nothing_matched: which selector matched nothing, as a sentence.
        shadow: whether the candidate answered beside stable, unseen.
        ledger: the windows that it rests on, to be kept when something is decided.
    """

    trial: tuple[str, int]
    verdict: Verdict
    through: datetime
    read_at: datetime
    harm: str = ""
    harm_reason: str = ""
    samples: int = 0
    metrics: tuple[MetricStatus, ...] = ()
    outlook: str = ""
    state: Evidence | None = None
    unreadable: str = ""
    mismatch: str = ""
    nothing_matched: str = ""
    arm: str = CANDIDATE
    against: str = STABLE
    better: Better | None = None
    shadow: bool = False
    ledger: Ledger | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """A ConfigMap that exists by now, and holds what decisions that were taken at these moments rested on.

    `revision` is that of the arm that was judged.
    """

    revision: str
    name: str
    decided_at: frozenset[datetime]
    arm: str = CANDIDATE
    against: str = STABLE


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """Where a prompt that is not written inline was looked for, and what became of it.

    Attributes:
        reference: what the spec names, in words.
        version, revision: what was found there; empty if nothing has been found yet.
        unavailable: why it could not be asked last time, as a phrase; empty if it could.
    """

    reference: str
    version: str = ""
    revision: str = ""
    unavailable: str = ""


@dataclass(frozen=True, slots=True)
class PolicySeen:
    """The policy that the spec names, and the rules with which the spec of this turn was merged.

    Attributes:
        kind, name: as the spec names it.
        rules: those of this turn; None if there are none to go on under.
        renewed: whether they are the policy's own of now, taken over because something begins anew.
        gone: whether it is known that there is no such policy now.
        unread: whether its rules of now are needed and could not be asked for; `Observations.unresolved` says why.
    """

    kind: str
    name: str
    rules: PolicyRules | None = None
    renewed: bool = False
    gone: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class DecidableSeen:
    """Whether a candidate that is like stable can be shown non-inferior in time, by the traffic of this trial."""

    trial: tuple[str, int]
    status: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything one decision may depend on besides spec, status and the time.

    Attributes:
        uid: the object's uid; part of the salt.
        generation: the generation of the spec.
        wanted: the short hash of the wanted prompt, sealed; empty if `problems` say why there is none.
        problems: what is wrong with the spec, or with what is to be delivered.
        blocked: why nothing can be delivered at all (a foreign ConfigMap, a lost revision); empty if it can.
        unresolved: why it is not known yet what is wanted (a registry that does not answer), as a sentence.
        source: where the prompt was looked for; None if it is written inline.
        arm_sources: the same of the prompts that the strategy itself names, by arm; without those written inline.
        policy: the policy that the spec names; None if it names none.
        changes: what the wanted revision changes against stable, beside its texts; None if unknown or nothing.
        written: (sequence, moment) of the newest payload known to be in the ConfigMap.
        pods: which pods there are and what they have loaded; None if not looked at this time.
        arms: the revisions of the prompts that the strategy itself names, by arm, sealed.
        comparisons: what the analysis says, of each arm; none if there is no window yet.
        command: the command annotation, if there is one.
        decidable: whether the comparison can be decided at the traffic seen; None: not known yet.
        kept: evidence that was written lately; the status may name it from now on.
        gates: what gates have answered, by the id of the run.
        texts: the revisions whose texts are still there, delivered or kept in history.
    """

    uid: str
    generation: int
    wanted: str = ""
    problems: tuple[Problem, ...] = ()
    blocked: str = ""
    unresolved: str = ""
    source: SourceSeen | None = None
    arm_sources: Mapping[str, SourceSeen] = field(default_factory=dict)
    policy: PolicySeen | None = None
    changes: PromptChanges | None = None
    written: tuple[int, datetime] | None = None
    pods: PodsSeen | None = None
    arms: Mapping[str, str] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    command: Command | None = None
    kept: tuple[KeptEvidence, ...] = ()
    decidable: DecidableSeen | None = None
    gates: Mapping[str, GateAnswer] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()
