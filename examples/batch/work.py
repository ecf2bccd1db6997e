"""One run: some items at a time, each with the prompt that the rollout assigns to it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Protocol

from examples.batch.extraction import agreement, parse
from examples.batch.feed import Item
from promptrollout_sdk import Assignment, PromptRollout, Request

#: What the program counts besides errors; both announced, so that their counters stand at zero from the start.
INVALID = "invalid_json"
AGREEMENT = "agreement"


class ModelError(RuntimeError):
    """The model gave no answer, after all tries."""


class Model(Protocol):
    """Whoever answers; ModelError when nobody does. Tokens and cost are its to tell to `r`."""

    async def __call__(self, assignment: Assignment, description: str, r: Request) -> str:
        """The answer to one description."""
        ...


@dataclass
class Arm:
    """What came of the items that one revision worked on."""

    items: int = 0
    invalid: int = 0
    failed: int = 0
    scores: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        agreement = (
            f", agreement {mean(self.scores):.3f} of {len(self.scores)} labelled" if self.scores else ""
        )
        return f"{self.items} items, {self.invalid} invalid, {self.failed} failed{agreement}"


class Summary(defaultdict[str, Arm]):
    """A run in words, by arm and revision."""

    def __init__(self) -> None:
        super().__init__(Arm)

    def __str__(self) -> str:
        return "; ".join(f"{name}: {arm}" for name, arm in sorted(self.items())) or "nothing to do"


class Worker:
    """Works through items; `keep` is called with each result as soon as it is there."""

    def __init__(
        self, rollout: PromptRollout, model: Model, keep: Callable[[Mapping[str, object]], None]
    ) -> None:
        self._rollout = rollout
        self._model = model
        self._keep = keep
        self.summary = Summary()

    async def run(self, items: Iterable[Item], at_once: int) -> Summary:
        """All items, at most `at_once` of them at a time."""
        waiting = iter(items)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._work(waiting))
        return self.summary

    async def _work(self, waiting: Iterator[Item]) -> None:
        for item in waiting:
            self._keep(await self.extract(item))

    async def extract(self, item: Item) -> Mapping[str, object]:
        """One item. Its id is the unit: tried again, in this run or the next, it meets the same prompt."""
        assignment = self._rollout.assign(unit=item.id)
        arm = self.summary[f"{assignment.arm} {assignment.revision}"]
        arm.items += 1
        found = None
        try:
            with assignment.request() as r:
                found = parse(await self._model(assignment, item.text, r))
                if found is None:
                    r.event(INVALID)
                    arm.invalid += 1
        except ModelError:
            arm.failed += 1
        else:
            if item.label is not None:
                arm.scores.append(agreement(found, item.label))
                assignment.score(AGREEMENT, arm.scores[-1])
        return {
            "id": item.id,
            "revision": assignment.revision,
            "token": assignment.token,  # for a label that comes later
            "attributes": found.model_dump() if found else None,
        }
