"""Some runs in lockstep: they share each window's draws and each call of the engine, so that a day costs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis import (
    AnalysisPlan,
    ArmRequests,
    EventCounts,
    Evidence,
    FoldItem,
    LateCounts,
    MetricClusters,
    MetricPlan,
    Pair,
    Window,
    fold_many,
)
from promptrollout.api.quantities import WHOLE, parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.simulation.counting import Arms, Counted, Counter, clusters_of, has_clusters
from promptrollout.simulation.levels import as_counts, check_world
from promptrollout.simulation.trial import RunResult, Trial
from promptrollout.simulation.world import ScoreWorld, World

Array = NDArray[np.float64]

#: The source hands cluster sums over in blocks of this length.
_BLOCK_SECONDS = 300.0
#: A judge's delays: this many equally likely ones, quantiles of an exponential distribution.
_LAGS = 4


def check(plan: AnalysisPlan, world: World) -> None:
    """Raise ValueError where the world's metrics are not those of the plan."""
    for name in world.metrics:
        if name not in plan.positions:
            known = ", ".join(plan.positions) or "none"
            raise ValueError(f"the world has a metric {name}, which the rollout does not compare ({known})")
    for metric in plan.metrics:
        if metric.name in world.metrics:
            check_world(metric, world.metrics[metric.name])


def run_batch(
    spec: RolloutSpec, plan: AnalysisPlan, world: World, runs: int, rng: np.random.Generator
) -> list[RunResult]:
    """Simulate some runs to their decisions, at most for `world.seconds`."""
    return _Batch(spec, plan, world, runs, rng).run()


@dataclass(slots=True)
class _Late:
    """Scores that wait for their judge: by run, arm and level, with the exposure they were answered under."""

    levels: Array
    exposure: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Block:
    """Cluster sums of some windows."""

    span: tuple[float, float]
    sums: dict[str, Counted]


class _Batch:
    def __init__(
        self, spec: RolloutSpec, plan: AnalysisPlan, world: World, runs: int, rng: np.random.Generator
    ) -> None:
        self._world = world
        self._plan = plan
        self._rng = rng
        self._interval = parse_duration(spec.analysis.interval).total_seconds()
        self._counter = Counter(plan.metrics, world, runs, rng)
        seeds = self._counter.history()
        self._trials = [Trial(spec, plan, Evidence.initial(plan, seed), world.loading) for seed in seeds]
        self._late: dict[str, dict[int, list[_Late]]] = {}
        self._blocks: dict[str, Counted] = {}
        self._block_start = 0.0

    def run(self) -> list[RunResult]:
        """All windows, one after the other."""
        for trial in self._trials:
            trial.begin()
        count = int(np.ceil(self._world.seconds / self._interval))
        for number in range(count):
            start, end = number * self._interval, (number + 1) * self._interval
            active = [trial for trial in self._trials if trial.result is None]
            if not active:
                break
            for trial in active:
                trial.pass_time(start)
            self._window(number, start, end)
        return [trial.end(self._world.seconds) for trial in self._trials]

    def _window(self, number: int, start: float, end: float) -> None:
        arms = self._arms(start)
        counted, requests = self._counter.window(start, end, arms)
        late = self._judge(number, counted, arms)
        block = self._collect(counted, end)
        blind = self._world.blind(end)
        live = []
        for run, trial in enumerate(self._trials):
            if trial.result is not None:
                continue
            trial.candidate_requests += float(requests[run, 0])
            if end > self._world.onset:
                trial.bad_requests += float(requests[run, 0])
            if trial.weight == 0:
                continue
            window = self._build(run, trial, (start, end), (counted, requests), (late, block))
            trial.backlog.append(window)
            live.append(trial)
        if not blind:
            self._fold(live)
        for trial in live:
            trial.look(end, "Prometheus does not answer" if blind else "")

    def _arms(self, start: float) -> Arms:
        trials = self._trials
        loaded = np.array([trial.loaded_at for trial in trials])
        cold = max((m.course.cold_seconds for m in self._world.metrics.values()), default=0.0)
        return Arms(
            np.array([trial.weight / WHOLE for trial in trials]),
            np.array([trial.exposure for trial in trials], dtype=np.int64),
            start - loaded < cold,
            np.array([trial.result is None for trial in trials]),
        )

    def _fold(self, live: Sequence[Trial]) -> None:
        batch = [FoldItem(trial.plan, trial.evidence, trial.backlog) for trial in live]
        for trial, evidence in zip(live, fold_many(batch), strict=True):
            trial.evidence, trial.backlog = evidence, []

    # scores that arrive late

    def _judge(self, number: int, counted: dict[str, Counted], arms: Arms) -> dict[str, list[_Late]]:
        """Scores whose judge is slow leave this window; those that are done now come back."""
        done = {}
        for metric in self._counter.metrics:
            world = self._world.metrics[metric.name]
            if not isinstance(world, ScoreWorld) or world.delay <= 0.0:
                continue
            here = counted[metric.name]
            waiting = self._late.setdefault(metric.name, {})
            left = here.levels.astype(np.int64)
            for i in range(_LAGS):
                part = self._rng.binomial(left, 1.0 / (_LAGS - i)) if i < _LAGS - 1 else left
                left = left - part
                lag = -np.log1p(-(i + 0.5) / _LAGS) * world.delay
                due = number + max(round(lag / self._interval), 0)
                waiting.setdefault(due, []).append(_Late(part.astype(float), arms.exposure.copy()))
            here.levels = np.zeros_like(here.levels)
            done[metric.name] = waiting.pop(number, [])
        return done

    # cluster sums

    def _collect(self, counted: dict[str, Counted], end: float) -> _Block | None:
        """Add the window's cluster sums to the block; the block when it ends here."""
        for name, here in counted.items():
            before = self._blocks.get(name)
            if here.clusters is None:
                continue
            if before is None or before.clusters is None:
                copy = Counted(here.levels, here.values, None, here.clusters, here.unit_clusters)
                self._blocks[name] = copy
                continue
            before.clusters = before.clusters + here.clusters
            if before.unit_clusters is not None and here.unit_clusters is not None:
                before.unit_clusters = before.unit_clusters + here.unit_clusters
        if end - self._block_start < _BLOCK_SECONDS - 1e-6:
            return None
        block = _Block((self._block_start, end), self._blocks)
        self._block_start, self._blocks = end, {}
        return block

    # windows

    def _build(
        self,
        run: int,
        trial: Trial,
        span: tuple[float, float],
        drawn: tuple[dict[str, Counted], Array],
        beside: tuple[dict[str, list[_Late]], _Block | None],
    ) -> Window:
        counted, requests = drawn
        late, block = beside
        metrics: dict[str, Pair] = {}
        others: list[LateCounts] = []
        clusters: dict[str, MetricClusters] = {}
        for metric in self._counter.metrics:
            here = counted[metric.name]
            levels = here.levels[run]
            if metric.name in late:
                levels, earlier = _sorted_by_exposure(late[metric.name], run, trial.exposure, levels)
                others += [LateCounts(metric.name, e, _pair(metric, here, run, some)) for e, some in earlier]
            metrics[metric.name] = _pair(metric, here, run, levels)
            if block is not None and has_clusters(metric):
                sums = clusters_of(metric, block.sums[metric.name], run, block.span)
                if sums is not None:
                    clusters[metric.name] = sums
        return Window(
            span[0],
            span[1],
            trial.exposure,
            trial.weight,
            metrics,
            tuple(others),
            ArmRequests(float(requests[run, 0]), float(requests[run, 1])),
            clusters,
        )


def _sorted_by_exposure(
    done: Sequence[_Late], run: int, exposure: int, levels: Array
) -> tuple[Array, list[tuple[int, Array]]]:
    """Scores of the exposure in force, and those of earlier ones."""
    earlier: dict[int, Array] = {}
    for item in done:
        own = int(item.exposure[run])
        if own == exposure:
            levels = levels + item.levels[run]
        elif item.levels[run].any():
            earlier[own] = earlier.get(own, 0.0) + item.levels[run]
    return levels, sorted(earlier.items())


def _pair(metric: MetricPlan, here: Counted, run: int, levels: Array) -> Pair:
    candidate, stable = (as_counts(metric, levels[arm], here.values[arm]) for arm in (0, 1))
    if here.units is None:
        return Pair(candidate, stable)
    arms = [EventCounts(float(here.units[run, arm].sum()), float(here.units[run, arm, 1])) for arm in (0, 1)]
    return Pair(candidate, stable, arms[0], arms[1])
