"""A rollout's own spec over its policy's: who wins, what is locked, and who wrote what is wrong. Pure.

Raw JSON is merged, before any model is made of it, so that defaults do not count as the author's word:

- maps are merged field by field; what the rollout writes wins;
- of what excludes each other (canary, abTest, shadow, immediate) the rollout's takes the place of the policy's;
- `analysis.metrics` and `gates` are merged by name: the policy's come first, in its order. One of the same name changes
  single fields, but takes the other's place if it says by itself what it measures or asks (preset, events; job,
  webhook, approval): a margin of latencies means nothing for scores;
- other lists are replaced as a whole: half of a policy's steps with half of one's own is no ramp.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from promptrollout.api.policy import FIELDS, LOCKABLE, MOST_BYTES, PolicySpec
from promptrollout.api.problem import Problem
from promptrollout.api.wording import problem_of

Json = Mapping[str, object]
_Path = tuple[str, ...]

#: Fields of which one excludes the others.
_EXCLUSIVE: Mapping[_Path, frozenset[str]] = {
    ("strategy",): frozenset({"canary", "abTest", "shadow", "immediate"})
}
#: Lists merged by name, and the fields with which an item stands by itself.
_BY_NAME: Mapping[_Path, frozenset[str]] = {
    ("analysis", "metrics"): frozenset({"preset", "events"}),
    ("gates",): frozenset({"job", "webhook", "approval"}),
}
#: Deeper than any policy; what is deeper is the rollout's alone (and refused by parse_spec).
_DEEPEST = 50
_TOKEN = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """A policy as it was at one moment: what a rollout goes on under.

    Attributes:
        kind, name: as a rollout's policyRef names it.
        uid, generation: which policy of that name, and which version of its spec; 0 if it comes from a file.
        spec: as its author wrote it.
    """

    kind: str
    name: str
    spec: Json = field(default_factory=dict)
    uid: str = ""
    generation: int = 0

    @property
    def digest(self) -> str:
        """Changes with the rules."""
        return hashlib.sha256(json.dumps(self.spec, sort_keys=True, default=str).encode()).hexdigest()[:10]

    @property
    def locked(self) -> tuple[str, ...]:
        """The paths that it locks; what is none is `policy_problems`' to tell."""
        paths = self.spec.get("locked")
        return tuple(path for path in paths if path in LOCKABLE) if isinstance(paths, list) else ()

    def at(self, path: str) -> str:
        """A field of this policy, in a problem's path."""
        return f"policy {self.name}: {path}"


def policy_problems(rules: PolicyRules) -> tuple[Problem, ...]:
    """What is wrong with a policy by itself; the rest shows when it is merged."""
    size = len(json.dumps(rules.spec, default=str).encode())
    if size > MOST_BYTES:
        message = f"has {size:,} bytes as JSON, and at most {MOST_BYTES:,} are kept with each rollout"
        return (Problem(rules.at("spec"), message, "shorten it"),)
    try:
        PolicySpec.model_validate(rules.spec, by_alias=True, by_name=False)
    except ValidationError as error:
        return tuple(problem_of(rules.at("spec"), details) for details in error.errors(include_url=False))
    return ()


@dataclass(frozen=True, slots=True)
class Merged:
    """A spec in force, and where each part of it was written.

    Attributes:
        spec: to be parsed as if the author had written all of it.
        own: the rollout's.
        rules: the policy's.
        origins: for each list merged by name, and each of its items: its index in the rollout's and in the policy's.
    """

    spec: Json
    own: Json
    rules: PolicyRules
    origins: Mapping[_Path, tuple[tuple[int | None, int | None], ...]] = field(default_factory=dict)

    @property
    def lock_problems(self) -> tuple[Problem, ...]:
        """What the rollout sets differently although the policy locks it."""
        return tuple(self._broken_locks())

    def _broken_locks(self) -> Iterator[Problem]:
        policy, said = self.rules, set[str]()
        for path in policy.locked:
            wanted, got = _at(policy.spec, path), _at(self.spec, path)
            if wanted == got:
                continue
            where = _written(self.own, path)
            if where in said:
                continue
            said.add(where)
            message = f"policy {policy.name} locks {path}{_shown(wanted)}"
            yield Problem(
                f"spec.{where}",
                message,
                "leave it out here, or ask the policy's owners to change or unlock it",
            )

    def attributed(self, problem: Problem) -> Problem:
        """The same problem at the place where its cause was written: in the rollout, or in the policy."""
        if not problem.path.startswith("spec."):
            return problem
        tokens = [int(index) if index else name for index, name in _TOKEN.findall(problem.path)][1:]
        own, policy = self._traced(tokens)
        if own is not None:
            return Problem(own, problem.message, problem.cure)
        cure = f"{problem.cure} (the policy's owners can)" if policy is not None else problem.cure
        return Problem(self.rules.at(policy) if policy else problem.path, problem.message, cure)

    def _traced(self, tokens: list[int | str]) -> tuple[str | None, str | None]:
        """The path in the rollout, and in the policy; None where the part that it speaks of is not written."""
        here: object = self.spec
        sides: list[tuple[object, str] | None] = [(self.own, "spec"), (self.rules.spec, "spec")]
        names: _Path = ()
        for place, token in enumerate(tokens):
            if isinstance(token, str):
                names = (*names, token)
            deeper = _child(here, token)
            if deeper is None:  # it is missing: the place where it should be is what was written
                rest = _path_of(tokens[place:])
                return tuple(side and f"{side[1]}{rest}" for side in sides)  # type: ignore[return-value] # two
            indices: tuple[int | str | None, ...] = (token, token)
            if isinstance(token, int) and names in self.origins:
                indices = self.origins[names][token]
            sides = [_step(side, index) for side, index in zip(sides, indices, strict=True)]
            here = deeper
        return tuple(side and side[1] for side in sides)  # type: ignore[return-value] # two


def merge(own: Json, rules: PolicyRules) -> Merged:
    """The rollout's spec over the policy's."""
    origins: dict[_Path, tuple[tuple[int | None, int | None], ...]] = {}
    shared = {key: value for key, value in rules.spec.items() if key in FIELDS and value is not None}
    return Merged(_maps(own, shared, (), origins), own, rules, origins)


def _maps(
    own: Json, shared: Json, path: _Path, origins: dict[_Path, tuple[tuple[int | None, int | None], ...]]
) -> Json:
    excluded = _EXCLUSIVE.get(path, frozenset())
    if any(own.get(name) is not None for name in excluded):
        shared = {k: v for k, v in shared.items() if k not in excluded or own.get(k) is not None}
    result = dict(shared)
    for key, mine in own.items():
        theirs, here = shared.get(key), (*path, key)
        if mine is None and key in shared:
            continue  # as the API server has it: null means not written
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping) and len(path) < _DEEPEST:
            result[key] = _maps(mine, theirs, here, origins)
        elif here in _BY_NAME and isinstance(mine, list) and isinstance(theirs, list):
            result[key], origins[here] = _by_name(mine, theirs, _BY_NAME[here])
        else:
            result[key] = mine
    return result


def _by_name(
    own: list[object], shared: list[object], alone: frozenset[str]
) -> tuple[list[object], tuple[tuple[int | None, int | None], ...]]:
    """The policy's items with the rollout's of the same name on them, then the rollout's others."""
    mine: dict[object, int] = {}
    for index, item in enumerate(own):
        if isinstance(name := _name(item), str):
            mine.setdefault(name, index)
    items: list[object] = []
    origins: list[tuple[int | None, int | None]] = []
    for index, theirs in enumerate(shared):
        at = mine.pop(_name(theirs), None) if isinstance(_name(theirs), str) else None
        items.append(theirs if at is None else _one(own[at], theirs, alone))
        origins.append((at, index))
    used = {at for at, _ in origins}
    for index, item in enumerate(own):
        if index not in used:
            items.append(item)
            origins.append((index, None))
    return items, tuple(origins)


def _one(own: object, shared: object, alone: frozenset[str]) -> object:
    if not isinstance(own, Mapping) or not isinstance(shared, Mapping):
        return own
    if any(own.get(field) is not None for field in alone):
        return own
    return _maps(own, shared, ("", "item"), {})


def _name(item: object) -> object:
    return item.get("name") if isinstance(item, Mapping) else None


def _at(root: Json, path: str) -> object:
    here: object = root
    for name in path.split("."):
        here = here.get(name) if isinstance(here, Mapping) else None
    return here


def _written(own: Json, path: str) -> str:
    """As much of the path as the rollout writes."""
    names = path.split(".")
    while len(names) > 1 and _at(own, ".".join(names)) is None:
        names.pop()
    return ".".join(names)


def _shown(wanted: object) -> str:
    if wanted is None:
        return " and leaves it at its default"
    return "" if isinstance(wanted, Mapping | list) else f" at {str(wanted)[:80]}"


def _child(here: object, token: int | str) -> object:
    if isinstance(token, int):
        return here[token] if isinstance(here, list) and token < len(here) else None
    return here.get(token) if isinstance(here, Mapping) else None


def _step(side: tuple[object, str] | None, token: int | str | None) -> tuple[object, str] | None:
    if side is None or token is None:
        return None
    deeper = _child(side[0], token)
    return (deeper, f"{side[1]}{_path_of([token])}") if deeper is not None else None


def _path_of(tokens: list[int | str]) -> str:
    return "".join(f"[{token}]" if isinstance(token, int) else f".{token}" for token in tokens)
