"""Some runs in lockstep: they share each window's draws and each call of the engine, so that a day costs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis import (
    ArmRequests,
    EventCounts,
    FoldItem,
    LateCounts,
    MetricClusters,
    MetricKind,
    MetricPlan,
    Pair,
    Window,
    fold_many,
)
from promptrollout.api.quantities import WHOLE, parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.rollout.observations import STABLE
from promptrollout.simulation.counting import Arms, Counted, Counter, clusters_of, coverage, has_clusters
from promptrollout.simulation.levels import as_counts, check_world
from promptrollout.simulation.plans import Plans, challengers
from promptrollout.simulation.trial import RunResult, Track, Trial
from promptrollout.simulation.world import CoverageWorld, ScoreWorld, World

Array = NDArray[np.float64]

#: The source hands cluster sums over in blocks of this length.
_BLOCK_SECONDS = 300.0
#: A judge's delays: this many equally likely ones, quantiles of an exponential distribution.
_LAGS = 4


def check(plans: Plans, world: World, arms: Sequence[str]) -> None:
    """Raise ValueError where the world's metrics are not those of the plans, or its arms not the rollout's."""
    metrics = list(plans.metrics)
    known = {metric.name for metric in metrics}
    said = {*world.metrics, *(name for each in world.arms.values() for name in each)}
    for name in sorted(said - known):
        names = ", ".join(sorted(known)) or "none"
        raise ValueError(f"the world has a metric {name}, which the rollout does not compare ({names})")
    for arm in world.arms:
        if arm not in arms:
            raise ValueError(f"the world has an arm {arm}; the rollout's challengers are {', '.join(arms)}")
    for metric in metrics:
        for arm in arms:
            if metric.name in world.metrics:
                check_world(metric, world.metric(metric.name, arm))


def run_batch(
    spec: RolloutSpec, plans: Plans, world: World, runs: int, rng: np.random.Generator
) -> list[RunResult]:
    """Simulate some runs to their decisions, at most for `world.seconds`."""
    return _Batch(spec, plans, world, runs, rng).run()


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


@dataclass(slots=True)
class _Owed:
    """Scores that came before their requests were counted, [R, A], in the exposure [R] that they belong to."""

    scored: Array
    exposure: NDArray[np.int64]


@dataclass(slots=True)
class _Phase:
    """What is drawn in one phase (in the shadow, or live), and what of it waits."""

    counter: Counter
    late: dict[str, dict[int, list[_Late]]] = field(default_factory=dict)
    owed: dict[str, _Owed] = field(default_factory=dict)
    blocks: dict[str, Counted] = field(default_factory=dict)
    block_start: float = 0.0


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One window's draws: counts and requests [R, A] of all runs of a phase, and what comes beside them."""

    span: tuple[float, float]
    counted: dict[str, Counted]
    requests: Array
    late: dict[str, list[_Late]]
    block: _Block | None


class _Batch:
    def __init__(
        self, spec: RolloutSpec, plans: Plans, world: World, runs: int, rng: np.random.Generator
    ) -> None:
        self._world = world
        self._rng = rng
        self._interval = parse_duration(spec.analysis.interval).total_seconds()
        self._arms = challengers(spec)
        self._same = plans.same
        self._onsets = [world.onset(arm) for arm in self._arms]
        self._phases = {
            shadow: _Phase(Counter(plans.of(shadow=shadow).metrics, world, runs, rng, self._arms, plans.same))
            for shadow in plans.phases
        }
        seeds = {shadow: phase.counter.history() for shadow, phase in self._phases.items()}
        self._trials = [
            Trial(spec, plans, world, {shadow: some[run] for shadow, some in seeds.items()})
            for run in range(runs)
        ]

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
        live: list[Trial] = []
        tracks: list[Track] = []
        for shadow, phase in self._phases.items():
            arms = self._served(start, shadow=shadow)
            if not arms.alive.any():
                continue
            drawn = self._draw(phase, number, (start, end), arms)
            for run, trial in enumerate(self._trials):
                if not arms.alive[run]:
                    continue
                self._expose(trial, drawn.requests[run], end)
                if not trial.served.on_trial:
                    continue
                live.append(trial)
                for track in trial.tracks():
                    track.backlog.append(self._build(phase, drawn, run, trial, track))
                    tracks.append(track)
        blind = self._world.blind(end)
        if not blind:
            batch = [FoldItem(track.plan, track.evidence, track.backlog) for track in tracks]
            for track, evidence in zip(tracks, fold_many(batch), strict=True):
                track.evidence, track.backlog = evidence, []
        for trial in live:
            trial.look(end, "Prometheus does not answer" if blind else "")

    def _served(self, start: float, *, shadow: bool) -> Arms:
        """What is served to the runs that are in this phase; before its trial a run is in the first."""
        trials = self._trials
        served = [trial.served for trial in trials]
        shares = [one.weights if not one.shadow else (one.mirror,) for one in served]
        cold = max((m.course.cold_seconds for m in self._world.metrics.values()), default=0.0)
        loaded = np.array([trial.loaded_at for trial in trials])
        here = [
            trial.result is None and (one.shadow == shadow or len(self._phases) == 1)
            for trial, one in zip(trials, served, strict=True)
        ]
        return Arms(
            np.array(shares, dtype=float) / WHOLE,
            np.array([one.exposure for one in served], dtype=np.int64),
            start - loaded < cold,
            np.array(here),
            np.array([one.dropped for one in served]) if len(self._arms) > 1 else None,
            mirrored=shadow,
        )

    def _expose(self, trial: Trial, requests: Array, end: float) -> None:
        """Who has met a candidate."""
        if trial.served.shadow:
            trial.shadow_runs += float(requests[0])
            return
        for arm, onset in enumerate(self._onsets):
            trial.candidate_requests += float(requests[arm])
            if end > onset:
                trial.bad_requests += float(requests[arm])

    def _draw(self, phase: _Phase, number: int, span: tuple[float, float], arms: Arms) -> _Drawn:
        counted, requests = phase.counter.window(*span, arms)
        late = self._judge(phase, number, counted, arms)
        self._cover(phase, (counted, requests), late, arms)
        return _Drawn(span, counted, requests, late, _collect(phase, counted, span[1]))

    # scores that arrive late

    def _judge(
        self, phase: _Phase, number: int, counted: dict[str, Counted], arms: Arms
    ) -> dict[str, list[_Late]]:
        """Scores whose judge is slow leave this window; those that are done now come back."""
        done = {}
        for name, world in phase.counter.worlds:
            if not isinstance(world, ScoreWorld) or world.delay <= 0.0 or arms.mirrored:
                continue
            here = counted[name]
            waiting = phase.late.setdefault(name, {})
            left = here.levels.astype(np.int64)
            for i in range(_LAGS):
                part = self._rng.binomial(left, 1.0 / (_LAGS - i)) if i < _LAGS - 1 else left
                left = left - part
                lag = -np.log1p(-(i + 0.5) / _LAGS) * world.delay
                due = number + max(round(lag / self._interval), 0)
                waiting.setdefault(due, []).append(_Late(part.astype(float), arms.exposure.copy()))
            here.levels = np.zeros_like(here.levels)
            done[name] = waiting.pop(number, [])
        return done | {name: done[base] for name, base in self._same.items() if base in done}

    def _cover(
        self,
        phase: _Phase,
        drawn: tuple[dict[str, Counted], Array],
        late: dict[str, list[_Late]],
        arms: Arms,
    ) -> None:
        """Coverage of scores that come late: requests count now, their scores when they are there.

        A score of an exposure that is over finds no request any more that it could count with, as in the source.
        """
        counted, requests = drawn
        for name, world in phase.counter.worlds:
            if not isinstance(world, CoverageWorld) or world.score not in late:
                continue
            owed = phase.owed.setdefault(
                name, _Owed(np.zeros_like(requests), np.full(len(requests), -1, dtype=np.int64))
            )
            owed.scored[owed.exposure != arms.exposure] = 0.0
            owed.exposure = arms.exposure.copy()
            for item in late[world.score]:
                mine = (item.exposure == arms.exposure)[:, None]
                owed.scored += np.where(mine, item.levels.sum(axis=2), 0.0)
            counted[name] = coverage(requests, owed.scored)
            owed.scored -= counted[name].levels[:, :, 1]

    # windows

    def _build(self, phase: _Phase, drawn: _Drawn, run: int, trial: Trial, track: Track) -> Window:
        pair = self._pair(track)
        metrics: dict[str, Pair] = {}
        others: list[LateCounts] = []
        clusters: dict[str, MetricClusters] = {}
        for metric in phase.counter.metrics:
            here = drawn.counted[metric.name]
            levels = here.levels[run]
            if metric.name in drawn.late:
                done = drawn.late[metric.name]
                levels, earlier = _sorted_by_exposure(done, run, trial.served.exposure, levels)
                others += [
                    LateCounts(metric.name, e, _counts(metric, here, run, some, pair)) for e, some in earlier
                ]
            metrics[metric.name] = _counts(metric, here, run, levels, pair)
            if drawn.block is not None and has_clusters(metric):
                sums = clusters_of(metric, drawn.block.sums[metric.name], run, drawn.block.span, pair)
                if sums is not None:
                    clusters[metric.name] = sums
        candidate, stable = (float(drawn.requests[run, arm]) for arm in pair)
        served = trial.served
        mine, other = self._weight(trial, pair[0]), self._weight(trial, pair[1])
        return Window(
            *drawn.span,
            served.exposure,
            0 if served.shadow else round(WHOLE * mine / (mine + other)) if mine + other else 0,
            metrics,
            tuple(others),
            ArmRequests(candidate, stable),
            clusters,
        )

    def _pair(self, track: Track) -> tuple[int, int]:
        """Places of a pair's arms."""
        against = len(self._arms) if track.against == STABLE else self._arms.index(track.against)
        return self._arms.index(track.arm), against

    def _weight(self, trial: Trial, arm: int) -> int:
        served = trial.served
        return WHOLE - served.weight if arm == len(self._arms) else served.weights[arm]


def _collect(phase: _Phase, counted: dict[str, Counted], end: float) -> _Block | None:
    """Add the window's cluster sums to the block; the block when it ends here."""
    for name, here in counted.items():
        before = phase.blocks.get(name)
        if here.clusters is None:
            continue
        if before is None or before.clusters is None:
            phase.blocks[name] = Counted(here.levels, here.values, None, here.clusters, here.unit_clusters)
            continue
        before.clusters = before.clusters + here.clusters
        if before.unit_clusters is not None and here.unit_clusters is not None:
            before.unit_clusters = before.unit_clusters + here.unit_clusters
    if end - phase.block_start < _BLOCK_SECONDS - 1e-6:
        return None
    block = _Block((phase.block_start, end), phase.blocks)
    phase.block_start, phase.blocks = end, {}
    return block


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


def _counts(metric: MetricPlan, here: Counted, run: int, levels: Array, pair: tuple[int, int]) -> Pair:
    one, other = pair
    candidate = as_counts(metric, levels[one], here.values[one])
    if metric.kind is MetricKind.Paired:
        return Pair(candidate, None)
    stable = as_counts(metric, levels[other], here.values[other])
    if here.units is None:
        return Pair(candidate, stable)
    arms = [EventCounts(float(here.units[run, arm].sum()), float(here.units[run, arm, 1])) for arm in pair]
    return Pair(candidate, stable, arms[0], arms[1])
