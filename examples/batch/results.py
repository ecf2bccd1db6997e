"""Where results go: JSON lines, each written out at once, so that an attempt that was cut off can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO


class Results:
    """A file of results, added to; without one, results are printed nowhere and nothing is done already."""

    def __init__(self, file: Path | None) -> None:
        self.done = set(_done(file)) if file and file.exists() else set()
        self._file: TextIO | None = file.open("a", encoding="utf-8") if file else None

    def add(self, result: Mapping[str, object]) -> None:
        """One item's attributes, or that there are none."""
        if self._file:
            self._file.write(json.dumps(result) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Nothing is added any more."""
        if self._file:
            self._file.close()


def _done(file: Path) -> Iterator[str]:
    """The ids of items that have attributes; the others are tried again. A line that was cut off says nothing."""
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        if result.get("attributes"):
            yield result["id"]
