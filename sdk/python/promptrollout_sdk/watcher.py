"""The one background thread: looks twenty times a second whether a payload has changed.

One look is one `readlink` for each rollout (about 2 µs), so that requests pay nothing for reloads and a rollback is
noticed within 100 ms. The thread is a daemon, starts with the first rollout, and starts again in a forked child.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Protocol

from promptrollout_sdk.errors import log

PERIOD = 0.05


class Polled(Protocol):
    """What the thread looks at."""

    def poll(self, now: float) -> None:
        """Look once, at `now` on the monotonic clock."""

    def forked(self) -> None:
        """The process is a new one."""

    def ended(self) -> None:
        """There will be no further look."""


class Watcher:
    """Polls its members until they are gone."""

    def __init__(self, period: float = PERIOD) -> None:
        self._period = period
        self._members: weakref.WeakSet[Polled] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        # Held while members are polled and around fork: a child must not inherit a half-made change or a held lock.
        self._lock = threading.RLock()

    def add(self, member: Polled) -> None:
        """Poll `member` from now on."""
        with self._lock:
            self._members.add(member)
            if self._thread is None:
                self._start()

    def remove(self, member: Polled) -> None:
        """Poll it no more."""
        with self._lock:
            self._members.discard(member)

    def at_exit(self) -> None:
        """The process ends by itself; the thread, a daemon, would say nothing any more."""
        for member in list(self._members):
            member.ended()

    def before_fork(self) -> None:
        """Let a poll in work end."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The thread did not come along; start it anew, and let it tell at once what this process serves."""
        self._lock = threading.RLock()
        self._thread = None
        if self._members:
            for member in self._members:
                member.forked()
            self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="promptrollout-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._look():
            time.sleep(self._period)

    def _look(self) -> bool:
        """Poll all; False when there is nobody left, and the thread ends."""
        with self._lock:
            for member in list(self._members):
                try:
                    member.poll(time.monotonic())
                except Exception:
                    log.exception("looking for a new payload failed; what is loaded goes on being served")
            if not self._members:
                self._thread = None
            return self._thread is not None


watcher = Watcher()
atexit.register(watcher.at_exit)
os.register_at_fork(
    before=watcher.before_fork,
    after_in_parent=watcher.after_fork_in_parent,
    after_in_child=watcher.after_fork_in_child,
)
