"""One pod on the node: its volumes kept up to date, its containers run, its status reported, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from e2e.objects import KubeObject
from e2e.workload.configmaps import ConfigMaps
from e2e.workload.container import Container, parse_container
from e2e.workload.directory import Directory, Endpoint
from e2e.workload.projector import project
from e2e.workload.status import pod_status
from e2e.workload.watching import FAILURES, Api, ApiError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """When the node looks again. Defaults are kubelet's.

    `sync_s`: a pod is synced at a random time in this range after its last sync (syncFrequency 60 s times 1 to 1.5).
    `tick_s`: the volume manager's two loops, one after the other, notice a sync and rewrite the files.
    """

    sync_s: tuple[float, float] = (60.0, 90.0)
    tick_s: float = 0.1

    def until_next_sync(self) -> float:
        return random.uniform(*self.sync_s)  # noqa: S311 - spreads load

    def volume_delay(self) -> float:
        return random.uniform(0, self.tick_s) + random.uniform(0, self.tick_s)  # noqa: S311


@dataclass(frozen=True)
class Node:
    """What all pods of the node share."""

    api: Api
    config_maps: ConfigMaps
    directory: Directory
    http: aiohttp.ClientSession
    folder: Path
    logs: Path
    timing: Timing


def worth_a_sync(old: KubeObject, new: KubeObject) -> bool:
    """Whether a change of the Pod object makes kubelet sync the pod: spec, labels, annotations or deletion, not status.

    As podsDifferSemantically in kubelet's pkg/kubelet/config/config.go.
    """
    watched = ("spec", "metadata.labels", "metadata.annotations")
    return any(old.mapping(path) != new.mapping(path) for path in watched) or old.text(
        "metadata.deletionTimestamp"
    ) != new.text("metadata.deletionTimestamp")


def _config_maps(volume: KubeObject) -> Sequence[KubeObject]:
    """The ConfigMaps that a volume is made of, alone or projected together."""
    if alone := volume.mapping("configMap"):
        return [KubeObject(alone)]
    projected = [source.mapping("configMap") for source in volume.items("projected.sources")]
    return [KubeObject(source) for source in projected if source]


class Pod:
    """The worker of one pod: `run` it as a task, tell it of changes by `update`, cancel it when the object is gone."""

    def __init__(self, pod: KubeObject, node: Node) -> None:
        self.pod = pod
        self._node = node
        self._folder = node.folder / pod.uid
        self._logs = node.logs / f"{pod.namespace}_{pod.name}"
        self._sync_wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._deleted = asyncio.Event()
        self._reported: Mapping[str, Any] = {}
        self._containers: list[Container] = []

    def update(self, pod: KubeObject) -> None:
        if worth_a_sync(self.pod, pod):
            self._sync_wanted.set()
        self.pod = pod
        if pod.text("metadata.deletionTimestamp"):
            self._deleted.set()

    async def run(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.update(self.pod)
        self._containers = [
            Container(
                parse_container(
                    self.pod, container, self._folder, self._logs / f"{container.text('name')}.log"
                ),
                self._changed.set,
                self._node.http,
            )
            for container in self.pod.items("spec.containers")
        ]
        self._changed.set()
        tasks = [asyncio.create_task(self._report()), asyncio.create_task(self._live())]
        try:
            await self._deleted.wait()
            await self._end()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(container.end(0.0) for container in self._containers))
            self._node.directory.remove(self.pod.namespace, self.pod.name)
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _live(self) -> None:
        await self._mount()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_volumes())
            for container in self._containers:
                group.create_task(container.run())

    # Volumes

    async def _mount(self) -> None:
        """The first time: containers start when every required ConfigMap is there."""
        pause = 0.25
        while not await self._project():
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)

    async def _keep_volumes(self) -> None:
        """Sync at the node's pace, and soon after a change of the Pod object.

        The ConfigMap is read when the volume is rewritten, from a watch of its own: a nudge can overtake it.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sync_wanted.wait(), self._node.timing.until_next_sync())
            self._sync_wanted.clear()
            await asyncio.sleep(self._node.timing.volume_delay())
            await self._project()

    async def _project(self) -> bool:
        """Write all ConfigMap volumes; False when a required one is missing (what is there stays)."""
        paths = {
            mount.text("name"): mount.text("mountPath")
            for container in self.pod.items("spec.containers")
            for mount in container.items("volumeMounts")
        }
        complete = True
        for volume in self.pod.items("spec.volumes"):
            target = self._folder / paths.get(volume.name or volume.text("name"), "unmounted").lstrip("/")
            sources = _config_maps(volume)
            if not sources:
                target.mkdir(parents=True, exist_ok=True)
                continue
            found = [await self._files(source) for source in sources]
            if any(files is None for files in found):
                complete = False
            else:
                project(target, {name: text for files in found if files for name, text in files.items()})
        return complete

    async def _files(self, source: KubeObject) -> Mapping[str, bytes] | None:
        """The files of one source of a volume; None when a required one is missing."""
        files = await self._node.config_maps.read(self.pod.namespace, source.text("name"))
        items = source.items("items")
        optional = source.raw.get("optional") is True
        if files is None or any(item.text("key") not in files for item in items):
            return {} if optional else None
        return {item.text("path"): files[item.text("key")] for item in items} if items else files

    # Status

    async def _report(self) -> None:
        """Patch the status whenever a container changed; try again while the server is away."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._publish()
            if not await self._patch_status():
                await asyncio.sleep(0.5)
                self._changed.set()

    async def _patch_status(self) -> bool:
        states = [container.state for container in self._containers]
        before = KubeObject({**self.pod.raw, "status": self._reported})
        status = pod_status(before, states, datetime.now(UTC), terminating=self._deleted.is_set())
        if status == self._reported:
            return True
        try:  # the answer is not kept: an annotation that it brings would no longer look new when the watch brings it
            await self._node.api.merge(f"{self._path}/status", {"status": status})
        except ApiError as error:
            return error.status == 404
        except FAILURES as error:
            log.warning("status of %s: %s", self.pod.name, error)
            return False
        self._reported = status
        return True

    def _publish(self) -> None:
        """Tell Prometheus and the load generator where the pod answers."""
        listening = next((c for c in self._containers if c.spec.port is not None), None)
        if listening is None or not listening.state.running or self._deleted.is_set():
            self._node.directory.remove(self.pod.namespace, self.pod.name)
            return
        self._node.directory.put(
            Endpoint(
                namespace=self.pod.namespace,
                pod=self.pod.name,
                address=f"127.0.0.1:{listening.spec.port}",
                ready=listening.state.ready,
                scraped=self.pod.texts("metadata.annotations").get("prometheus.io/scrape") == "true",
                labels=self.pod.texts("metadata.labels"),
            )
        )

    # End

    async def _end(self) -> None:
        """Out of the directory first, then TERM, then the object itself goes, as kubelet confirms it."""
        self._publish()
        grace = self.pod.number("metadata.deletionGracePeriodSeconds")
        await asyncio.gather(*(container.end(grace) for container in self._containers))
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod.uid}}
        while True:
            try:
                await self._node.api.delete(self._path, options)
            except ApiError as error:
                if error.status not in {404, 409}:
                    log.warning("deletion of %s: %s", self.pod.name, error)
                    await asyncio.sleep(0.5)
                    continue
            except FAILURES as error:
                log.warning("deletion of %s: %s", self.pod.name, error)
                await asyncio.sleep(0.5)
                continue
            return

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.pod.namespace}/pods/{self.pod.name}"
