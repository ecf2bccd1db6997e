"""What is compared in a simulated rollout, phase by phase and pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from promptrollout.analysis import AnalysisPlan, MetricPlan
from promptrollout.api.spec import RolloutSpec
from promptrollout.rollout.observations import CANDIDATE, STABLE


@dataclass(frozen=True, slots=True)
class Plans:
    """What the operator compares.

    `live` is the plan of what users meet; `shadow` that of a shadow, where both answer the same request. `contests` are
    the metrics of `live` that ask whether an arm of an A/B test is better.
    """

    live: AnalysisPlan
    shadow: AnalysisPlan | None = None
    contests: frozenset[str] = frozenset()

    def of(self, *, shadow: bool) -> AnalysisPlan:
        """The plan of a phase."""
        return self.shadow if shadow and self.shadow is not None else self.live

    @property
    def same(self) -> Mapping[str, str]:
        """By contest, the metric that it is once more: both count the same."""
        by_source = {
            metric.source: metric.name for metric in self.live.metrics if metric.name not in self.contests
        }
        return {
            metric.name: by_source[metric.source]
            for metric in self.live.metrics
            if metric.name in self.contests
        }

    @property
    def phases(self) -> tuple[bool, ...]:
        """Which phases there are: whether each is in the shadow."""
        return (False,) if self.shadow is None else (True, False)

    @property
    def metrics(self) -> Iterator[MetricPlan]:
        """The metrics of all phases."""
        for shadow in self.phases:
            yield from self.of(shadow=shadow).metrics


def challengers(spec: RolloutSpec) -> tuple[str, ...]:
    """The names of the arms besides stable."""
    test = spec.strategy.ab_test
    return tuple(arm.name for arm in test.arms if arm.prompt) if test else (CANDIDATE,)


def pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs that may be compared: each with stable, and with each other."""
    return [(one, STABLE) for one in arms] + [(a, b) for a in arms for b in arms if a != b]
