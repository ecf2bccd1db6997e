"""The warden: a small process that is the parent of all the others, and ends them when their owner is gone.

The owner (a test run, the demo) talks to it over a socket, one JSON object a line. Whatever ends the owner, Ctrl-C,
an exception or `kill -9`, closes that socket, and the warden then ends its children by their process groups and removes
the data folder. Should the warden itself be killed, the kernel ends the children (`PR_SET_PDEATHSIG`, Linux only).

Requests and answers:
    {"op": "spawn", "name", "argv", "env", "cwd", "log", "grace"}   -> {"pid"} or {"error"}
    {"op": "poll", "name"}                                          -> {"exit": code or null}
    {"op": "stop", "name", "signal"}                                -> {"exit": code}
    {"op": "detach"}                                                -> {}   from now on only SIGTERM ends it
    {"op": "shutdown"}                                              -> {}   after all have ended

Standard library only: it starts in a few tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Run in a new child before exec: the kernel kills it when the thread that forked it ends.

    The forking thread must therefore be one that lives as long as the process; the warden has only one.
    """
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prepare_child() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored here, and what is ignored is inherited
    die_with_parent()


@dataclass
class _Child:
    """One process and its group. `grace` is the time in seconds between TERM and KILL; 0 kills at once."""

    popen: subprocess.Popen[bytes]
    grace: float

    def signal_group(self, number: int) -> None:
        """To all that it started, too; there may be nobody left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def end(self) -> None:
        self.signal_group(signal.SIGTERM if self.grace > 0 else signal.SIGKILL)


class Warden:
    """The loop: answers requests until told to stop, or until the owner's end of the socket closes."""

    def __init__(self, owner: socket.socket, data: Path) -> None:
        self._owner = owner
        self._data = data
        self._children: dict[str, _Child] = {}
        self._detached = False
        self._terminated = False

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        signal.set_wakeup_fd(wake_write.fileno())
        buffer = b""
        while not self._terminated:
            watched = [wake_read] if self._owner.fileno() < 0 else [wake_read, self._owner]
            ready, _, _ = select.select(watched, [], [])
            if wake_read in ready:
                wake_read.recv(64)
            if self._owner in ready:
                chunk = self._receive()
                if not chunk:
                    self._owner.close()
                    self._terminated = self._terminated or not self._detached
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    self._answer(json.loads(line))
        self._end_all()

    def _receive(self) -> bytes:
        try:
            return self._owner.recv(1 << 16)
        except ConnectionError:
            return b""

    def _on_signal(self, number: int, _frame: object) -> None:
        del number
        self._terminated = True

    def _answer(self, request: dict[str, Any]) -> None:
        operations = {
            "spawn": self._spawn,
            "poll": self._poll,
            "stop": self._stop,
            "detach": self._detach,
            "shutdown": self._shutdown,
        }
        try:
            answer = operations[request["op"]](request)
        except (OSError, KeyError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            self._owner.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._owner.close()

    def _spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]
        known = self._children.get(name)
        if known is not None and known.popen.poll() is None:
            return {"error": f"a process named {name} is running already (pid {known.popen.pid})"}
        with Path(request["log"]).open("ab") as log:
            popen = subprocess.Popen(
                request["argv"],
                env=request["env"],
                cwd=request["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches the owner alone, which ends them in order
                preexec_fn=_prepare_child,  # noqa: PLW1509 - safe here: the warden has one thread
            )
        self._children[name] = _Child(popen, float(request["grace"]))
        return {"pid": popen.pid}

    def _poll(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"exit": self._children[request["name"]].popen.poll()}

    def _stop(self, request: dict[str, Any]) -> dict[str, Any]:
        child = self._children[request["name"]]
        child.signal_group(int(request["signal"]))
        self._wait([child], child.grace)
        return {"exit": child.popen.poll()}

    def _detach(self, request: dict[str, Any]) -> dict[str, Any]:
        del request
        self._detached = True
        return {}

    def _shutdown(self, request: dict[str, Any]) -> dict[str, Any]:
        del request
        self._terminated = True
        self._end_all()
        return {}

    def _end_all(self) -> None:
        children = list(reversed(self._children.values()))
        for child in children:
            child.end()
        self._wait(children, max((child.grace for child in children), default=0.0))
        self._children.clear()
        if self._data.name.startswith("promptrollout-"):
            shutil.rmtree(self._data, ignore_errors=True)

    @staticmethod
    def _wait(children: list[_Child], grace: float) -> None:
        """Wait for all to end; kill what has not after `grace` seconds."""
        deadline = time.monotonic() + grace
        while any(child.popen.poll() is None for child in children) and time.monotonic() < deadline:
            time.sleep(0.01)
        for child in children:
            child.signal_group(signal.SIGKILL)
            child.popen.wait()


def main() -> None:
    descriptor, data = sys.argv[1:]
    Warden(socket.socket(fileno=int(descriptor)), Path(data)).run()


if __name__ == "__main__":
    main()
