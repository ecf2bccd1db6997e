"""Which gates stand where, from the spec alone; and what the shell is asked to run."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from promptrollout.api.gates import Gate, GatePlace, StepGate
from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Candidate, GateRun

#: The place of a gate that is a step.
STEP = "Step"
APPROVAL = "approval"
_DEFAULT_TIMEOUT, _APPROVAL_TIMEOUT = timedelta(hours=1), timedelta(hours=72)


@dataclass(frozen=True, slots=True)
class Asked:
    """One gate at its place. An edit of what it asks makes it another."""

    name: str
    place: str
    gate: Gate

    @property
    def timeout(self) -> timedelta:
        """How long it may take."""
        if self.gate.timeout:
            return parse_duration(self.gate.timeout)
        return _APPROVAL_TIMEOUT if self.gate.kind == APPROVAL else _DEFAULT_TIMEOUT

    def is_of(self, run: GateRun) -> bool:
        """Whether that run asked the same thing at the same place."""
        return (run.gate, run.place, run.digest) == (self.name, self.place, self.gate.digest())


@dataclass(frozen=True, slots=True)
class GateRequest:
    """A gate to run: the shell starts it if it does not run yet, and says what it answered by its id.

    Attributes:
        id: the same after a restart; another for each revision, attempt, place, and edit of the gate.
        name: the gate's.
        place: BeforeDelivery, Step or BeforePromotion.
        gate: what to ask.
        revision: the candidate's short hash, or the trial's digest where several are tried together.
        arms: name and short hash of each that is tried; of one alone, its name is `candidate`.
        stable: what it would replace; empty for a first revision.
        attempt: at this revision, from 1.
        until: when its time is over; an answer may still be taken afterwards.
    """

    id: str
    name: str
    place: str
    gate: Gate
    revision: str
    arms: tuple[tuple[str, str], ...]
    stable: str
    attempt: int
    until: datetime


def gates_at(spec: RolloutSpec, place: GatePlace, *, first: bool = False) -> tuple[Asked, ...]:
    """The gates of a place, in their order; of the very `first` revision only those marked always."""
    return tuple(
        Asked(gate.name, place.value, gate)
        for gate in spec.gates
        if gate.when is place and (gate.always or not first)
    )


def step_gate(gate: StepGate, step: int) -> Asked:
    """The gate that is a strategy's step (from 1)."""
    return Asked(gate.name or f"step-{step}", STEP, gate)


def all_gates(spec: RolloutSpec) -> Iterator[Asked]:
    """Every gate of the spec."""
    yield from (Asked(gate.name, gate.when.value, gate) for gate in spec.gates)
    canary, _ = spec.strategy.stepped or (None, "")
    # A shadow is a step of its own before those of its canary.
    for number, step in enumerate(canary.steps if canary else (), 2 if spec.strategy.shadow else 1):
        if step.gate is not None:
            yield step_gate(step.gate, number)


def run_id(uid: str, candidate: Candidate, asked: Asked, times: int) -> str:
    """Ten hex digits (40 bits) that follow from what is asked about what."""
    parts = (uid, candidate.revision, candidate.attempt, asked.place, asked.name, asked.gate.digest(), times)
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:10]
