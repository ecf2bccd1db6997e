"""The node agent: kubelet's part (and the scheduler's) for pods that are plain processes of this machine.

It registers a node, renews its lease, and for each pod bound to it keeps volumes, containers and status; pods that
nobody has bound yet are bound to it. It speaks as `system:node:<name>` through the Node authorizer, as a kubelet does.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from e2e.objects import KubeObject
from e2e.workload.configmaps import ConfigMaps
from e2e.workload.directory import Directory
from e2e.workload.pod import Node, Pod, Timing
from e2e.workload.status import stamp
from e2e.workload.watching import FAILURES, Api, ApiError, Event, Listing

log = logging.getLogger(__name__)
LEASE_S = 40
RENEW_S = 10.0


class Agent:
    """Keeps one worker for each pod of the node."""

    def __init__(self, name: str, node: Node) -> None:
        self._name = name
        self._node = node
        self._workers: dict[str, tuple[Pod, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        async for change in self._node.api.follow(
            "/api/v1/pods", fieldSelector=f"spec.nodeName={self._name}"
        ):
            match change:
                case Listing(objects):
                    for gone in set(self._workers) - {pod.uid for pod in objects}:
                        self._drop(gone)
                    for pod in objects:
                        self._see(pod)
                case Event("DELETED", pod):
                    self._drop(pod.uid)
                case Event(_, pod):
                    self._see(pod)

    def _see(self, pod: KubeObject) -> None:
        if pod.uid in self._workers:
            self._workers[pod.uid][0].update(pod)
        elif pod.text("status.phase") not in {"Succeeded", "Failed"}:
            worker = Pod(pod, self._node)
            self._workers[pod.uid] = (worker, asyncio.create_task(worker.run(), name=pod.name))

    def _drop(self, uid: str) -> None:
        if uid in self._workers:
            self._workers.pop(uid)[1].cancel()

    async def close(self) -> None:
        tasks = [task for _, task in self._workers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def register(api: Api, name: str) -> None:
    """The Node object, Ready; it stays when it is there already."""
    now = stamp(datetime.now(UTC))
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    capacity = {"cpu": "64", "memory": "64Gi", "pods": "1000"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "AgentReady",
        "message": "pods of this node are processes of the machine that runs the tests",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    status = {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [ready],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "nodeInfo": dict.fromkeys(
            (
                "architecture",
                "bootID",
                "containerRuntimeVersion",
                "kernelVersion",
                "kubeProxyVersion",
                "machineID",
                "operatingSystem",
                "osImage",
                "systemUUID",
            ),
            "",
        )
        | {"kubeletVersion": "v0-e2e"},
    }
    try:
        await api.post("/api/v1/nodes", node)
    except ApiError as error:
        if error.status != 409:
            raise
    await api.merge(f"/api/v1/nodes/{name}/status", {"status": status})


async def renew_lease(api: Api, name: str) -> None:
    """As kubelet does, so that a node controller, where there is one, takes the node for alive."""
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    while True:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": moment}
        try:
            try:
                await api.merge(f"{path}/{name}", {"spec": spec})
            except ApiError as error:
                if error.status != 404:
                    raise
                await api.post(path, {"metadata": {"name": name}, "spec": spec})
        except FAILURES as error:
            log.warning("lease: %s", error)
        await asyncio.sleep(RENEW_S)


async def schedule(api: Api, node: str) -> None:
    """Bind every pod that has no node to this one: the part of a scheduler that a single node needs."""
    async for change in api.follow("/api/v1/pods", fieldSelector="spec.nodeName="):
        pods = change.objects if isinstance(change, Listing) else (change.object,)
        gone = isinstance(change, Event) and change.kind == "DELETED"  # also: it has been bound
        for pod in () if gone else pods:
            target = {"apiVersion": "v1", "kind": "Node", "name": node}
            try:
                await api.post(
                    f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/binding",
                    {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name}, "target": target},
                )
            except FAILURES as error:
                log.warning("binding of %s: %s", pod.name, error)


async def run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    api = await Api.connect(arguments.kubeconfig)
    async with aiohttp.ClientSession() as http:
        directory = Directory(arguments.targets, arguments.endpoints)
        timing = Timing(tuple(arguments.sync))
        node = Node(api, ConfigMaps(api), directory, http, arguments.folder, arguments.logs, timing)
        agent = Agent(arguments.name, node)
        await register(api, arguments.name)
        loops = [agent.run(), renew_lease(api, arguments.name)]
        if arguments.scheduler_kubeconfig is not None:
            loops.append(schedule(await Api.connect(arguments.scheduler_kubeconfig), arguments.name))
        tasks = [asyncio.create_task(loop) for loop in [*loops, stop.wait()]]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await agent.close()
        for task in done:
            task.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--scheduler-kubeconfig", type=Path, help="bind unbound pods with these credentials")
    parser.add_argument("--folder", type=Path, required=True, help="pods' files")
    parser.add_argument("--logs", type=Path, required=True, help="containers' output")
    parser.add_argument("--targets", type=Path, required=True, help="written for Prometheus")
    parser.add_argument("--endpoints", type=Path, required=True, help="written for the load generator")
    parser.add_argument("--sync", type=float, nargs=2, default=(60.0, 90.0), metavar="SECONDS")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
