"""One container of a pod, run as a process: environment, restarts with back-off, readiness."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from e2e.objects import KubeObject
from e2e.processes.supervisor import REPOSITORY, free_port
from e2e.processes.warden import die_with_parent
from e2e.workload.status import ContainerState

#: Seconds before the first restart, doubling up to the second figure (kubelet: 10 s and 5 min).
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 30.0
PROBE_UNTIL_READY_S = 0.1


@dataclass(frozen=True)
class ContainerSpec:
    """What a Pod's spec says of one container. Its files are under `root`, at their mount paths."""

    name: str
    image: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    port: int | None
    probe_path: str
    probe_period_s: float
    probe_failures: int
    root: Path
    log: Path
    restart_policy: str = "Always"
    ports: Mapping[str, int] = field(default_factory=dict)
    message_path: str = "/dev/termination-log"
    message_from_log: bool = False


def parse_container(pod: KubeObject, container: KubeObject, root: Path, log: Path) -> ContainerSpec:
    """Give each declared port a free one of this machine: all pods share 127.0.0.1. `PORT` names the first.

    `CONTAINER_SANDBOX_MOUNT_POINT` (as in Windows HostProcess containers, which have no file system of their own
    either) is what mount paths begin with.
    """
    declared = container.items("ports")
    port = free_port() if declared else None
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "sdk" / "python")]),
        "PYTHONUNBUFFERED": "1",
        "HOSTNAME": pod.name,
        "CONTAINER_SANDBOX_MOUNT_POINT": str(root),
        **({"PORT": str(port)} if port is not None else {}),
        **{variable.text("name"): _value(pod, variable) for variable in container.items("env")},
    }
    probe = container.mapping("readinessProbe")
    argv = [str(word) for key in ("command", "args") for word in container.raw.get(key) or []]
    return ContainerSpec(
        name=container.name or container.text("name"),
        image=container.text("image"),
        argv=[sys.executable if argv[:1] == ["python"] else argv[0], *argv[1:]] if argv else [],
        environment=environment,
        port=port,
        probe_path=KubeObject(probe).text("httpGet.path"),
        probe_period_s=KubeObject(probe).number("periodSeconds") or 10.0,
        probe_failures=int(KubeObject(probe).number("failureThreshold")) or 3,
        root=root,
        log=log,
        restart_policy=pod.text("spec.restartPolicy") or "Always",
        message_path=container.text("terminationMessagePath") or "/dev/termination-log",
        message_from_log=container.text("terminationMessagePolicy") == "FallbackToLogsOnError",
    )


def _value(pod: KubeObject, variable: KubeObject) -> str:
    """An `env` entry's value, given or from a field of the pod."""
    source = variable.text("valueFrom.fieldRef.fieldPath")
    return pod.text(source) if source else variable.text("value")


class Container:
    """Runs the process again and again as the restart policy says; tells `changed` when its state has."""

    def __init__(self, spec: ContainerSpec, changed: Callable[[], None], http: aiohttp.ClientSession) -> None:
        self.spec = spec
        self._changed = changed
        self._http = http
        self._process: asyncio.subprocess.Process | None = None
        self.state = ContainerState(spec.name, spec.image, waiting="ContainerCreating")

    async def run(self) -> None:
        """Until it ends for good (restart policy) or is cancelled."""
        back_off = FIRST_BACK_OFF_S
        while True:
            code = await self._run_once()
            policy = self.spec.restart_policy
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                self._set(waiting="", exit_code=code, ready=False, message=self._last_words(code))
                return
            self._set(
                waiting="CrashLoopBackOff", exit_code=code, ready=False, restarts=self.state.restarts + 1
            )
            await asyncio.sleep(back_off)
            back_off = min(2 * back_off, LONGEST_BACK_OFF_S)

    def _last_words(self, code: int) -> str:
        """The termination message: its file, else by policy the end of the log; 4096 bytes, as kubelet has it."""
        file = self.spec.root / self.spec.message_path.lstrip("/")
        said = file.read_bytes() if file.is_file() else b""
        if not said and code and self.spec.message_from_log and self.spec.log.is_file():
            said = b"".join(self.spec.log.read_bytes().splitlines(keepends=True)[-80:])[-2048:]
        return said[:4096].decode(errors="replace")

    async def _run_once(self) -> int:
        message = self.spec.root / self.spec.message_path.lstrip("/")
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_bytes(b"")
        with self.spec.log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self.spec.argv,
                    env=dict(self.spec.environment),
                    cwd=self.spec.root,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with_parent,  # the agent has one thread
                )
            except (OSError, ValueError) as error:
                log.write(f"cannot start: {error}\n".encode())
                return 127
        self._set(waiting="", started=datetime.now(UTC), exit_code=None)
        probing = asyncio.create_task(self._probe())
        try:
            return await self._process.wait()
        finally:
            probing.cancel()

    async def _probe(self) -> None:
        """Readiness by HTTP GET; often until the first success, then every periodSeconds, lost by failureThreshold."""
        if not self.spec.probe_path:
            self._set(ready=True)
            return
        failures = 0
        while True:
            failures = 0 if await self._answers() else failures + 1
            if failures == 0 or failures >= self.spec.probe_failures:
                self._set(ready=failures == 0)
            await asyncio.sleep(self.spec.probe_period_s if self.state.ready else PROBE_UNTIL_READY_S)

    async def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self.spec.port}{self.spec.probe_path}"
        try:
            async with self._http.get(url, timeout=aiohttp.ClientTimeout(total=1)) as answer:
                return 200 <= answer.status < 400
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _set(self, **changes: object) -> None:
        new = replace(self.state, **changes)  # type: ignore[arg-type] # names and types are those of the calls above
        if new != self.state:
            self.state = new
            self._changed()

    async def end(self, grace: float) -> None:
        """TERM, and KILL after `grace` seconds."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            process.kill()
            await process.wait()
