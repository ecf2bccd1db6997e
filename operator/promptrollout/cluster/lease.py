"""Leader election by a Lease: who leads is certain for as long as it lasts, and no longer.

As client-go's leaderelection, with the promise made hard. A leader counts its time from before the request that
renewed the lease, and stops `renew_deadline` later; a follower counts from after it has seen that renewal, and waits
the whole longer lease. Both use their own monotonic clock, which goes on while the machine sleeps; wall clocks are
for people only.
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from promptrollout.cluster.errors import AlreadyExists, ClusterError, Conflict, NotFound
from promptrollout.cluster.objects import ObjectKey

_log = logging.getLogger(__name__)
_jitter = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says.

    Attributes:
        holder: the leader's identity; empty when released.
        duration: seconds that a follower must see nothing new before it may take over.
        transitions: how often the holder has changed.
        acquired_at, renewed_at: by the holder's wall clock, for people.
        version: the resourceVersion, empty for one that is not stored yet.
    """

    holder: str
    duration: int
    transitions: int = 0
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    version: str = ""


class LeaseStore(Protocol):
    """Where leases are kept. Each call must end within `deadline` seconds and raises ClusterError."""

    async def get_lease(self, key: ObjectKey, deadline: float) -> LeaseRecord | None:
        """The lease as stored now, None if there is none."""
        ...

    async def create_lease(self, key: ObjectKey, record: LeaseRecord, deadline: float) -> LeaseRecord:
        """Create it; raises AlreadyExists."""
        ...

    async def update_lease(self, key: ObjectKey, record: LeaseRecord, deadline: float) -> LeaseRecord:
        """Change the version that `record.version` names; raises Conflict or NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. With the defaults a dead leader is replaced within 17 s, a stopping one within 2.

    Attributes:
        lease: how long followers wait after the last sign of life.
        renew_deadline: how long a leader may go on without a successful renewal.
        retry: between two renewals, or two looks at another's lease.
    """

    lease: int = 15
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_deadline < self.lease:
            raise ValueError(
                f"leader election needs 0 < retry ({self.retry:g} s) < renew deadline ({self.renew_deadline:g} s) "
                f"< lease ({self.lease} s), else two could lead at once"
            )


class LeadershipLostError(Exception):
    """Another may lead from now on: nothing must be written any more."""


def exit_process(reason: str) -> NoReturn:
    """End this process at once, without any clean-up that could still write."""
    _log.critical("leadership lost: %s; exiting", reason)
    logging.shutdown()
    os._exit(1)


def boot_clock() -> float:
    """Seconds that never run backwards and go on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LeaderElection:
    """One candidate for one lease: `acquire`, then `hold` in a task of its own, at last `release`."""

    def __init__(
        self,
        leases: LeaseStore,
        key: ObjectKey,
        identity: str,
        *,
        timing: Timing | None = None,
        on_lost: Callable[[str], object] = exit_process,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        """Prepares.

        Args:
            leases: where the lease is.
            key: the lease's namespace and name; each shard has its own.
            identity: unique to this process, and again after a restart (pod name and a random part).
            timing: durations.
            on_lost: called exactly once, with the reason, when leadership ends by anything but `release`;
                from the event loop or, when that is stuck, from a thread.
            clock: monotonic seconds.
        """
        self._leases = leases
        self._key = key
        self._identity = identity
        self._timing = timing or Timing()
        self._on_lost = on_lost
        self._clock = clock
        self._mine: LeaseRecord | None = None
        self._valid_until = float("-inf")
        self._seen: LeaseRecord | None = None
        self._seen_at = 0.0
        self._lost = threading.Lock()  # taken once and for ever: lost leadership never comes back

    @property
    def leading(self) -> bool:
        """Whether this process may write now. Cheap: ask before each write."""
        return self.remaining > 0

    @property
    def remaining(self) -> float:
        """Seconds for which leadership is certain; 0 when it is not."""
        return 0.0 if self._lost.locked() else max(0.0, self._valid_until - self._clock())

    @property
    def holder(self) -> str:
        """Who led when last looked, empty if nobody or unknown."""
        record = self._mine or self._seen
        return record.holder if record else ""

    async def acquire(self) -> None:
        """Wait until this process leads, however long that takes."""
        leads = await self._try_to_lead()
        while not leads:
            await asyncio.sleep(self._timing.retry * _jitter.uniform(1.0, 1.2))
            leads = await self._try_to_lead()
        _log.info("leading: lease %s acquired as %s", self._key, self._identity)

    async def hold(self) -> NoReturn:
        """Renew until leadership is lost.

        Raises:
            LeadershipLostError: after `on_lost` was called (which ends the process, unless a test says otherwise).
        """
        stop = threading.Event()
        threading.Thread(target=self._watch, args=(stop,), name="lease-watchdog", daemon=True).start()
        try:
            reason = await self._renew_until_lost()
        finally:
            stop.set()
        self._lose(reason)
        raise LeadershipLostError(reason)

    async def release(self) -> None:
        """Let another lead at once. Call when nothing will be written any more, and `hold` is cancelled."""
        mine, self._mine = self._mine, None
        certain, self._valid_until = self.leading, float("-inf")
        if mine is None or not certain:
            return
        freed = replace(mine, holder="", duration=1, renewed_at=datetime.now(UTC))
        try:
            await self._leases.update_lease(self._key, freed, self._timing.retry)
        except ClusterError as error:
            _log.warning("lease not released, followers wait %d s: %s", self._timing.lease, error)
        else:
            _log.info("lease %s released", self._key)

    async def _try_to_lead(self) -> bool:
        try:
            record = await self._leases.get_lease(self._key, self._patience)
            if record is None:
                return await self._create()
            if record.holder not in {"", self._identity} and not self._expired(record):
                return False
            return await self._take(record)
        except (Conflict, AlreadyExists):
            return False  # another was faster
        except ClusterError as error:
            _log.warning("cannot see to the lease %s: %s", self._key, error)
            return False

    @property
    def _patience(self) -> float:
        """Seconds for one request: two may hang, and a third can still save the leadership."""
        return self._timing.renew_deadline / 4

    def _expired(self, record: LeaseRecord) -> bool:
        """Whether nothing new has been seen of its holder for the lease's whole duration, by our own clock."""
        if self._seen is None or self._seen.version != record.version:
            self._seen, self._seen_at = record, self._clock()
        return self._clock() - self._seen_at >= max(record.duration, 1)

    async def _create(self) -> bool:
        now = datetime.now(UTC)
        sent = self._clock()
        wanted = LeaseRecord(self._identity, self._timing.lease, 0, now, now)
        self._won(await self._leases.create_lease(self._key, wanted, self._patience), sent)
        return self.leading

    async def _take(self, record: LeaseRecord) -> bool:
        now = datetime.now(UTC)
        changed = record.holder != self._identity
        wanted = replace(
            record,
            holder=self._identity,
            duration=self._timing.lease,
            transitions=record.transitions + changed,
            acquired_at=now if changed else record.acquired_at,
            renewed_at=now,
        )
        sent = self._clock()
        self._won(await self._leases.update_lease(self._key, wanted, self._patience), sent)
        return self.leading

    def _won(self, stored: LeaseRecord, sent: float) -> None:
        self._mine = stored
        self._valid_until = sent + self._timing.renew_deadline

    async def _renew_until_lost(self) -> str:
        trouble, pause = "no renewal in time", self._timing.retry
        while self.leading:
            await asyncio.sleep(min(pause, self.remaining))
            if self.remaining <= 0:
                break  # a renewal that began too late must not revive what others may have seen end
            pause = self._timing.retry / 4
            try:
                async with asyncio.timeout(self.remaining):
                    other = await self._renew()
            except TimeoutError:
                trouble = "no answer in time"
            except ClusterError as error:
                trouble = str(error)
                _log.warning("lease not renewed, %.1f s left: %s", self.remaining, error)
            else:
                pause = self._timing.retry
                if other is not None:
                    return f"{other or 'nobody'} holds the lease {self._key} now"
        return f"lease {self._key} not renewed for {self._timing.renew_deadline:g} s: {trouble}"

    async def _renew(self) -> str | None:
        """Renew once; returns who holds the lease if it is another."""
        if self._mine is None:
            return ""
        try:
            await self._take(self._mine)
        except (Conflict, NotFound):
            return await self._look_again()
        return None

    async def _look_again(self) -> str | None:
        """Somebody else has written, or a renewal of ours came through without its answer, or it is deleted."""
        record = await self._leases.get_lease(self._key, self._patience)
        if record is None:
            await self._create()
        elif record.holder == self._identity:
            await self._take(record)
        else:
            return record.holder
        return None

    def _watch(self, stop: threading.Event) -> None:
        """The deadline holds even when the event loop is stuck: this thread keeps it."""
        while not stop.wait(min(0.5, self._timing.retry / 4)):
            if not self.leading and not stop.wait(self._timing.retry / 4):
                self._lose("the event loop was stuck and the lease could not be renewed")
                return

    def _lose(self, reason: str) -> None:
        if self._lost.acquire(blocking=False):
            self._valid_until = float("-inf")
            self._on_lost(reason)
