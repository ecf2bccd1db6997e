"""The real Pushgateway: the machine's own, or Debian's package unpacked into the cache (its Go module is not mirrored).

`python -m e2e.pushgateway` fetches it and prints where it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from e2e.controlplane.build import BuildError
from e2e.processes.supervisor import Command, Process, Supervisor, free_port, wait_until

_NAMES = ("pushgateway", "prometheus-pushgateway")
_PACKAGE = "prometheus-pushgateway"


@dataclass(frozen=True)
class Pushgateway:
    """A running Pushgateway; `address` is host and port."""

    address: str
    process: Process

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def find() -> Path:
    """The program, fetched if need be. BuildError when there is none and no Debian to take it from."""
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promptrollout"
    program = base / _PACKAGE / "usr" / "bin" / _PACKAGE
    if not program.is_file():
        _fetch(base)
    return program


def _fetch(base: Path) -> None:
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        for command in (
            ["apt-get", "download", _PACKAGE],
            ["apt-get", "update"],
            ["apt-get", "download", _PACKAGE],
        ):
            done = _run(command, folder)
            if list(folder.glob("*.deb")):
                break
        packages = list(folder.glob("*.deb"))
        if not packages:
            raise BuildError(f"no Pushgateway on this machine, and Debian's cannot be fetched: {done}")
        said = _run(["dpkg-deb", "--extract", str(packages[0]), str(folder / "unpacked")], folder)
        if not (folder / "unpacked" / "usr" / "bin" / _PACKAGE).is_file():
            raise BuildError(f"Debian's Pushgateway cannot be unpacked: {said}")
        if not (base / _PACKAGE).exists():  # another process was faster otherwise
            (folder / "unpacked").rename(base / _PACKAGE)


def _run(command: list[str], folder: Path) -> str:
    """What the command said; that it does not exist is said too."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except OSError as error:
        return str(error)
    return (done.stdout + done.stderr).strip()[-500:]


def start(supervisor: Supervisor, program: Path) -> Pushgateway:
    """Start it and wait until it answers."""
    address = f"127.0.0.1:{free_port()}"
    command = Command(
        "pushgateway", [str(program), f"--web.listen-address={address}", "--log.level=warn"], grace=0
    )
    running = Pushgateway(address, supervisor.spawn(command))
    wait_until(running.ready, "the Pushgateway to be ready", 30, alive=running.process)
    return running


if __name__ == "__main__":
    try:
        print(find())
    except BuildError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
