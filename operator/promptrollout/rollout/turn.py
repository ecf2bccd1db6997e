"""One decision in the making: the status as it grows, and what is to be told."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Candidate, Challenger, Delivered, GateRun, RolloutStatus
from promptrollout.rollout.decision import Note
from promptrollout.rollout.observations import CANDIDATE, STABLE, Comparison, Observations
from promptrollout.rollout.strategies import Strategy, strategy_of


def to_milliseconds(moment: datetime) -> datetime:
    """A moment as status keeps it: what is decided must not depend on whether it went over the wire since."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def challengers(candidate: Candidate) -> list[Challenger]:
    """All that is on trial: the one revision, or each of several, also those that were dropped."""
    return candidate.arms or [Challenger(name=CANDIDATE, revision=candidate.revision)]


def _rounded(said: Comparison) -> Comparison:
    return replace(said, through=to_milliseconds(said.through), read_at=to_milliseconds(said.read_at))


class Turn:
    """The scratch pad of one decision; it never outlives `decide`.

    Concerns read `spec`, `seen` and `now`, and change only `status`, `notes` and the time to wake.
    `spec` is None when it cannot be read: then nothing may be based on it. `began` is the status that this
    decision began with, and `before` what was delivered: however many concerns change it, it is one change.
    """

    def __init__(
        self, spec: RolloutSpec | None, status: RolloutStatus, seen: Observations, now: datetime
    ) -> None:
        self.spec = spec
        self.status = status
        self.seen = seen
        self.now = to_milliseconds(now)
        self.began = status
        self.before: Delivered | None = status.delivered
        self.notes: list[Note] = []
        self.waiting = ""
        #: The gate that is in the way now.
        self.gate: GateRun | None = None
        self.wake_at: datetime | None = None
        self.strategy: Strategy | None = strategy_of(spec.strategy) if spec else None
        self._said = tuple(_rounded(said) for said in seen.comparisons)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """What the analysis says of the trial that is on now, of each pair that is compared.

        Its word on another candidate is no news, nor is one on the same candidate's earlier trial: the prompt may
        have gone back to stable and come again in between. Nor is one on an arm that was dropped,
        nor one on the shadow once users see the candidate.
        """
        candidate = self.status.candidate
        if candidate is None:
            return ()
        trial = (candidate.revision, candidate.attempt)
        names = {arm.name for arm in challengers(candidate) if not arm.dropped}
        in_shadow = bool(self.status.delivered and self.status.delivered.shadow)
        return tuple(
            said
            for said in self._said
            if said.trial == trial
            and said.arm in names
            and said.against in {*names, STABLE}
            and said.shadow == in_shadow
            and said.read_at >= candidate.started_at
        )

    @property
    def comparison(self) -> Comparison | None:
        """What the analysis says of the candidate and stable; of several arms, of the first."""
        return next((said for said in self.comparisons if said.against == STABLE), None)

    def set(self, **changes: object) -> None:
        """Change fields of the status."""
        self.status = self.status.but(**changes)

    def note(self, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Normal") -> None:
        """Something to tell people."""
        self.notes.append(Note(kind, reason, message))

    def warn(self, reason: str, message: str) -> None:
        """Something that people should look at."""
        self.note(reason, message, "Warning")

    def wait(self, message: str, until: datetime | None = None) -> None:
        """Say what is waited for; the last word in a turn is the one that stands."""
        self.waiting = message
        if until is not None:
            self.wake(until)

    def wake(self, at: datetime) -> None:
        """Ask again at this time at the latest."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)

    def span(self, text: str) -> timedelta:
        """A duration of the (already validated) spec."""
        return parse_duration(text)
