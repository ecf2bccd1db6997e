"""Everything that was seen of rollouts and ConfigMaps, in order: the sequence of statuses is what scenarios check.

A thread watches the API server; whoever waits is woken by each change. Nothing here polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.objects import KubeObject
from e2e.processes.supervisor import DeadlineError
from e2e.workload.watching import Api, Event, Listing

ROLLOUTS = "/apis/promptrollout.dev/v1alpha1/promptrollouts"
CONFIG_MAPS = "/api/v1/configmaps"
EVENTS = "/apis/events.k8s.io/v1/events"


@dataclass(frozen=True)
class Change:
    """One thing seen. `at`: seconds since the epoch, when it was seen; `deleted`: it was the last of this object."""

    at: float
    path: str
    object: KubeObject
    deleted: bool = False

    def of(self, path: str, namespace: str, name: str) -> bool:
        return self.path == path and self.object.namespace == namespace and self.object.name == name


class Recorder:
    """A context manager. Changes are kept from its start to its end."""

    def __init__(self, kubeconfig: Path, *paths: str) -> None:
        self._kubeconfig = kubeconfig
        self._paths = paths
        self._changes: list[Change] = []
        self._seen: dict[tuple[str, str], KubeObject] = {}
        self._news = threading.Condition()
        self._listed = threading.Semaphore(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in self._paths:
            if not self._listed.acquire(timeout=30):
                raise DeadlineError(f"the API server did not list {', '.join(self._paths)} within 30 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._thread.join(timeout=10)

    def changes(self, path: str, namespace: str, name: str, since: float = 0.0) -> Sequence[Change]:
        """What was seen of one object, oldest first."""
        with self._news:
            return [
                change for change in self._changes if change.at >= since and change.of(path, namespace, name)
            ]

    def latest(self, path: str, namespace: str, name: str) -> KubeObject | None:
        """The object as last seen, None when there is none."""
        found = self.changes(path, namespace, name)
        return found[-1].object if found and not found[-1].deleted else None

    def has_seen(self, path: str, written: KubeObject) -> bool:
        """Whether a write (the object as the server answered) has come through the watch."""
        latest = self.latest(path, written.namespace, written.name)
        return latest is not None and int(latest.resource_version) >= int(written.resource_version)

    def wait(
        self,
        came_true: Callable[[], bool],
        what: str,
        timeout: float,
        unless: Callable[[], None] | None = None,
    ) -> float:
        """Until `came_true`, asked again at each change; the seconds it took. Raises DeadlineError.

        `unless` is called every second and may raise: what is waited for can no longer come.
        """
        start = time.monotonic()
        with self._news:
            while not came_true():
                left = start + timeout - time.monotonic()
                if left <= 0:
                    raise DeadlineError(f"{what}: not within {timeout:g} s")
                if unless is not None:
                    unless()
                self._news.wait(min(left, 1.0))
        return time.monotonic() - start

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._follow_all())
        self._loop.close()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _follow_all(self) -> None:
        api = await Api.connect(self._kubeconfig)
        try:
            await asyncio.gather(*(self._follow(api, path) for path in self._paths))
        finally:
            await api.close()

    async def _follow(self, api: Api, path: str) -> None:
        first = True
        async with contextlib.aclosing(api.follow(path)) as changes:
            async for change in changes:
                match change:
                    case Listing(objects):
                        self._list(path, objects)
                    case Event(kind, seen):
                        self._add(path, seen, deleted=kind == "DELETED")
                if first:
                    first = False
                    self._listed.release()

    def _list(self, path: str, objects: Sequence[KubeObject]) -> None:
        """After a broken watch: what is new, and what has gone meanwhile."""
        present = {seen.uid for seen in objects}
        for (known_path, uid), known in list(self._seen.items()):
            if known_path == path and uid not in present:
                self._add(path, known, deleted=True)
        for seen in objects:
            known = self._seen.get((path, seen.uid), KubeObject({}))
            if known.resource_version != seen.resource_version:
                self._add(path, seen)

    def _add(self, path: str, seen: KubeObject, *, deleted: bool = False) -> None:
        if deleted:
            self._seen.pop((path, seen.uid), None)
        else:
            self._seen[path, seen.uid] = seen
        with self._news:
            self._changes.append(Change(time.time(), path, seen, deleted))
            self._news.notify_all()
