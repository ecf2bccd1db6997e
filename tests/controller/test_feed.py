"""The feed on a real API server."""

import asyncio
import contextlib
import os
import re
import signal

import pytest

from e2e.controlplane.kubectl import CommandError
from e2e.processes.supervisor import wait_until
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller import feed as room
from promptrollout.controller.feed import Feed, WatchLostError, kopf_login, kopf_settings
from promptrollout.controller.telemetry import Telemetry
from tests.controller.conftest import CRDS, Link, rollout_manifest, until

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]

READ = [
    {"apiGroups": ["promptrollout.dev"], "resources": ["promptrollouts"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]},
]


class Intake:
    def __init__(self):
        self.rollouts, self.configmaps, self.gone = {}, {}, []

    def rollout_changed(self, seen):
        self.rollouts[seen.key.name] = seen

    def rollout_gone(self, key):
        self.rollouts.pop(key.name, None)
        self.gone.append(key.name)

    def configmap_changed(self, seen, *, gone):
        self.configmaps[seen.key.name] = "gone" if gone else dict(seen.data)


class Running:
    """A feed at work for the length of a block; `every` seconds between lists."""

    def __init__(self, kubeconfig, namespace, every=3600.0):
        self.kubeconfig, self.namespaces, self.every = kubeconfig, [namespace], every
        self.intake, self.telemetry, self.starts = Intake(), Telemetry(), 0

    async def __aenter__(self):
        transport = await connect(self.kubeconfig)
        self.cluster = KubeCluster(transport, instance="test", namespaces=self.namespaces)
        self.feed = Feed(
            self.intake,
            self.cluster,
            kopf_login(self.kubeconfig),
            self.telemetry,
            namespaces=self.namespaces,
            on_start=self._started,
        )
        self.task = asyncio.create_task(self.feed.run(self.every))
        return self

    def _started(self):
        self.starts += 1

    async def __aexit__(self, *_):
        self.feed.stop()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.cluster.close()

    async def ready(self):
        await until(lambda: self.task.done() or not self.feed.ready, "the feed to be ready")
        assert not self.task.done()

    def count(self, metric, **labels):
        return (
            self.telemetry.registry.get_sample_value(f"promptrollout_operator_{metric}_total", labels) or 0.0
        )

    async def hears(self, resource, kinds, times=1):
        """Until the watch has brought so many events of one of these kinds."""

        def heard():
            return sum(self.count("watch_events", resource=resource, type=kind) for kind in kinds.split())

        await until(lambda: heard() >= times, f"{kinds} of {resource}")


def config_map(namespace, name, **labels):
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}


def created(kubectl, manifest):
    with contextlib.suppress(CommandError):
        return bool(kubectl.create(manifest))
    return False


OURS = {"app.kubernetes.io/managed-by": "prompt-rollout", "promptrollout.dev/kind": "payload"}


async def test_with_read_rights_in_one_namespace_all_is_told_and_nothing_is_written(
    account, kubectl, namespace
):
    kubectl.create(rollout_manifest(namespace, "before"))
    kubectl.create(config_map(namespace, "ours", **OURS))
    kubectl.create(config_map(namespace, "another"))
    async with Running(account(READ), namespace) as running:
        await running.ready()
        assert set(running.intake.rollouts) == {"before"}
        assert running.intake.configmaps == {"ours": {"a": "1"}}
        await running.hears("promptrollouts", "LISTED")
        kubectl.create(rollout_manifest(namespace, "after"))
        await until(lambda: "after" in running.intake.rollouts, "the new rollout")
        kubectl("label", "prollout", "after", "-n", namespace, "colour=blue")
        await until(lambda: running.intake.rollouts["after"].labels, "the changed rollout")
        kubectl("delete", "prollout", "before", "-n", namespace)
        kubectl("delete", "configmap", "ours", "another", "-n", namespace)
        await until(lambda: "before" in running.intake.gone, "the deleted rollout")
        await until(lambda: running.intake.configmaps["ours"] == "gone", "the deleted ConfigMap")
        assert set(running.intake.configmaps) == {"ours"}
        told = running.intake.rollouts["after"]
    stored = kubectl.get("prollout", "after", "-n", namespace)
    assert stored.resource_version == told.resource_version, "nobody has written since"
    assert not stored.mapping("metadata.annotations")
    assert stored.text("metadata.finalizers") == ""


async def test_a_configmap_that_loses_its_label_counts_as_gone(control_plane, kubectl, namespace):
    kubectl.create(config_map(namespace, "ours", **OURS))
    async with Running(control_plane.kubeconfig, namespace) as running:
        await running.hears("configmaps", "LISTED")
        kubectl("label", "configmap", "ours", "-n", namespace, "app.kubernetes.io/managed-by-")
        await until(lambda: running.intake.configmaps["ours"] == "gone", "the stripped ConfigMap")


async def test_an_object_that_is_deleted_and_made_anew_at_once_ends_as_the_new_one(
    control_plane, kubectl, namespace
):
    kubectl.create(rollout_manifest(namespace, "first"))
    async with Running(control_plane.kubeconfig, namespace) as running:
        await running.hears("promptrollouts", "LISTED")
        for _ in range(5):
            kubectl.create(rollout_manifest(namespace))
            kubectl("delete", "prollout", "support", "-n", namespace, "--wait=false")
        kubectl.create(rollout_manifest(namespace))
        uid = kubectl.get("prollout", "support", "-n", namespace).uid
        await until(
            lambda: "support" in running.intake.rollouts and running.intake.rollouts["support"].uid == uid,
            "the last",
        )
        await running.hears("promptrollouts", "DELETED", 5)
        assert running.intake.rollouts["support"].uid == uid


async def test_without_the_crd_it_says_so_waits_and_begins_when_it_comes(
    control_plane, kubectl, namespace, caplog
):
    kubectl("delete", "-f", str(CRDS), "--wait=true")
    try:
        async with Running(control_plane.kubeconfig, namespace) as running:
            await until(lambda: "apply crds/" in running.feed.ready, "the missing CRD to be told")
            kubectl.apply(CRDS)
            await running.ready()
            wait_until(lambda: created(kubectl, rollout_manifest(namespace)), "the kind to be known", 30.0)
            await until(lambda: "support" in running.intake.rollouts, "the first rollout")
            await running.hears("promptrollouts", "LISTED ADDED")
    finally:
        kubectl.apply(CRDS)
        kubectl.wait_for_kind()
    assert sum("CustomResourceDefinition" in line for line in caplog.messages) == 1


async def test_deletions_that_a_broken_watch_lost_are_repaired_by_the_list(
    control_plane, kubectl, namespace, restart_api_server, tmp_path
):
    kubectl.create(rollout_manifest(namespace, "doomed"))
    kubectl.create(rollout_manifest(namespace, "kept"))
    kubectl.create(config_map(namespace, "payload", **OURS))
    async with Link(control_plane.server) as link:
        kubeconfig = link.kubeconfig(control_plane.kubeconfig, tmp_path / "linked")
        async with Running(kubeconfig, namespace) as running:
            await running.hears("promptrollouts", "LISTED", 2)
            await running.hears("configmaps", "LISTED")
            link.cut()
            kubectl("delete", "prollout", "doomed", "-n", namespace)
            kubectl("delete", "configmap", "payload", "-n", namespace)
            kubectl("label", "prollout", "kept", "-n", namespace, "colour=blue")
            restart_api_server()
            link.mend()
            await until(lambda: running.intake.rollouts["kept"].labels, "the watch to come back")
            await running.hears(
                "promptrollouts", "LISTED", 3
            )  # 410: listed anew, without a word of what went
            assert "doomed" in running.intake.rollouts
            await running.feed.resync()
            assert set(running.intake.rollouts) == {"kept"}
            assert running.intake.configmaps["payload"] == "gone"
            assert running.count("repairs", resource="promptrollouts") == 1
            assert running.count("repairs", resource="configmaps") == 1
            assert not running.task.done()


async def test_a_restart_of_the_api_server_is_outlived(control_plane, kubectl, namespace, restart_api_server):
    async with Running(control_plane.kubeconfig, namespace) as running:
        await running.ready()
        restart_api_server()
        kubectl.create(rollout_manifest(namespace))
        await until(lambda: "support" in running.intake.rollouts, "the watch to come back")
        assert not running.task.done()


async def test_an_outage_in_which_the_watch_cannot_even_start_is_waited_out(
    control_plane, kubectl, namespace, tmp_path, monkeypatch, caplog
):
    def impatient():
        settings = kopf_settings()
        settings.networking.error_backoffs = ()
        return settings

    monkeypatch.setattr(room, "kopf_settings", impatient)
    monkeypatch.setattr(room, "_RETRY_S", 0.05)
    async with Link(control_plane.server) as link:
        kubeconfig = link.kubeconfig(control_plane.kubeconfig, tmp_path / "linked")
        async with Running(kubeconfig, namespace) as running:
            await running.ready()
            link.cut()
            running.feed._restart.set()
            await until(lambda: "the watch ended" in caplog.text, "kopf to fail")
            kubectl.create(rollout_manifest(namespace))
            link.mend()
            await running.hears("promptrollouts", "LISTED ADDED")
            assert "support" in running.intake.rollouts
            assert caplog.text.count("the watch ended") < 5


async def test_credentials_that_the_server_refuses_are_read_again_until_it_takes_them(
    account, kubectl, namespace, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(room, "_RETRY_S", 0.05)
    good = account(READ).read_text()
    kubeconfig = tmp_path / "rotated"
    kubeconfig.write_text(good)
    async with Running(kubeconfig, namespace) as running:
        await running.ready()
        kubeconfig.write_text(re.sub(r'"token": "[^"]*"', '"token": "expired"', good))
        running.feed._restart.set()
        await until(lambda: "refused the watch's credentials" in caplog.text, "the refusal")
        kubeconfig.write_text(good)
        kubectl.create(rollout_manifest(namespace))
        await running.hears("promptrollouts", "LISTED ADDED")
        assert "the watch ended" not in caplog.text


async def test_a_watch_that_fails_again_and_again_though_the_server_answers_is_given_up(
    control_plane, namespace, monkeypatch
):
    def refused():
        raise RuntimeError("kopf cannot start")

    monkeypatch.setattr(room, "kopf_settings", refused)
    monkeypatch.setattr(room, "_RETRY_S", 0.01)
    async with Running(control_plane.kubeconfig, namespace) as running:
        await until(running.task.done, "the feed to give up")
        with pytest.raises(WatchLostError, match="5 times in a row: kopf cannot start"):
            await running.task
        running.task = asyncio.create_task(asyncio.sleep(0))


async def test_a_watch_that_is_started_anew_leaves_no_task_behind_and_ends_none_of_ours(
    control_plane, kubectl, namespace
):
    kubectl.create(config_map(namespace, "ours", **OURS))
    async with Running(control_plane.kubeconfig, namespace) as running:
        await running.hears("configmaps", "LISTED")
        await asyncio.sleep(1.5)  # until kopf has all its tasks, and its idle workers have gone
        before = len(asyncio.all_tasks())
        ours = asyncio.create_task(asyncio.Event().wait())
        for _ in range(3):
            started = running.starts
            running.feed._restart.set()
            await until(lambda: running.starts > started, "kopf to be started anew")  # noqa: B023 - awaited here
        kubectl.create(rollout_manifest(namespace))
        await running.hears("promptrollouts", "LISTED ADDED")
        # Ours, and idle workers of single objects.
        await until(
            lambda: len(asyncio.all_tasks()) <= before + 4, "the tasks of kopf's earlier starts to go"
        )
        assert not ours.done()
        ours.cancel()


async def test_the_process_keeps_its_own_signal_handlers(control_plane, namespace):
    caught = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with Running(control_plane.kubeconfig, namespace) as running:
        running.feed._on_start = lambda: loop.add_signal_handler(signal.SIGTERM, caught.set)
        await running.ready()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(caught.is_set, "our own handler", 5.0)
        assert not running.feed.ready
    loop.remove_signal_handler(signal.SIGTERM)
    loop.remove_signal_handler(signal.SIGINT)


async def test_it_ends_within_seconds(control_plane, kubectl, namespace):
    for number in range(20):
        kubectl.create(rollout_manifest(namespace, f"support-{number}"))
    async with Running(control_plane.kubeconfig, namespace) as running:
        await running.hears("promptrollouts", "LISTED", 20)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 15.0  # kopf by itself would take its time


async def test_it_reads_keys_as_the_rest_of_the_operator_does(control_plane, kubectl, namespace):
    kubectl.create(rollout_manifest(namespace))
    async with Running(control_plane.kubeconfig, namespace) as running:
        await running.hears("promptrollouts", "LISTED")
        told = running.intake.rollouts["support"]
        assert told.key == ObjectKey(namespace, "support")
        assert told == await running.cluster.get_rollout(told.key)
