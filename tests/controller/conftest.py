"""What the tests of this room share: one real control plane, a namespace for each test, and a link that can be cut."""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml

from e2e.controlplane import binaries
from e2e.controlplane.cluster import ControlPlane, start
from e2e.controlplane.kubectl import CommandError
from e2e.processes.supervisor import Supervisor, wait_until

asyncio.set_event_loop(
    None
)  # so that pytest-asyncio finds none to leave unclosed; see tests/cluster/conftest.py

CRDS = Path(__file__).parents[2] / "crds"
SPEC = {"prompt": {"inline": {"text": "Hello"}}, "strategy": {"immediate": {}}}
_numbers = count(1)


@pytest.fixture(scope="package")
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as running:
        yield running


@pytest.fixture(scope="package")
def control_plane(supervisor) -> ControlPlane:
    programs = binaries.find(["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"])
    plane = start(supervisor, programs, CRDS)
    plane.kubectl.wait_for_kind()
    return plane


def answers(kubectl, *arguments):
    """What kubectl says, "ok" if that is nothing; empty if it fails."""
    try:
        return kubectl(*arguments) or "ok"
    except CommandError:
        return ""


@pytest.fixture
def kubectl(control_plane):
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl) -> Iterator[str]:
    name = f"controller-tests-{next(_numbers)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def account(control_plane, kubectl, namespace):
    """A kubeconfig of a service account with just these rights in the test's namespace, by verb and resource."""

    def create(rules, name="operator"):
        meta = {"name": name, "namespace": namespace}
        api = "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", **meta}
        role = {"apiGroup": api, "kind": "Role", "name": name}
        kubectl.apply(
            [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
                {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": rules},
                {
                    "apiVersion": f"{api}/v1",
                    "kind": "RoleBinding",
                    "metadata": meta,
                    "roleRef": role,
                    "subjects": [subject],
                },
            ]
        )
        return control_plane.kubeconfig_for(namespace, name)

    return create


@pytest.fixture
def restart_api_server(supervisor, control_plane):
    """Kill the API server and start it anew: its watch caches begin anew, so older watches get 410 Gone."""

    def restart():
        control_plane.api_server.kill()
        again = supervisor.spawn(control_plane.api_server.command)
        wait_until(
            lambda: answers(control_plane.kubectl, "get", "--raw", "/readyz") == "ok",
            "kube-apiserver to be ready again",
            60.0,
            alive=again,
        )

    return restart


def rollout_manifest(namespace, name="support", **metadata):
    return {
        "apiVersion": "promptrollout.dev/v1alpha1",
        "kind": "PromptRollout",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": SPEC,
    }


class Link:
    """A TCP link to the API server that can be cut and mended, as a network does."""

    def __init__(self, server: str) -> None:
        host, port = server.removeprefix("https://").split(":")
        self._target = (host, int(port))
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._whole = True

    async def __aenter__(self) -> "Link":
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        await self._listener.wait_closed()
        self.cut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next round

    def cut(self) -> None:
        self._whole = False
        for writer in list(self._open):
            writer.transport.abort()

    def mend(self) -> None:
        self._whole = True

    def kubeconfig(self, original: Path, target: Path) -> Path:
        """The same user, through this link."""
        config = yaml.safe_load(original.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        target.write_text(yaml.safe_dump(config))
        return target

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._open.add(writer)
        try:
            if self._whole:
                await self._join(reader, writer)
        finally:
            self._serving.discard(task)
            self._open.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            return
        self._open.add(server_writer)
        try:
            await asyncio.gather(_pump(reader, server_writer), _pump(server_reader, writer))
        finally:
            self._open.discard(server_writer)
            server_writer.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
        target.write_eof()


async def until(came_true, what, seconds=30.0):
    """Wait for a real process to do something."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while not came_true():
        assert loop.time() < ends, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.02)
