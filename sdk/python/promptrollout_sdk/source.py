"""Where a payload comes from: a directory that kubelet (or anyone) keeps up to date."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from promptrollout_sdk.errors import PayloadError
from promptrollout_sdk.payload import ROLLOUT_FILE, Read

# A ConfigMap holds 1 MiB; whatever is larger is no payload and is not read.
MAX_FILE_BYTES = 1024 * 1024


class Source(Protocol):
    """Something that has versions of a payload."""

    @property
    def name(self) -> str:
        """What to call it while no payload has told the rollout's name."""

    def version(self) -> object:
        """Differs when the payload may have changed; cheap, never raises."""

    def open(self) -> Read:
        """A reader of one version's files. PayloadError when there is none."""

    def close(self) -> None:
        """No more versions are wanted."""


class DirectorySource:
    """A mounted ConfigMap, or any directory with the same files.

    Kubelet writes each version into a directory of its own and swaps the symlink `..data`: the link is resolved
    once, so that all files are of one version. In a plain directory the digests in rollout.json tell a mixture.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = str(Path(path).absolute())  # a service that becomes a daemon changes its directory
        self._link = f"{self._path}/..data"
        self._rollout = f"{self._path}/{ROLLOUT_FILE}"

    @property
    def name(self) -> str:
        """The directory's last segment."""
        return Path(self._path).name

    def version(self) -> object:
        """The link's target, or what stat says of rollout.json; None when there is neither."""
        try:
            return os.readlink(self._link)  # noqa: PTH115 - twenty times a second, and three times faster
        except OSError:
            pass
        try:
            found = os.stat(self._rollout)  # noqa: PTH116 - as above
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def open(self) -> Read:
        """A reader of the version that is current now."""
        base = Path(self._path)
        try:
            base /= Path(self._link).readlink()
        except OSError:
            base = Path(self._path)
        return lambda file: _read(base / file)

    def close(self) -> None:
        """Nothing is held open."""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise PayloadError("missing", f"{path} does not exist") from error
    except OSError as error:
        raise PayloadError("unreadable", f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise PayloadError(
            "too_large", f"{path} is larger than a ConfigMap can be ({MAX_FILE_BYTES:,} bytes)"
        )
    return raw
