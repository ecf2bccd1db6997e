"""From stored JSON to models: a spec or what is wrong with it, and a status whatever is wrong with it. Total.

Nothing here raises, whatever JSON it gets: one poisoned object must not stop the others.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from promptrollout.api.checks import is_deliverable, problems_of
from promptrollout.api.problem import Problem
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import RolloutStatus
from promptrollout.api.wording import kind_of, path_of, problem_of

__all__ = ["Problem", "StatusReading", "parse_spec", "parse_status", "read_status"]

#: Deeper JSON than any tool definition; pydantic writes at most 255 levels.
_DEEPEST = 100
_Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SpecReading:
    """A spec, and everything that is wrong with it; paths begin with `spec`.

    With `problems`, `spec` is good for what was decided before only: to deliver it, and to take it back. It is
    None where not even that can be read.
    """

    spec: RolloutSpec | None
    problems: tuple[Problem, ...] = ()


def parse_spec(raw: object) -> RolloutSpec | tuple[Problem, ...]:
    """The spec, or everything that is wrong with it; paths begin with `spec`."""
    reading = read_spec(raw)
    return reading.spec if reading.spec is not None and not reading.problems else reading.problems


def read_spec(raw: object) -> SpecReading:
    """The spec as far as it can be used, and everything that is wrong with it."""
    if not isinstance(raw, Mapping):
        said = "is missing" if raw is None else f"is {kind_of(raw)}"
        return SpecReading(None, (Problem("spec", said, "write spec as a map of fields"),))
    if deep := _too_deep(raw):
        cure = f"use at most {_DEEPEST} levels"
        return SpecReading(None, (Problem(path_of("spec", deep[:12]), "is nested too deeply", cure),))
    try:
        spec = RolloutSpec.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False)
        return SpecReading(None, tuple(problem_of("spec", details) for details in found))
    problems = problems_of(spec)
    return SpecReading(spec if is_deliverable(spec, problems) else None, problems)


@dataclass(frozen=True, slots=True)
class StatusReading:
    """A status, and what of it could not be read.

    With any `lost` an operator must not decide: what it forgot might be what is served. The rest of `unreadable` is
    worked out anew at each turn: a phase that only a newer version has, say.
    """

    status: RolloutStatus
    unreadable: tuple[Problem, ...] = ()

    @property
    def lost(self) -> tuple[Problem, ...]:
        """What is unreadable and cannot be worked out anew."""
        return tuple(one for one in self.unreadable if _field_of(one) not in _DERIVED)


#: Fields of the status that say in short what the others say.
_DERIVED = frozenset(
    {
        "observedGeneration",
        "phase",
        "message",
        "step",
        "weight",
        "verdict",
        "stableRevision",
        "candidateRevision",
        "conditions",
    }
)


def _field_of(problem: Problem) -> str:
    return re.split(r"[.\[]", problem.path)[1] if "." in problem.path else ""


def parse_status(raw: object) -> RolloutStatus:
    """The status as far as it can be read; the default one if there is none."""
    return read_status(raw).status


def read_status(raw: object) -> StatusReading:
    """Read field by field: what is unreadable is left out, with what cannot be without it, and named.

    Fields that this version does not know are kept and written again, so that a newer operator finds them.
    """
    if raw is None:
        return StatusReading(RolloutStatus())
    if not isinstance(raw, Mapping):
        return StatusReading(RolloutStatus(), (Problem("status", f"is {kind_of(raw)}", _STATUS_CURE),))
    unreadable: list[Problem] = []
    rest: dict[str, object] = {}
    for key, value in raw.items():
        if _too_deep(value):
            unreadable.append(Problem(f"status.{key}", "is nested too deeply", _STATUS_CURE))
        else:
            rest[str(key)] = copy.deepcopy(value)
    while True:
        try:
            status = RolloutStatus.model_validate(rest, by_alias=True, by_name=False)
        except ValidationError as error:
            found = error.errors(include_url=False)
            said = {problem.path for problem in unreadable}
            problems = [
                Problem(p.path, p.message, _STATUS_CURE) for p in (problem_of("status", e) for e in found)
            ]
            unreadable += [problem for problem in problems if problem.path not in said]
            _leave_out(rest, {_standing(rest, details["loc"]) for details in found})
        else:
            return StatusReading(status, tuple(unreadable))


_STATUS_CURE = "restore status from a backup, or remove that field with kubectl edit --subresource=status"


def _standing(root: object, location: _Location) -> _Location:
    """The part of a location that is there: all of it, or what lacks the rest."""
    here = root
    for depth, key in enumerate(location):
        if isinstance(here, dict) and key in here:
            here = here[str(key)]
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            here = here[key]
        else:
            return location[:depth]
    return location


def _leave_out(root: dict[str, object], locations: set[_Location]) -> None:
    """Remove these from the back, so that the indices of the others stay true."""
    for location in sorted(locations, key=_by_place, reverse=True):
        if any(location[:depth] in locations for depth in range(len(location))):
            continue
        if not location:  # cannot be: every field of the status has a default
            root.clear()
            continue
        here: object = root
        for key in location[:-1]:
            here = here[key]  # type: ignore[index]  # _standing has been there
        del here[location[-1]]  # type: ignore[attr-defined]  # likewise


def _by_place(location: _Location) -> list[tuple[int, str]]:
    return [(key, "") if isinstance(key, int) else (-1, key) for key in location]


def _too_deep(value: object) -> _Location:
    """Where JSON goes deeper than any tool definition; empty if nowhere."""
    waiting: list[tuple[_Location, object]] = [((), value)]
    while waiting:
        at, here = waiting.pop()
        if len(at) > _DEEPEST:
            return at
        children: Iterator[tuple[str | int, object]] = iter(())
        if isinstance(here, Mapping):
            children = ((str(key), child) for key, child in here.items())
        elif isinstance(here, list | tuple):
            children = enumerate(here)
        waiting += [
            ((*at, key), child) for key, child in children if isinstance(child, Mapping | list | tuple)
        ]
    return ()
