"""The work queue: which rollout is looked at next, and when.

As client-go's rate-limiting queue, with deadlines built in: one entry per key, the earliest deadline wins, a key
that is added while in work is handled once more afterwards, failures back off per key. It knows nothing of rollouts
and uses the event loop's time only, so a test can run it in virtual time.
"""

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: A handler gets a key and returns the seconds after which it wants to be asked again at the latest, None for never.
Handler = Callable[[K], Awaitable[float | None]]

#: Longer waits end early: the handler just says again how long is left.
LONGEST_WAIT_S = 24 * 3600.0
#: The event loop's timers may fire that much early.
_TICK_S = 1e-5

log = logging.getLogger(__name__)
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before a key that failed is handled again: `base`, doubled with each failure in a row, `cap` at most.

    A random part of up to half is taken off, so that keys which failed together do not come back together.
    """

    base: float = 0.5
    cap: float = 60.0

    def delay(self, failures: int, fraction: float) -> float:
        """The delay after that many failures in a row (1 or more); `fraction` is a random number from 0 to 1."""
        most = min(self.cap, self.base * 2.0 ** min(failures - 1, 64))
        return most * (1.0 - 0.5 * fraction)


@dataclass(frozen=True, slots=True)
class Turn(Generic[K]):
    """One handling of a key, as it went.

    Attributes:
        lag: seconds from when it was due until a worker took it.
        seconds: how long the handler took.
        error: what it raised, None if it succeeded.
    """

    key: K
    lag: float
    seconds: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Tempo:
    """How the queue paces itself, in seconds.

    Attributes:
        backoff: after failures.
        deadline: a handler that takes longer is cancelled, which counts as a failure: a hang blocks one worker
            for that long, and nobody for ever.
        spread: first-seen keys are spread over up to this long. The span is one millisecond for each key that already
            waits, so a start with thousands is smoothed while a single new key is handled at once.
    """

    backoff: Backoff = Backoff()
    deadline: float = 120.0
    spread: float = 2.0


class WorkQueue(Generic[K]):
    """Keys with deadlines, and the workers that handle them. All methods belong to the event loop's thread."""

    def __init__(
        self,
        tempo: Tempo | None = None,
        *,
        on_turn: Callable[[Turn[K]], object] = lambda _: None,
        expected: tuple[type[Exception], ...] = (),
        chance: Callable[[], float] = _random.random,
    ) -> None:
        """Prepares.

        Args:
            tempo: pauses and deadlines.
            on_turn: told of every handling.
            expected: failures of these types are logged in one line, others with their traceback.
            chance: random numbers from 0 to 1.
        """
        self._tempo = tempo or Tempo()
        self._on_turn = on_turn
        self._expected = expected
        self._chance = chance
        self._due: dict[
            K, tuple[float, int]
        ] = {}  # waiting keys: deadline and the number of their heap entry
        self._heap: list[tuple[float, int, K]] = []  # entries whose number is not the key's any more are void
        self._serial = 0
        self._working: dict[K, float] = {}  # keys in work, since when
        self._again: dict[K, float] = {}  # keys in work that were added meanwhile, for when
        self._failures: dict[K, int] = {}
        self._seen: set[K] = set()
        self._idle: deque[asyncio.Future[tuple[K, float] | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._progress_at = float("-inf")

    def add(self, key: K, delay: float = 0.0) -> None:
        """Have the key handled in `delay` seconds at the latest, now by default.

        An earlier deadline of the same key stands. A key in work is handled once more when that is over.
        """
        delay = min(max(delay, 0.0), LONGEST_WAIT_S)
        if key not in self._seen:
            self._seen.add(key)
            delay += self._chance() * min(self._tempo.spread, 0.001 * len(self._due))
        self._schedule(key, self._now() + delay)

    def forget(self, key: K) -> None:
        """The key is gone: drop what waits for it. If it is in work, that is finished."""
        self._due.pop(key, None)
        self._again.pop(key, None)
        self._failures.pop(key, None)
        self._seen.discard(key)

    async def run(self, handler: Handler[K], workers: int = 8) -> None:
        """Handle keys, that many at a time and never one twice at a time; returns after `stop`.

        What a handler raises is logged with its key and backed off. Cancelling this cancels the handlers.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(handler), name=f"worker-{number}")

    def stop(self) -> None:
        """Hand out no more keys; `run` returns when those in work are done."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)

    # What is to be seen of it.

    @property
    def scheduled(self) -> int:
        """Keys that wait, for their deadline or for a worker."""
        return len(self._due)

    @property
    def depth(self) -> int:
        """Keys that are due and wait for a worker; takes a look at each waiting key."""
        now = self._now()
        return sum(due <= now for due, _ in self._due.values())

    @property
    def in_work(self) -> int:
        """Keys that a worker has in hand."""
        return len(self._working)

    @property
    def failing(self) -> int:
        """Keys whose last handling failed."""
        return len(self._failures)

    @property
    def lag(self) -> float:
        """Seconds for which the longest waiting key has been due; 0 if none is."""
        head = self._head()
        return max(0.0, self._now() - head) if head is not None else 0.0

    @property
    def stalled(self) -> float:
        """Seconds in which keys were due and yet no worker took or finished one; 0 if all is well."""
        lag = self.lag
        return min(lag, self._now() - self._progress_at) if lag else 0.0

    # How it works: a key waits in `_due`, is claimed into `_working`, and goes back if it is wanted again.

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _schedule(self, key: K, due: float) -> None:
        if key in self._working:
            self._again[key] = min(due, self._again.get(key, due))
            return
        waiting = self._due.get(key)
        if waiting is not None and waiting[0] <= due:
            return
        self._serial += 1
        self._due[key] = (due, self._serial)
        heapq.heappush(self._heap, (due, self._serial, key))
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(at, number, k) for k, (at, number) in self._due.items()]
            heapq.heapify(self._heap)
        if self._head() == due:
            self._hand_out()

    def _head(self) -> float | None:
        """The earliest deadline; void entries on the way there are dropped."""
        while self._heap:
            due, number, key = self._heap[0]
            if self._due.get(key) == (due, number):
                return due
            heapq.heappop(self._heap)
        return None

    def _pop_due(self) -> tuple[K, float] | None:
        """Claim the key that is due for the longest, if any is."""
        head = self._head()
        if head is None or head > self._now() + _TICK_S:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due[key]
        self._working[key] = self._progress_at = self._now()
        return key, head

    def _hand_out(self) -> None:
        """Give due keys to idle workers, and set the timer for the next one if a worker is left."""
        while self._idle and not self._stopping:
            if self._idle[0].done():  # its worker was cancelled
                self._idle.popleft()
                continue
            claimed = self._pop_due()
            if claimed is None:
                break
            self._idle.popleft().set_result(claimed)
        self._set_timer()

    def _set_timer(self) -> None:
        head = self._head() if self._idle and not self._stopping else None
        if self._timer is not None:
            if self._timer.when() == head and not self._timer.cancelled():
                return
            self._timer.cancel()
            self._timer = None
        if head is not None:
            self._timer = asyncio.get_running_loop().call_at(head, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._hand_out()

    async def _claim(self) -> tuple[K, float] | None:
        """The next key and its deadline, once one is due; None after `stop`."""
        if self._stopping:
            return None
        claimed = self._pop_due()
        if claimed is not None:
            return claimed
        waiter: asyncio.Future[tuple[K, float] | None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        self._set_timer()
        try:
            return await waiter
        except asyncio.CancelledError:
            given = waiter.result() if waiter.done() and not waiter.cancelled() else None
            if given is not None:  # claimed for a worker that is being cancelled: it goes back
                self._done_with(given[0], given[1])
            raise

    async def _work(self, handler: Handler[K]) -> None:
        while (claimed := await self._claim()) is not None:
            await self._turn(handler, *claimed)

    async def _turn(self, handler: Handler[K], key: K, due: float) -> None:
        started = self._now()
        try:
            wake, error = await self._ask(handler, key)
        except BaseException:  # this worker is being cancelled, or the process ends: the key is not lost
            self._done_with(key, due)
            raise
        ended = self._now()
        if error is None:
            self._failures.pop(key, None)
        else:
            wake = self._failed(key, error)
        self._done_with(key, None if wake is None else ended + min(max(wake, 0.0), LONGEST_WAIT_S))
        self._on_turn(Turn(key, max(0.0, started - due), ended - started, error))

    async def _ask(self, handler: Handler[K], key: K) -> tuple[float | None, BaseException | None]:
        """What the handler returned or raised."""
        deadline = asyncio.timeout(self._tempo.deadline)
        try:
            async with deadline:
                return await handler(key), None
        except TimeoutError as late:
            if deadline.expired():
                return None, TimeoutError(f"no end within {self._tempo.deadline:g} s, cancelled")
            return None, late
        except Exception as failure:
            return None, failure
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None, cancelled  # something inside the handler was cancelled, not this worker

    def _failed(self, key: K, error: BaseException) -> float:
        """Count and log a failure; the seconds to wait before the next try."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._tempo.backoff.delay(failures, self._chance())
        said = isinstance(error, self._expected)
        log.log(
            logging.WARNING if said else logging.ERROR,
            "%s: turn failed (%d in a row), again in %.1f s: %s",
            key,
            failures,
            delay,
            str(error) or type(error).__name__,
            exc_info=None if said else error,
        )
        return delay

    def _done_with(self, key: K, wanted: float | None) -> None:
        """Take the key out of work, and schedule it again if its handler or somebody else wants that."""
        del self._working[key]
        self._progress_at = self._now()
        again = self._again.pop(key, None)
        deadlines = [at for at in (wanted, again) if at is not None]
        if deadlines:
            self._schedule(key, min(deadlines))
