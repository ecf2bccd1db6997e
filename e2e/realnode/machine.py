"""What the machine must have for a real node, and how it is left as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("containerd", "runc", "containernetworking-plugins", "busybox-static")
BUSYBOX = Path("/bin/busybox")
#: Short, because the paths of Unix sockets are.
STATE = Path("/run/promptrollout-node")
_PROGRAMS = ("containerd", "ctr", "runc")
_CGROUPS = Path("/sys/fs/cgroup")
_SYSCTL = Path("/proc/sys")
#: The kubelet sets these for the whole machine.
_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


class MachineError(RuntimeError):
    """The machine cannot run a real node; the message says why."""


def missing() -> str:
    """Why no real node can run here, as a sentence; empty if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a real node needs Linux and root"
    if not (_CGROUPS / "memory").is_dir() and not (_CGROUPS / "cgroup.controllers").is_file():
        return "no cgroups are mounted"
    absent = [name for name in _PROGRAMS if shutil.which(name, path=search_path()) is None]
    absent += [str(path) for path in (BUSYBOX, Path("/usr/lib/cni/bridge")) if not path.exists()]
    if absent:
        return f"{', '.join(absent)} not found; install {' '.join(PACKAGES)}"
    return ""


def search_path() -> str:
    """PATH, with the folders where Debian puts what only root runs."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def install() -> None:
    """Install the packages with apt-get where they are missing.

    Raises:
        MachineError: they are missing still.
    """
    if missing() and shutil.which("apt-get") and os.geteuid() == 0:
        print(f"installing {' '.join(PACKAGES)}", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", "-qq", *arguments], env=environment, check=False)
    if reason := missing():
        raise MachineError(reason)


@contextlib.contextmanager
def state_folder() -> Iterator[Path]:
    """A folder for one node; what an earlier one that was killed has left is cleared away first and ours in the end."""
    STATE.mkdir(exist_ok=True)
    for left in STATE.iterdir():
        if not Path("/proc", left.name).exists():
            clear(left)
    settings = _settings()
    folder = STATE / str(os.getpid())
    folder.mkdir()
    try:
        yield folder
    finally:
        clear(folder)
        for name, value in settings.items():
            if _settings().get(name) != value:
                (_SYSCTL / name).write_text(value)


def clear(folder: Path) -> None:
    """End the shims of a node, unmount all that is below its folder, and remove it with the cgroups of its pods."""
    for pid in _shims(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for mount in sorted(_mounts(folder), reverse=True):
        if subprocess.run(["umount", mount], capture_output=True, check=False).returncode != 0:
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    _remove_cgroups()
    _remove_links(Path("/var/log/containers"), folder)


def _shims(folder: Path) -> list[int]:
    """containerd-shim-runc-v2 processes outlive containerd; each says our socket on its command line, its containers

    are in its cgroup. Containers are children of their shim and end with their init process.
    """
    found: list[int] = []
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(status[1]), []).append(int(entry.name))
            if words[0].endswith(b"containerd-shim-runc-v2") and str(folder).encode() in b" ".join(words):
                found.append(int(entry.name))
    return [*found, *(child for shim in found for child in parents.get(shim, []))]


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [path for path in (line.split()[1] for line in lines) if path.startswith(f"{folder}/")]


def _remove_cgroups() -> None:
    """The kubelet's, once nothing runs in them any more."""
    roots = [_CGROUPS, *(path for path in _CGROUPS.iterdir() if path.is_dir())]
    for pods in (root / "kubepods" for root in roots if (root / "kubepods").is_dir()):
        for _ in range(20):
            for folder in sorted((p for p in pods.rglob("*") if p.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                pods.rmdir()
            if not pods.exists():
                break
            time.sleep(0.1)


def _remove_links(folder: Path, target: Path) -> None:
    if not folder.is_dir():
        return
    for link in folder.iterdir():
        if link.is_symlink() and str(target) in str(link.readlink()):
            link.unlink()


def _settings() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in _SETTINGS:
        with contextlib.suppress(OSError):
            found[name] = (_SYSCTL / name).read_text().strip()
    return found


def main() -> int:
    """Install what is missing; 1 if a real node cannot run here all the same."""
    try:
        install()
    except MachineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
