"""What a strategy is: a pure function from where a trial stands to the next move."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from promptrollout.analysis import Verdict
from promptrollout.api.gates import StepGate
from promptrollout.api.prompt import Prompt
from promptrollout.rollout.observations import CANDIDATE


@dataclass(frozen=True, slots=True)
class Goal:
    """What a trial is to try.

    Attributes:
        id: what tells this trial from any other: the revision, or a digest of all that is tried together.
        arms: name and revision of each challenger, where several are tried together; else the id is the only one.
    """

    id: str
    arms: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, wanted: str, stable: str) -> "Goal | None":
        """To try the wanted prompt, unless it is stable already."""
        return None if wanted == stable else cls(wanted)


@dataclass(frozen=True, slots=True)
class ArmView:
    """Where one arm of several stands; an arm that was dropped is not shown.

    Attributes:
        verdict: of all evidence against stable since the trial began.
        better: whether it is shown to be better than stable.
        evidence: how much speaks for that: a logarithm of evidence.
        rivals: the verdict on it against each other arm, as far as they are compared.
        outlook: what the evidence lacks, as a phrase for people.
    """

    name: str
    verdict: Verdict
    better: bool = False
    evidence: float = 0.0
    rivals: Mapping[str, Verdict] = field(default_factory=dict)
    outlook: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """Where a trial stands.

    Attributes:
        step: the step in work, from 1; 0 before the first.
        weight: the weight of all on trial now, in 1/10,000.
        elapsed: how long its weight has been loaded by the pods, pauses and blind times not counted.
        verdict: of all evidence since the trial began.
        samples: the candidate's answers in this step.
        compares: whether any metric is compared at all.
        outlook: what the evidence lacks, as a phrase for people.
        arms: where several are tried together, each that is still in it.
    """

    step: int
    weight: int
    elapsed: timedelta
    verdict: Verdict
    samples: int
    compares: bool
    outlook: str = ""
    arms: tuple[ArmView, ...] = ()


@dataclass(frozen=True, slots=True)
class Stay:
    """Keep the weight; `left` is when to look again at the latest."""

    message: str
    left: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Run the candidate beside stable, unseen: for this share of requests (1/10,000), within each pod's budget."""

    sample: int
    max_concurrent: int
    usd_per_hour: str


@dataclass(frozen=True, slots=True)
class Advance:
    """Go to this step (from 1) and give the candidate this weight (1/10,000), or let it run in the shadow."""

    step: int
    weight: int
    mirror: Mirror | None = None

    @property
    def weights(self) -> Mapping[str, int]:
        """The weight of each arm besides stable."""
        return {CANDIDATE: self.weight}


@dataclass(frozen=True, slots=True)
class Split:
    """Go to this step (from 1) and give each arm its weight (1/10,000); stable gets the rest."""

    step: int
    weights: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Finish:
    """The trial is over, and this arm becomes stable."""

    reason: str
    message: str
    arm: str = CANDIDATE


@dataclass(frozen=True, slots=True)
class Undecided:
    """The step's time is over and the evidence is not enough; the spec's onInconclusive decides."""

    message: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Stand still at today's weights until a person says so: `message` names what they may say."""

    message: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """There is nothing to force: why, and what to do instead."""

    message: str


Move = Stay | Advance | Split | Finish | Undecided | Ask
Forced = Advance | Split | Finish | Refuse


class Strategy(Protocol):
    """How a candidate takes over. Implementations are immutable and hold nothing but their spec."""

    @property
    def name(self) -> str:
        """Its field's name in spec.strategy."""

    @property
    def steps(self) -> int:
        """How many steps there are."""

    @property
    def compares(self) -> bool:
        """Whether it goes by metrics at all; if not, it waits for none."""

    @property
    def prompts(self) -> Mapping[str, tuple[str, Prompt]]:
        """The prompts that it names besides spec.prompt: field path and prompt, by arm."""

    @property
    def rivals(self) -> int:
        """How many challengers compete to be shown better; 0: it is enough not to be worse."""

    @property
    def grace(self) -> timedelta:
        """What comes on top of spec.progressDeadline."""

    def uncounted(self, since: datetime, until: datetime) -> timedelta:
        """How much of the time between two moments does not count for spec.progressDeadline: no window is open."""

    def shut(self, now: datetime) -> Stay | None:
        """Why no weight may rise now by itself, and until when; None if it may."""

    def goal(self, wanted: str, stable: str, arms: Mapping[str, str]) -> Goal | None:
        """What is to be tried; None if there is nothing to try.

        Args:
            wanted: the revision of spec.prompt.
            stable: the revision that has proven itself.
            arms: the revisions of `prompts`.
        """

    def digest(self) -> str:
        """Changes when, and only when, an edit changes the steps."""

    def relocate(self, weight: int, step: int) -> int:
        """After an edit: the step in work for a candidate at this weight (1/10,000) that was in `step`.

        Never a reason to raise the weight, nor to leave out a step.
        """

    def gate(self, step: int) -> StepGate | None:
        """What must pass before this step (from 1) is over, if it is a gate."""

    def next(self, view: View) -> Move:
        """The next move on the evidence."""

    def forced(self, view: View) -> Forced:
        """The next move when someone says `promote`, whatever the evidence."""


@dataclass(frozen=True, slots=True)
class OneCandidate:
    """What strategies that try spec.prompt, and nothing else, have in common."""

    @property
    def prompts(self) -> Mapping[str, tuple[str, Prompt]]:
        """None besides spec.prompt."""
        return {}

    @property
    def rivals(self) -> int:
        """Not being worse is enough."""
        return 0

    @property
    def grace(self) -> timedelta:
        """Nothing."""
        return timedelta(0)

    def uncounted(self, since: datetime, until: datetime) -> timedelta:  # noqa: ARG002 - the protocol's signature
        """All of it counts."""
        return timedelta(0)

    def shut(self, now: datetime) -> Stay | None:  # noqa: ARG002 - the protocol's signature
        """Weights may rise at any time."""
        return None

    def goal(self, wanted: str, stable: str, arms: Mapping[str, str]) -> Goal | None:  # noqa: ARG002 - the protocol's signature
        """Try the wanted prompt."""
        return Goal.of(wanted, stable)
