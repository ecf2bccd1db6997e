"""The owner's side of the warden: start processes, ask after them, end them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.02
_PORTS = range(20000, 32000)
_LAST_PORT = Path(tempfile.gettempdir(), f"promptrollout-last-port-{os.getuid()}")


class ProcessError(RuntimeError):
    """A process could not be started, or ended when it should not have; the message carries the end of its log."""


class DeadlineError(TimeoutError):
    """Something did not come true in time; the message says what was waited for."""


def wait_until(
    came_true: Callable[[], bool],
    what: str,
    timeout: float,
    *,
    alive: Process | None = None,
    pause: float = POLL_S,
) -> float:
    """Ask `came_true` again and again until it answers yes; the seconds it took.

    Raises DeadlineError after `timeout` seconds, and ProcessError at once when the process it depends on has ended.
    """
    start = time.monotonic()
    while not came_true():
        if alive is not None and not alive.running():
            raise ProcessError(f"{alive.name} ended while waiting for {what}:\n{alive.log_tail()}")
        if time.monotonic() - start > timeout:
            tail = f"\n{alive.log_tail()}" if alive is not None else ""
            raise DeadlineError(f"{what}: not within {timeout:g} s{tail}")
        time.sleep(pause)
    return time.monotonic() - start


@dataclass(frozen=True)
class Command:
    """What to run. `env` is the whole environment beside PATH; `grace` the seconds between TERM and KILL."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    grace: float = 5.0


class Process:
    """A running (or ended) process of the stack."""

    def __init__(self, supervisor: Supervisor, command: Command, pid: int, log: Path) -> None:
        self._supervisor = supervisor
        self.command = command
        self.name = command.name
        self.pid = pid
        self.log = log

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        answer = self._supervisor.request({"op": "poll", "name": self.name})["exit"]
        return answer if isinstance(answer, int) else None

    def running(self) -> bool:
        return self.exit_code() is None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send the signal to its process group, wait for the end (killing it after its grace), give the exit code."""
        answer = self._supervisor.request({"op": "stop", "name": self.name, "signal": int(number)})["exit"]
        return answer if isinstance(answer, int) else None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers, as in a hang."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def log_tail(self, lines: int = 25) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


class Supervisor:
    """A context manager: owns a data folder and the warden; at its end nothing of either is left.

    The environment of children is given, not inherited: a user's own KUBECONFIG never reaches them.
    """

    def __init__(self, *, keep_data: bool = False) -> None:
        prefix = "kept-promptrollout-" if keep_data else "promptrollout-"
        self.data = Path(tempfile.mkdtemp(prefix=prefix))
        self.logs = self.data / "logs"
        self.home = self.data / "home"
        for folder in (self.logs, self.home):
            folder.mkdir()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        self._reader = self._socket.makefile("rb")
        with theirs:
            os.set_inheritable(theirs.fileno(), True)  # noqa: FBT003 - the os module's own signature
            self._warden = subprocess.Popen(
                [sys.executable, "-m", "e2e.processes.warden", str(theirs.fileno()), str(self.data)],
                cwd=REPOSITORY,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def warden_pid(self) -> int:
        """End this process with SIGTERM to end all."""
        return self._warden.pid

    def request(self, message: Mapping[str, object]) -> Mapping[str, object]:
        with self._lock:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
                line = self._reader.readline()
            except OSError as error:
                raise ProcessError(f"the warden is gone: {error}") from error
        if not line:
            raise ProcessError("the warden is gone")
        answer: dict[str, object] = json.loads(line)
        if "error" in answer:
            raise ProcessError(f"{message.get('name', message['op'])}: {answer['error']}")
        return answer

    def spawn(self, command: Command) -> Process:
        log = self.logs / f"{command.name}.log"
        answer = self.request(
            {
                "op": "spawn",
                "name": command.name,
                "argv": list(command.argv),
                "env": {**self.environment(), **command.env},
                "cwd": str(REPOSITORY),
                "log": str(log),
                "grace": command.grace,
            }
        )
        return Process(self, command, int(str(answer["pid"])), log)

    def environment(self) -> dict[str, str]:
        """What every child gets: no credentials, no configuration of the user's."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    def detach(self) -> None:
        """Leave everything running after this process ends; SIGTERM to `warden_pid` stops it."""
        self.request({"op": "detach"})
        self._hang_up()

    def close(self) -> None:
        """End all processes and remove the data folder. Safe to call twice."""
        if self._reader.closed:
            return
        with contextlib.suppress(ProcessError):  # it has gone, and its children with it
            self.request({"op": "shutdown"})
        self._hang_up()
        self._warden.wait()

    def _hang_up(self) -> None:
        self._reader.close()  # holds the socket open otherwise
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """A free TCP port of 127.0.0.1 outside the range the kernel gives to outgoing connections (32768 and up on Linux),

    so that no connection of another process can take it before the server it is for has started. Nor does anybody
    else who asks here get it meanwhile, in whatever process of this user: the ports are handed out in turn.
    """
    with _LAST_PORT.open("a+") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        last = int(kept.read() or secrets.randbelow(len(_PORTS)))
        for step in range(1, len(_PORTS)):
            turn = (last + step) % len(_PORTS)
            if _bindable(_PORTS[turn]):
                kept.truncate(0)
                kept.write(str(turn))
                return _PORTS[turn]
    raise RuntimeError("no free TCP port between 20000 and 31999 on 127.0.0.1")


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
