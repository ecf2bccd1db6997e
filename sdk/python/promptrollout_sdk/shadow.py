"""Shadow runs: the candidate answers beside stable, nobody sees it, and scores of one request are compared in pairs.

Bounded by the payload's budget for this process: whatever exceeds it is dropped, never queued.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from promptrollout_sdk.errors import said
from promptrollout_sdk.metrics import Families

if TYPE_CHECKING:
    from promptrollout_sdk.assignment import Assignment
    from promptrollout_sdk.payload import Shadow

_HOUR = 3600.0


class Run(Protocol):
    """What an application runs in the shadow; `shadow=True` tells it that tools must have no effect."""

    def __call__(self, candidate: Assignment, /, *, shadow: bool) -> object | Awaitable[object]:
        """Answer with the candidate's prompt; may score it by `candidate.score`."""


class Pair:
    """Scores of one request by stable and by the candidate, in any order; counted when both are there."""

    def __init__(self, families: Families, rollout: str, revision: str) -> None:
        self._families = families
        self._labels = (rollout, revision)
        self._lock = threading.Lock()
        self._half: dict[tuple[str, bool], float] = {}

    def score(self, name: str, value: float, *, candidate: bool) -> None:
        """One side's score."""
        with self._lock:
            other = self._half.pop((name, not candidate), None)
            if other is None:
                self._half[name, candidate] = value
                return
        difference = value - other if candidate else other - value
        families, labels = self._families, (*self._labels, name)
        families.difference.labels(*labels).observe(difference)
        families.difference_sumsq.labels(*labels).inc(difference * difference)
        # A sum of signed numbers is no counter: it falls, and a reader of counters would call that a restart.
        (families.gain if difference > 0 else families.loss).labels(*labels).inc(abs(difference))


def announce(families: Families, rollout: str, revision: str, scores: Iterable[str]) -> None:
    """Make the series of a shadowed revision at zero, so that nothing is missing before the first pair."""
    for score in scores:
        for family in (families.difference, families.difference_sumsq, families.gain, families.loss):
            family.labels(rollout, revision, score)


class Shadows:
    """The shadow runs of one rollout in this process."""

    def __init__(self, families: Families, problem: Callable[[str, str], None]) -> None:
        self._families = families
        self._problem = problem
        self._lock = threading.Lock()
        self._running = 0
        self._spent: deque[tuple[float, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, rules: Shadow, rollout: str, fn: Run, candidate: Assignment) -> bool:
        """Run `fn` beside the caller; False when it was not sampled, or dropped for want of budget."""
        if random.randrange(10_000) >= rules.sample:  # noqa: S311 - sampling
            return False
        dropped = self._admit(rules)
        if dropped:
            self._count(rollout, dropped)
            return False
        try:
            if inspect.iscoroutinefunction(fn):
                loop = (
                    asyncio.get_running_loop()
                )  # before the coroutine, which would never be awaited without it
                task = loop.create_task(self._run_async(rollout, fn, candidate))
                self._tasks.add(task)  # the loop itself holds tasks only weakly
                task.add_done_callback(self._tasks.discard)
            else:
                arguments = (rollout, fn, candidate)
                threading.Thread(
                    target=self._run, args=arguments, name="promptrollout-shadow", daemon=True
                ).start()
        except RuntimeError as error:  # no running loop, no more threads
            self._done(rollout, error)
            return False
        return True

    def forked(self) -> None:
        """The process is a child: it has none of the parent's runs, and a lock held at the fork would stay held."""
        self._lock = threading.Lock()
        self._running = 0

    def spend(self, usd: float) -> None:
        """A shadow run cost so much."""
        with self._lock:
            self._spent.append((monotonic(), usd))

    def _admit(self, rules: Shadow) -> str:
        with self._lock:
            while self._spent and monotonic() - self._spent[0][0] > _HOUR:
                self._spent.popleft()
            if sum(usd for _, usd in self._spent) >= rules.usd_per_hour:
                return "over_budget"
            if self._running >= rules.max_concurrent:
                return "busy"
            self._running += 1
            return ""

    def _run(self, rollout: str, fn: Run, candidate: Assignment) -> None:
        try:
            answer = fn(candidate, shadow=True)
            if inspect.isawaitable(answer):  # of a lambda, or of an object: only now it tells what it is
                asyncio.run(_awaited(answer))
        except BaseException as error:  # whatever it is, it ends this run and nothing else
            self._done(rollout, error)
        else:
            self._done(rollout, None)

    async def _run_async(self, rollout: str, fn: Run, candidate: Assignment) -> None:
        try:
            answer = fn(candidate, shadow=True)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:
            self._done(rollout, error)
        except BaseException as error:  # cancelled with the loop
            self._done(rollout, error)
            raise
        else:
            self._done(rollout, None)

    def _done(self, rollout: str, error: BaseException | None) -> None:
        with self._lock:
            self._running -= 1
        self._count(rollout, "failed" if error else "done")
        if error:
            self._problem("shadow", f"a shadow run failed: {type(error).__name__}: {said(error)}")

    def _count(self, rollout: str, result: str) -> None:
        self._families.shadows.labels(rollout, result).inc()


async def _awaited(answer: Awaitable[object]) -> None:
    await answer
