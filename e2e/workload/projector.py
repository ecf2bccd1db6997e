"""Writes a ConfigMap's keys into a volume's folder as kubelet does: a reader sees all old files or all new ones.

The layout is that of kubelet's AtomicWriter (pkg/volume/util/atomic_writer.go):

    <folder>/..2026_11_23_22_30_05.123456789/<key>   the files of one version
    <folder>/..data -> ..2026_11_23_22_30_05.123456789   swapped by one rename
    <folder>/<key> -> ..data/<key>
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

_DATA = "..data"
_NEW_DATA = "..data_tmp"


def project(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Make `folder` show exactly `files`; False when it did already. Every file of a version appears in one moment."""
    folder.mkdir(parents=True, exist_ok=True)
    old = _version(folder)
    if old is not None and _read(old) == dict(files):
        return False
    new = folder / _version_name()
    new.mkdir()
    for key, content in files.items():
        (new / key).write_bytes(content)
    swap = folder / _NEW_DATA
    swap.unlink(missing_ok=True)
    swap.symlink_to(new.name)
    swap.rename(folder / _DATA)
    _show(folder, files)
    if old is not None:
        shutil.rmtree(old)
    return True


def _version(folder: Path) -> Path | None:
    link = folder / _DATA
    return folder / os.readlink(link) if link.is_symlink() else None  # noqa: PTH115 - the name itself, not a full path


def _read(version: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in version.iterdir()}


def _show(folder: Path, files: Mapping[str, bytes]) -> None:
    """Links for new keys, none for keys that went. Kubelet, too, does this after the swap."""
    for key in files:
        if not (folder / key).is_symlink():
            (folder / key).symlink_to(Path(_DATA) / key)
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in files:
            path.unlink()


def _version_name() -> str:
    moment = time.time_ns()
    return (
        datetime.fromtimestamp(moment // 10**9, UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
        + f"{moment % 10**9:09d}"
    )
