"""Events, leases, rights and outages on a real API server."""

import asyncio
import contextlib

import pytest

from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.access import missing_permissions, needed
from promptrollout.cluster.errors import Unavailable
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.lease import LeaderElection, LeadershipLostError, Timing
from promptrollout.cluster.login import LoginError, load_configuration
from promptrollout.cluster.objects import ObjectKey
from promptrollout.cluster.transport import Limits

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]

#: As fast as a busy machine, whose disk etcd waits for, can follow.
FAST = Timing(lease=4, renew_deadline=3, retry=0.2)


async def written(cluster):
    """All that was emitted is written when the recorder has closed."""
    await cluster.events.close()
    assert cluster.events.dropped == 0


async def test_an_event_is_what_kubectl_describe_shows(new_rollout, cluster, kubectl):
    rollout = await new_rollout()
    cluster.emit(rollout.ref, "Warning", "RolledBack", "errors 12 % against 2 %")
    await written(cluster)
    shown = kubectl("describe", "prollout", "support", "-n", rollout.key.namespace)
    assert "RolledBack" in shown
    assert "errors 12 % against 2 %" in shown


async def test_a_repeated_event_is_one_object_with_a_count(new_rollout, cluster, kubectl):
    rollout = await new_rollout()
    for _ in range(20):
        cluster.emit(rollout.ref, "Normal", "StepCompleted", "step 1/3")
    await written(cluster)
    (event,) = kubectl.get("events.events.k8s.io", "-n", rollout.key.namespace).items("items")
    assert event.number("series.count") == 20
    assert event.text("regarding.uid") == rollout.uid
    assert event.text("reportingController") == "promptrollout.dev/operator"
    assert event.text("reportingInstance") == "test-0"


async def test_a_long_message_is_cut_rather_than_lost(new_rollout, cluster, kubectl):
    rollout = await new_rollout()
    cluster.emit(rollout.ref, "Normal", "Long", "ü" * 5000)
    await written(cluster)
    (event,) = kubectl.get("events.events.k8s.io", "-n", rollout.key.namespace).items("items")
    assert event.text("note").endswith("ü…")


def election(cluster, namespace, name, lost):
    return LeaderElection(
        cluster.leases, ObjectKey(namespace, "operator"), name, timing=FAST, on_lost=lost.append
    )


@contextlib.asynccontextmanager
async def holding(candidate):
    task = asyncio.create_task(candidate.hold())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_of_many_candidates_leads_and_the_next_follows_at_once_after_release(
    cluster, namespace, kubectl
):
    lost = []
    candidates = [election(cluster, namespace, f"pod-{n}", lost) for n in range(5)]
    waiting = {candidate: asyncio.create_task(candidate.acquire()) for candidate in candidates}
    await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
    (leader,) = [candidate for candidate in candidates if candidate.leading]
    async with holding(leader):
        others = [task for candidate, task in waiting.items() if candidate is not leader]
        await asyncio.wait(others, timeout=4.5)
        assert sum(candidate.leading for candidate in candidates) == 1
    lease = kubectl.get("lease", "operator", "-n", namespace)
    assert lease.text("spec.holderIdentity").startswith("pod-")
    await leader.release()
    await asyncio.wait(others, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    assert sum(candidate.leading for candidate in candidates) == 1
    assert not leader.leading
    assert kubectl.get("lease", "operator", "-n", namespace).number("spec.leaseTransitions") >= 1
    for task in others:
        task.cancel()
    assert lost == []


async def test_a_lease_taken_away_by_kubectl_ends_the_leadership(cluster, namespace, kubectl):
    lost = []
    leader = election(cluster, namespace, "pod-0", lost)
    await leader.acquire()
    async with holding(leader) as task:
        kubectl(
            "patch", "lease", "operator", "-n", namespace, "--type=merge",
            "-p", '{"spec":{"holderIdentity":"admin"}}',
        )  # fmt: skip
        with pytest.raises(LeadershipLostError, match="admin holds"):
            await asyncio.wait_for(task, 20)
    assert len(lost) == 1


@contextlib.asynccontextmanager
async def frozen(control_plane):
    """Connections stay open and nothing answers; afterwards those that were given up can end."""
    control_plane.api_server.pause()
    try:
        yield
    finally:
        control_plane.api_server.resume()
        await asyncio.sleep(0.2)  # for TLS' goodbye, which asyncio waits for on each of them


async def test_a_frozen_api_server_ends_the_leadership_at_its_deadline(control_plane, cluster, namespace):
    lost = []
    leader = election(cluster, namespace, "pod-0", lost)
    await leader.acquire()
    async with holding(leader) as task, frozen(control_plane):
        with pytest.raises(LeadershipLostError, match=r"not renewed for 3 s"):
            await asyncio.wait_for(task, 20)
    assert len(lost) == 1
    assert not leader.leading


async def test_a_frozen_api_server_is_unavailable_and_then_there_again(control_plane, namespace):
    limits = Limits(attempt=0.3, deadline=0.6)
    async with KubeCluster(
        await connect(control_plane.kubeconfig, limits=limits), instance="test"
    ) as impatient:
        assert await impatient.pods(namespace) == ()
        async with frozen(control_plane):
            with pytest.raises(Unavailable, match="list pods"):
                await impatient.pods(namespace)
    async with KubeCluster(await connect(control_plane.kubeconfig), instance="test") as patient:
        assert await patient.pods(namespace) == ()


ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator}
rules:
%s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects: [{kind: ServiceAccount, name: operator}]
"""


async def test_missing_rights_are_found_and_the_rules_it_names_cure_them(control_plane, namespace, kubectl):
    kubectl("create", "serviceaccount", "operator", "-n", namespace)
    rights = needed(DeliveryMode.NUDGE, lease="operator", cluster_policies=False)
    where = {"namespaces": [namespace], "own_namespace": namespace}
    async with KubeCluster(
        await connect(control_plane.kubeconfig_for(namespace, "operator")), instance="operator"
    ) as weak:
        missing = await missing_permissions(weak.access, rights, **where)
        assert len(missing) == len(rights)
        rules = "\n".join(item.rule() for item in missing)
        kubectl.apply(ROLE % rules, "-n", namespace)

        async def cured():
            return not await missing_permissions(weak.access, rights, **where)

        for _ in range(50):
            if await cured():
                break
            await asyncio.sleep(0.1)  # the authorizer learns of a new role by a watch
        assert await cured()
        elsewhere = await missing_permissions(weak.access, rights, namespaces=["default"], own_namespace="x")
        assert {item.namespace for item in elsewhere} == {"default", "x"}


async def test_an_administrator_lacks_nothing_anywhere(cluster):
    assert await missing_permissions(cluster.access, needed(DeliveryMode.NUDGE, lease="x")) == ()


async def test_credentials_come_from_the_variable_kubeconfig_and_their_absence_is_told(
    control_plane, tmp_path
):
    found = await load_configuration(environment={"KUBECONFIG": str(control_plane.kubeconfig)})
    assert found.host == control_plane.server
    with pytest.raises(LoginError, match="--kubeconfig or KUBECONFIG"):
        await load_configuration(tmp_path / "missing")
