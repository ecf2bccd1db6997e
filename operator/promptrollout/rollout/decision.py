"""What comes out of a decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from promptrollout.api.status import DecisionRecord, RolloutStatus
from promptrollout.rollout.gateplan import GateRequest
from promptrollout.rollout.observations import CANDIDATE, STABLE


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling people: becomes an Event, and a notification where one is configured."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """A pair to be compared from now on: the shell asks the metric source for it at each interval.

    Attributes:
        trial: what is on trial, and which attempt.
        candidate: the revision that is judged.
        stable: the revision that it is compared with.
        weight: the candidate's share of what both get, in 1/10,000.
        arm: the candidate's arm.
        against: the other one's arm.
        shadow: whether the candidate answers beside stable, to the same requests.
    """

    trial: tuple[str, int]
    candidate: str
    stable: str
    exposure: int
    weight: int
    since: datetime
    interval: timedelta
    warm_up: timedelta
    arm: str = CANDIDATE
    against: str = STABLE
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole next status, what to tell, what to watch, and when to ask again.

    Attributes:
        status: written first; the payload is a pure function of it.
        notes: events, in order.
        sampling: the pairs to compare; none while there is nothing to compare.
        awaiting_pods: whether pods have yet to load the payload.
        gates: what is to be asked and has not answered yet; None: leave as it is what runs already.
        decided: what was decided on the comparison in this turn: its evidence is to be kept, after all writes.
        wake_at: the latest moment at which to decide again if nothing happens before; None: no need.
    """

    status: RolloutStatus
    notes: tuple[Note, ...] = ()
    sampling: tuple[Sampling, ...] = ()
    awaiting_pods: bool = False
    gates: tuple[GateRequest, ...] | None = ()
    decided: tuple[DecisionRecord, ...] = ()
    wake_at: datetime | None = None
