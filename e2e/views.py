"""What a scenario looks at: a rollout's status and the delivered payload, as typed values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from e2e.objects import KubeObject

T = TypeVar("T")


@dataclass(frozen=True)
class Arm:
    """A delivered revision and its weight in 1/10,000."""

    name: str
    revision: str
    weight: int


@dataclass(frozen=True)
class Payload:
    """`rollout.json` of a ConfigMap."""

    sequence: int
    exposure: int
    arms: tuple[Arm, ...]
    version: int

    @classmethod
    def of(cls, config_map: KubeObject) -> Payload | None:
        """None when the ConfigMap holds none, or something that is no JSON."""
        try:
            content = KubeObject(json.loads(config_map.texts("data")["rollout.json"]))
        except (KeyError, ValueError):
            return None
        return cls(
            sequence=int(content.number("sequence")),
            exposure=int(content.number("exposure")),
            arms=arms_of(content, "arms"),
            version=int(config_map.resource_version),
        )

    @property
    def candidate_weight(self) -> int:
        """0 when there is no candidate."""
        return next((arm.weight for arm in self.arms if arm.name == "candidate"), 0)


@dataclass(frozen=True)
class Status:
    """A PromptRollout's status."""

    raw: KubeObject

    @property
    def phase(self) -> str:
        return self.raw.text("status.phase")

    @property
    def message(self) -> str:
        return self.raw.text("status.message")

    @property
    def stable(self) -> str:
        return self.raw.text("status.stableRevision")

    @property
    def candidate(self) -> str:
        return self.raw.text("status.candidateRevision")

    @property
    def step(self) -> str:
        return self.raw.text("status.step")

    @property
    def verdict(self) -> str:
        return self.raw.text("status.verdict")

    @property
    def weight(self) -> int:
        """The candidate's delivered weight in 1/10,000."""
        return next((arm.weight for arm in self.arms if arm.name == "candidate"), 0)

    @property
    def arms(self) -> tuple[Arm, ...]:
        return arms_of(self.raw, "status.delivered.arms")

    @property
    def sequence(self) -> int:
        return int(self.raw.number("status.delivered.sequence"))

    @property
    def current(self) -> bool:
        """Whether it speaks of the spec as it is."""
        return self.raw.number("status.observedGeneration") == self.generation

    @property
    def generation(self) -> int:
        return int(self.raw.number("metadata.generation"))

    @property
    def version(self) -> int:
        return int(self.raw.resource_version)

    @property
    def metrics(self) -> Sequence[KubeObject]:
        return self.raw.items("status.analysis.metrics")

    @property
    def rollback(self) -> KubeObject:
        return KubeObject(self.raw.mapping("status.rollback"))

    def condition(self, kind: str) -> KubeObject:
        return self.raw.condition(kind)


def arms_of(source: KubeObject, path: str) -> tuple[Arm, ...]:
    return tuple(
        Arm(arm.text("name"), arm.text("revision"), int(arm.number("weight"))) for arm in source.items(path)
    )


def in_turn(values: Iterable[T]) -> list[T]:
    """Each value once for each time it was taken on: neighbours that are equal are one."""
    return [value for value, _ in groupby(values)]


def moment(text: str) -> datetime | None:
    """A Kubernetes timestamp."""
    return datetime.fromisoformat(text) if text else None


def seconds_between(source: KubeObject, start: str, end: str) -> float | None:
    """Between two timestamps of one object; None when one is missing."""
    first, last = moment(source.text(start)), moment(source.text(end))
    return (last - first).total_seconds() if first is not None and last is not None else None


Timings = Mapping[str, float | None]


def rollback_timings(rollback: KubeObject) -> Timings:
    """How long each part of a rollback took, in seconds."""
    return {
        "window_to_readable": seconds_between(rollback, "windowEnd", "readableAt"),
        "readable_to_decided": seconds_between(rollback, "readableAt", "decidedAt"),
        "readable_to_written": seconds_between(rollback, "readableAt", "writtenAt"),
        "written_to_acknowledged": seconds_between(rollback, "writtenAt", "acknowledgedAt"),
        "readable_to_acknowledged": seconds_between(rollback, "readableAt", "acknowledgedAt"),
    }
