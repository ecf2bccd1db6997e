"""Thousands of runs, in lockstep batches, on as many processes as wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from promptrollout.analysis import AnalysisPlan
from promptrollout.api.spec import RolloutSpec
from promptrollout.simulation.batch import check, run_batch
from promptrollout.simulation.plans import Plans, challengers
from promptrollout.simulation.report import Report
from promptrollout.simulation.trial import RunResult
from promptrollout.simulation.world import World, is_worse

#: Runs of a batch: enough to share each window's cost, few enough that their requests fit into memory.
_LARGEST_BATCH, _REQUESTS_AT_A_TIME = 64, 1_500_000.0
#: Called with (runs done, runs in all) after each batch.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """One batch; its random numbers depend on the seed and its number only, never on who works it off."""

    spec: RolloutSpec
    plans: Plans
    world: World
    number: int
    runs: int
    seed: int

    def work(self) -> list[RunResult]:
        """Simulate it."""
        rng = np.random.default_rng([self.seed, self.number])
        return run_batch(self.spec, self.plans, self.world, self.runs, rng)


def simulate(
    spec: RolloutSpec,
    plan: AnalysisPlan | Plans,
    world: World,
    *,
    runs: int = 1000,
    seed: int = 0,
    processes: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Simulate rollouts of `spec` in `world`.

    Args:
        spec: the rollout as its owner writes it; strategy, interval and what is to happen when nothing can be shown.
        plan: what is compared, as the operator derives it from `spec.analysis`; a shadow and an A/B test have more
            to say than one plan.
        world: traffic, answers and mishaps.
        runs: how many.
        seed: the same seed gives the same report, whatever `processes` is.
        processes: how many work at it; 1 works in this one.
        progress: called with (done, all) as runs are done.

    Raises:
        ValueError: no runs, or the world's metrics are not those of the plan.

    """
    if runs < 1 or processes < 1:
        raise ValueError(f"runs and processes must be at least 1, got {runs} and {processes}")
    plans = plan if isinstance(plan, Plans) else Plans(plan)
    check(plans, world, challengers(spec))
    jobs = list(_jobs(spec, plans, world, runs, seed))
    results: dict[int, list[RunResult]] = {}
    done = 0
    for number, some in _work(jobs, processes):
        results[number] = some
        done += len(some)
        if progress is not None:
            progress(done, runs)
    ordered = [run for number in sorted(results) for run in results[number]]
    worlds = [world.metric(name, arm) for name in world.metrics for arm in challengers(spec)]
    harmful = any(is_worse(metric) for metric in worlds)
    return Report(tuple(ordered), world.seconds, harmful, seed)


def _jobs(spec: RolloutSpec, plans: Plans, world: World, runs: int, seed: int) -> Iterator[_Job]:
    size = _LARGEST_BATCH
    if world.traffic.requests_per_unit > 1.0:
        hourly = max(2.0 * world.traffic.per_second * 3600.0, 1.0)
        size = int(min(max(_REQUESTS_AT_A_TIME / hourly, 1), _LARGEST_BATCH))
    for number, start in enumerate(range(0, runs, size)):
        yield _Job(spec, plans, world, number, min(size, runs - start), seed)


def _work(jobs: list[_Job], processes: int) -> Iterator[tuple[int, list[RunResult]]]:
    if processes == 1 or len(jobs) == 1:
        for job in jobs:
            yield job.number, job.work()
        return
    # Spawned, not forked: whoever calls may have threads.
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_run, job): job.number for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _run(job: _Job) -> list[RunResult]:
    return job.work()
