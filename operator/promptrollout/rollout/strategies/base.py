"""What a strategy is: a pure function from where a trial stands to the next move."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from promptrollout.analysis import Verdict


@dataclass(frozen=True, slots=True)
class View:
    """Where a trial stands.

    Attributes:
        step: the step in work, from 1; 0 before the first.
        weight: the candidate's weight now, in 1/10,000.
        elapsed: how long its weight has been loaded by the pods, pauses and blind times not counted.
        verdict: of all evidence since the trial began.
        samples: the candidate's answers so far.
        compares: whether any metric is compared at all.
        outlook: what the evidence lacks, as a phrase for people.
    """

    step: int
    weight: int
    elapsed: timedelta
    verdict: Verdict
    samples: int
    compares: bool
    outlook: str = ""


@dataclass(frozen=True, slots=True)
class Stay:
    """Keep the weight; `left` is when to look again at the latest."""

    message: str
    left: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """Go to this step (from 1) and give the candidate this weight (1/10,000)."""

    step: int
    weight: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The candidate becomes stable."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """The step's time is over and the evidence is not enough; the spec's onInconclusive decides."""

    message: str


Move = Stay | Advance | Finish | Undecided


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

    def digest(self) -> str:
        """Changes when, and only when, an edit changes the steps."""

    def relocate(self, weight: int, step: int) -> int:
        """After an edit: the step in work for a candidate at this weight (1/10,000) that was in `step`.

        Never a reason to raise the weight, nor to leave out a step.
        """

    def next(self, view: View) -> Move:
        """The next move on the evidence."""

    def forced(self, view: View) -> Advance | Finish:
        """The next move when someone says `promote`, whatever the evidence."""
