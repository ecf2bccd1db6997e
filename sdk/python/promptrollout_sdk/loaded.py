"""The acknowledgement: which payload this process serves, and since when."""

from __future__ import annotations

import time

from promptrollout_sdk.metrics import Families, multiprocess_directory, remove


class Loaded:
    """promptrollout_loaded and promptrollout_loaded_timestamp_seconds of one rollout in this process.

    With several processes the values of a pod's workers add up, so a pod serves a payload as a whole when its
    series is > 0 and that of no other payload is.
    """

    def __init__(self, families: Families) -> None:
        self._families = families
        self._labels: tuple[str, str, str] | None = None
        self._at = 0.0
        self._announced = True

    def set(self, rollout: str, sequence: int, digest: str) -> None:
        """From now on this payload is served."""
        old, self._labels = self._labels, (rollout, str(sequence), digest)
        self._at = time.time()
        self._say()
        if old and old != self._labels:
            self._take_back(old)

    def announce(self) -> bool:
        """Say it again in a new process; True if that was due."""
        due, self._announced = not self._announced, True
        if due:
            self._say()
        return due

    def forked(self) -> None:
        """The metrics of a child in multi-process mode start empty."""
        self._announced = False

    def _say(self) -> None:
        if self._labels:
            self._families.loaded_at.labels(*self._labels).set(self._at)
            self._families.loaded.labels(*self._labels).set(1)

    def _take_back(self, labels: tuple[str, str, str]) -> None:
        if multiprocess_directory():  # series cannot be removed there
            self._families.loaded.labels(*labels).set(0)
            self._families.loaded_at.labels(*labels).set(0)
        remove(self._families.loaded, *labels)
        remove(self._families.loaded_at, *labels)
