"""What makes the gates of a readable spec wrong: the CEL rules again, and what CEL cannot say. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from promptrollout.api.gates import GATE_KINDS, Gate, GatePlace, NamedGate
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec

Problems = Iterator[Problem]


def gate_problems(spec: RolloutSpec) -> Problems:
    """All that is wrong with the gates, but for lengths of time that cannot be read."""
    names: set[str] = set()
    for path, gate in gates_of(spec):
        name = gate.own_name
        if name and name in names:
            yield Problem(
                f"{path}.name", f"{name!r} is the name of an earlier gate", "give it a name of its own"
            )
        names.add(name)
        yield from _gate(gate, path)


def gates_of(spec: RolloutSpec) -> Iterator[tuple[str, Gate]]:
    """Every gate with its path."""
    yield from ((f"spec.gates[{index}]", gate) for index, gate in enumerate(spec.gates))
    canary, at = spec.strategy.stepped or (None, "")
    for index, step in enumerate(canary.steps if canary else ()):
        if step.gate is not None:
            yield f"{at}.steps[{index}].gate", step.gate


def timeout_problems(spec: RolloutSpec) -> Problems:
    """Timeouts that are no lengths of time, or none at all."""
    for path, gate in gates_of(spec):
        if gate.timeout is None:
            continue
        try:
            short = parse_duration(gate.timeout) < timedelta(seconds=1)
        except ValueError as error:
            message, _, cure = str(error).partition("; ")
            yield Problem(f"{path}.timeout", message, cure)
            continue
        if short:
            yield Problem(f"{path}.timeout", f"{gate.timeout} is too short", "write at least 1s, such as 30m")


def _gate(gate: Gate, path: str) -> Problems:
    given = [kind for kind in GATE_KINDS if getattr(gate, kind) is not None]
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else "asks nothing"
        yield Problem(path, said, f"write exactly one of {', '.join(GATE_KINDS)}")
    if gate.job is not None and (gate.job.template is None) == (gate.job.template_ref is None):
        said = "has no template" if gate.job.template is None else "has both template and templateRef"
        yield Problem(f"{path}.job", said, "name a CronJob of this namespace in templateRef")
    if isinstance(gate, NamedGate) and gate.always and gate.when is not GatePlace.BEFORE_DELIVERY:
        message = "goes with BeforeDelivery only: the first revision is never promoted, it is delivered"
        yield Problem(f"{path}.always", message, "leave it out, or use when: BeforeDelivery")
