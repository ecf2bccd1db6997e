"""What comes out of a decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from promptrollout.api.status import RolloutStatus


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling people: becomes an Event, and a notification where one is configured."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is to be compared from now on: the shell asks the metric source for it at each interval."""

    candidate: str
    stable: str
    attempt: int
    exposure: int
    weight: int
    since: datetime
    interval: timedelta
    warm_up: timedelta


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole next status, what to tell, what to watch, and when to ask again.

    Attributes:
        status: written first; the payload is a pure function of it.
        notes: events, in order.
        sampling: None while there is nothing to compare.
        awaiting_pods: whether pods have yet to load the payload.
        wake_at: the latest moment at which to decide again if nothing happens before; None: no need.
    """

    status: RolloutStatus
    notes: tuple[Note, ...] = ()
    sampling: Sampling | None = None
    awaiting_pods: bool = False
    wake_at: datetime | None = None
