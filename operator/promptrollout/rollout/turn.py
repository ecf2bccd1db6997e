"""One decision in the making: the status as it grows, and what is to be told."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Delivered, RolloutStatus
from promptrollout.rollout.decision import Note
from promptrollout.rollout.observations import Comparison, Observations
from promptrollout.rollout.strategies import Strategy, strategy_of


def to_milliseconds(moment: datetime) -> datetime:
    """A moment as status keeps it: what is decided must not depend on whether it went over the wire since."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


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
        self.wake_at: datetime | None = None
        self.strategy: Strategy | None = strategy_of(spec.strategy) if spec else None

    @property
    def comparison(self) -> Comparison | None:
        """What the analysis says of the trial that is on now.

        Its word on another candidate is no news, nor is one on the same candidate's earlier trial: the prompt may
        have gone back to stable and come again in between.
        """
        said, candidate = self.seen.comparison, self.status.candidate
        if said is None or candidate is None or said.trial != (candidate.revision, candidate.attempt):
            return None
        through, read_at = to_milliseconds(said.through), to_milliseconds(said.read_at)
        if read_at < candidate.started_at:
            return None
        return replace(said, through=through, read_at=read_at)

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
