"""Rollouts on a real API server: status is written whole, once, and only over the version that was seen."""

import asyncio
from dataclasses import replace

import pytest

from promptrollout.cluster.errors import Conflict, Fenced, Invalid, NotFound
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.objects import ObjectKey

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]

UNOBSERVED = {"observedGeneration": -1}
FULL = {
    "observedGeneration": 1,
    "phase": "Progressing",
    "message": "step 1/2 at 5 %",
    "pause": {"reason": "Command", "message": "waits", "since": "2026-11-23T22:00:00.000Z"},
    "conditions": [
        {
            "type": kind,
            "status": "False",
            "reason": "R",
            "message": "",
            "lastTransitionTime": "2026-11-23T22:00:00.000Z",
            "observedGeneration": 1,
        }
        for kind in ("Healthy", "Valid")
    ],
}


async def test_a_rollout_is_read_as_it_is_stored(new_rollout, namespace):
    rollout = await new_rollout(annotations={"promptrollout.dev/command": "pause:1"}, labels={"team": "a"})
    assert rollout.key == ObjectKey(namespace, "support")
    assert rollout.generation == 1
    assert rollout.spec["prompt"]["inline"]["text"] == "Hello"
    assert rollout.status == UNOBSERVED
    assert rollout.annotations["promptrollout.dev/command"] == "pause:1"
    assert rollout.labels == {"team": "a"}
    assert rollout.created_at is not None
    assert rollout.uid
    assert rollout.api_version == "promptrollout.dev/v1alpha1"
    assert rollout.kind == "PromptRollout"


async def test_a_rollout_that_is_not_there_is_none(cluster, namespace):
    assert await cluster.get_rollout(ObjectKey(namespace, "nobody")) is None
    assert await cluster.get_rollout(ObjectKey("no-such-namespace", "nobody")) is None


async def test_status_becomes_exactly_what_is_wanted_and_leaves_the_generation(new_rollout, cluster):
    rollout = await new_rollout()
    first = await cluster.patch_status(rollout, FULL)
    assert first.status == FULL
    wanted = {"observedGeneration": 1, "phase": "Healthy", "conditions": FULL["conditions"][:1]}
    second = await cluster.patch_status(first, wanted | {"pause": None})
    assert second.status == wanted
    assert (await cluster.get_rollout(rollout.key)).status == wanted
    assert second.generation == rollout.generation == 1
    assert second.resource_version != first.resource_version != rollout.resource_version


async def test_an_equal_status_is_not_written(new_rollout, cluster):
    first = await cluster.patch_status(await new_rollout(), FULL)
    assert await cluster.patch_status(first, dict(FULL)) is first


async def test_a_write_over_another_version_is_a_conflict_and_changes_nothing(new_rollout, cluster, kubectl):
    seen = await new_rollout()
    kubectl("annotate", "prollout", "support", "-n", seen.key.namespace, "a=b")
    with pytest.raises(Conflict):
        await cluster.patch_status(seen, FULL)
    assert (await cluster.get_rollout(seen.key)).status == UNOBSERVED


async def test_a_write_to_a_namesake_of_the_deleted_one_is_refused(new_rollout, cluster, kubectl):
    seen = await new_rollout()
    kubectl("delete", "prollout", "support", "-n", seen.key.namespace)
    with pytest.raises(NotFound):
        await cluster.patch_status(seen, FULL)
    await new_rollout()
    with pytest.raises(Conflict):
        await cluster.patch_status(seen, FULL)


async def test_a_status_against_the_schema_is_invalid_with_the_field(new_rollout, cluster):
    rollout = await new_rollout()
    with pytest.raises(Invalid, match="observedGeneration"):
        await cluster.patch_status(rollout, {"observedGeneration": "one"})


async def test_fields_that_the_crd_does_not_know_survive(new_rollout, cluster):
    """A newer operator's status, read by an older one and written again by the newer."""
    wanted = {"phase": "Healthy", "fromTheFuture": {"a": [1, {"b": True}]}}
    stored = await cluster.patch_status(await new_rollout(), wanted)
    assert stored.status == wanted
    assert (await cluster.patch_status(stored, wanted)) is stored


async def test_two_writers_of_one_version_are_not_both_right(new_rollout, cluster):
    seen = await new_rollout()
    results = await asyncio.gather(
        *(cluster.patch_status(seen, {"phase": "Healthy", "message": str(n)}) for n in range(8)),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7


async def test_a_list_goes_through_all_its_pages(new_rollout, cluster):
    for number in range(8):
        await new_rollout(f"r{number}")
    listed = [rollout async for rollout in cluster.list_rollouts()]
    assert [rollout.key.name for rollout in listed] == [f"r{n}" for n in range(8)]
    assert {rollout.kind for rollout in listed} == {"PromptRollout"}


async def test_deletion_is_seen_while_something_holds_the_object(new_rollout, cluster, kubectl):
    rollout = await new_rollout(finalizers=["example.com/hold"])
    kubectl("delete", "prollout", "support", "-n", rollout.key.namespace, "--wait=false")
    assert (await cluster.get_rollout(rollout.key)).deleted_at is not None
    kubectl(
        "patch", "prollout", "support", "-n", rollout.key.namespace, "--type=merge",
        "-p", '{"metadata":{"finalizers":null}}',
    )  # fmt: skip


async def test_who_may_not_write_writes_nothing(new_rollout, control_plane):
    rollout = await new_rollout()
    transport = await connect(control_plane.kubeconfig)
    async with KubeCluster(transport, instance="old-leader", may_write=lambda: False) as fenced:
        with pytest.raises(Fenced, match="does not lead"):
            await fenced.patch_status(rollout, FULL)
        assert (await fenced.get_rollout(rollout.key)).status == UNOBSERVED


async def test_a_made_up_version_is_a_conflict(new_rollout, cluster):
    rollout = await new_rollout()
    with pytest.raises(Conflict):
        await cluster.patch_status(replace(rollout, resource_version="1"), FULL)
