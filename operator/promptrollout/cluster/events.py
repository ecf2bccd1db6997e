"""Events (events.k8s.io/v1): told once, counted when repeated, cut when they flood, and never in the way.

Aggregation follows client-go's correlator (tools/events, tools/record: identical events become a series, more than ten
alike within ten minutes become one "combined" event, each object has a token bucket), with figures of our own.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from promptrollout.cluster.errors import AlreadyExists, ClusterError, NamespaceTerminating, NotFound
from promptrollout.cluster.objects import EventType, ObjectKey, ObjectRef

CONTROLLER = "promptrollout.dev/operator"
COMBINED = "(combined from similar events): "
#: Bytes that the API server takes in an Event's note.
NOTE_LIMIT = 1024

_log = logging.getLogger(__name__)
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to tell about an object."""

    regarding: ObjectRef
    kind: EventType
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Write it as a new Event of that name."""

    key: ObjectKey
    happening: Happening
    at: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """Write into the Event of that name how often it has happened by now."""

    key: ObjectKey
    happening: Happening
    count: int
    at: datetime


Writing = Tell | Count


@dataclass(slots=True)
class _Series:
    key: ObjectKey
    happening: Happening
    last: datetime
    written_at: datetime
    count: int = 1
    written: int = 1


@dataclass(slots=True)
class _Flow:
    """What one object has left to say, and how many different messages each of its reasons had lately."""

    tokens: float
    at: datetime
    alike: dict[tuple[str, str], list[datetime]] = field(default_factory=dict)


class EventLedger:
    """Decides which happenings are written, and how. Pure: it is told the time.

    Attributes:
        suppressed: how many happenings were cut because their object had too much to say.
    """

    SERIES_WINDOW = timedelta(minutes=10)
    COUNT_EVERY = timedelta(minutes=1)
    ALIKE_LIMIT = 10
    BURST = 50.0
    TOKEN_EVERY = timedelta(seconds=30)
    REMEMBERED = 4096

    def __init__(self) -> None:
        self._series: OrderedDict[Happening, _Series] = OrderedDict()
        self._flows: OrderedDict[str, _Flow] = OrderedDict()
        self._serial = itertools.count(1)
        self.suppressed = 0

    def record(self, happening: Happening, now: datetime) -> Writing | None:
        """What to write about it now, if anything."""
        identity = _identity(happening)
        series = self._running(identity, now)
        if series is None:
            flow = self._flow(identity.regarding.uid, now)
            if self._combines(flow, identity, now):
                identity = _identity(happening, combined=True)
                happening = _combined(happening)
                series = self._running(identity, now)
            if series is None:
                return self._tell(flow, identity, happening, now)
        series.count += 1
        series.last = now
        return self._count(series, now) if now - series.written_at >= self.COUNT_EVERY else None

    def due(self, now: datetime, *, all_of_them: bool = False) -> list[Writing]:
        """The counts that have grown and were not written for a while; what is long over is forgotten."""
        writings: list[Writing] = [
            self._count(series, now)
            for series in self._series.values()
            if series.count > series.written and (all_of_them or now - series.written_at >= self.COUNT_EVERY)
        ]
        over = [key for key, series in self._series.items() if now - series.last > self.SERIES_WINDOW]
        for key in over:
            del self._series[key]
        return writings

    def forget(self, happening: Happening) -> None:
        """Its Event could not be written, or has gone: the next such happening is told anew."""
        for identity in (_identity(happening), _identity(happening, combined=True)):
            self._series.pop(identity, None)

    def _running(self, identity: Happening, now: datetime) -> _Series | None:
        series = self._series.get(identity)
        return series if series is not None and now - series.last <= self.SERIES_WINDOW else None

    def _flow(self, uid: str, now: datetime) -> _Flow:
        flow = self._flows.get(uid)
        if flow is None:
            flow = self._flows[uid] = _Flow(self.BURST, now)
            self._trim(self._flows)
        earned = max(now - flow.at, timedelta(0)) / self.TOKEN_EVERY
        flow.tokens, flow.at = min(flow.tokens + earned, self.BURST), now
        return flow

    def _combines(self, flow: _Flow, identity: Happening, now: datetime) -> bool:
        """Whether this is one too many of the same kind and reason with ever new messages."""
        alike = (identity.kind, identity.reason)
        recent = [at for at in flow.alike.get(alike, ()) if now - at <= self.SERIES_WINDOW]
        flow.alike[alike] = [*recent, now][-self.ALIKE_LIMIT - 1 :]
        return len(recent) >= self.ALIKE_LIMIT

    def _tell(self, flow: _Flow, identity: Happening, happening: Happening, now: datetime) -> Tell | None:
        if flow.tokens < 1:
            self.suppressed += 1
            return None
        flow.tokens -= 1
        of = happening.regarding.key
        stamp = f"{int(now.timestamp() * 1000):x}-{next(self._serial):x}"
        key = ObjectKey(of.namespace, f"{of.name[:200]}.{stamp}")
        self._series[identity] = _Series(key, happening, last=now, written_at=now)
        self._series.move_to_end(identity)
        self._trim(self._series)
        return Tell(key, happening, now)

    def _count(self, series: _Series, now: datetime) -> Count:
        series.written, series.written_at = series.count, now
        return Count(series.key, series.happening, series.count, series.last)

    def _trim(self, remembered: OrderedDict[_K, _V]) -> None:
        while len(remembered) > self.REMEMBERED:
            remembered.popitem(last=False)


def _identity(happening: Happening, *, combined: bool = False) -> Happening:
    """What makes two happenings the same: all but the version of the object they are about."""
    of = happening.regarding
    message = COMBINED if combined or happening.message.startswith(COMBINED) else happening.message
    bare = ObjectRef(of.api_version, of.kind, of.key, of.uid)
    return Happening(bare, happening.kind, happening.reason, message)


def _combined(happening: Happening) -> Happening:
    return Happening(happening.regarding, happening.kind, happening.reason, f"{COMBINED}{happening.message}")


def event_json(tell: Tell, instance: str) -> dict[str, object]:
    """The Event to create."""
    happening, of = tell.happening, tell.happening.regarding
    regarding: dict[str, object] = {
        "apiVersion": of.api_version,
        "kind": of.kind,
        "namespace": of.key.namespace,
        "name": of.key.name,
        "uid": of.uid,
    }
    if of.resource_version:
        regarding["resourceVersion"] = of.resource_version
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": tell.key.namespace, "name": tell.key.name},
        "eventTime": micro_time(tell.at),
        "type": happening.kind,
        "reason": happening.reason[:128],
        "action": happening.reason[:128],
        "note": shortened(happening.message, NOTE_LIMIT),
        "regarding": regarding,
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
    }


def series_json(count: Count) -> dict[str, object]:
    """The merge patch that writes a series' count."""
    return {"series": {"count": count.count, "lastObservedTime": micro_time(count.at)}}


def micro_time(at: datetime) -> str:
    """A moment as the API's MicroTime."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def shortened(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8; an ellipsis says that it was cut."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode(errors="ignore") + "…"


class EventStore(Protocol):
    """Where Events are written."""

    async def create_event(self, key: ObjectKey, body: Mapping[str, object]) -> None:
        """Create one; raises ClusterError."""
        ...

    async def patch_event(self, key: ObjectKey, patch: Mapping[str, object]) -> None:
        """Patch one; raises ClusterError."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EventRecorder:
    """Takes happenings without waiting and writes them one after the other in a task of its own.

    Attributes:
        dropped: how many were lost: the queue was full, or the API server did not take them.
    """

    def __init__(
        self,
        store: EventStore,
        instance: str,
        *,
        now: Callable[[], datetime] = _utc_now,
        queue_size: int = 1000,
    ) -> None:
        self._store = store
        self._instance = instance
        self._now = now
        self._ledger = EventLedger()
        self._queue: asyncio.Queue[Writing] = asyncio.Queue(queue_size)
        self._task: asyncio.Task[None] | None = None
        self._complained: set[type[ClusterError]] = set()
        self.dropped = 0

    @property
    def suppressed(self) -> int:
        """How many happenings were cut because their object had too much to say."""
        return self._ledger.suppressed

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="events")

    def emit(self, happening: Happening) -> None:
        """Queue it; returns at once and never raises."""
        writing = self._ledger.record(happening, self._now())
        if writing is not None:
            self._enqueue(writing)

    async def close(self, patience: float = 2.0) -> None:
        """Write what is waiting, for at most so many seconds, and stop."""
        for writing in self._ledger.due(self._now(), all_of_them=True):
            self._enqueue(writing)
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._queue.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _enqueue(self, writing: Writing) -> None:
        try:
            self._queue.put_nowait(writing)
        except asyncio.QueueFull:
            self._lost(writing)

    def _lost(self, writing: Writing) -> None:
        self.dropped += 1
        self._ledger.forget(writing.happening)

    async def _run(self) -> None:
        flush_every = EventLedger.COUNT_EVERY.total_seconds()
        while True:
            try:
                async with asyncio.timeout(flush_every):
                    writing = await self._queue.get()
            except TimeoutError:
                for due in self._ledger.due(self._now()):
                    self._enqueue(due)
                continue
            try:
                await self._write(writing)
            except ClusterError as error:
                self._lost(writing)
                self._complain(error)
            finally:
                self._queue.task_done()

    async def _write(self, writing: Writing) -> None:
        try:
            if isinstance(writing, Tell):
                await self._store.create_event(writing.key, event_json(writing, self._instance))
            else:
                await self._store.patch_event(writing.key, series_json(writing))
        except AlreadyExists:
            pass  # an earlier try has come through without its answer
        except NamespaceTerminating:
            self._lost(writing)  # nobody is left to read it
        except NotFound:
            self._ledger.forget(writing.happening)  # Events live an hour; told anew when it happens again

    def _complain(self, error: ClusterError) -> None:
        """One log line for each sort of failure until one of that sort is over would be noise: say it once."""
        level = logging.DEBUG if type(error) in self._complained else logging.WARNING
        self._complained.add(type(error))
        _log.log(level, "an Event could not be written (%d lost so far): %s", self.dropped, error)
