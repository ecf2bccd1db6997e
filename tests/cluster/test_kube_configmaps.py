"""ConfigMaps on a real API server: ours are made, repaired and deleted; another's is recognised."""

from dataclasses import replace

import pytest

from e2e.processes.supervisor import wait_until
from promptrollout.cluster.errors import AlreadyExists, Conflict, Invalid, NamespaceTerminating, NotFound
from promptrollout.cluster.objects import ConfigMapContent, ObjectKey

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]


@pytest.fixture
async def content(new_rollout):
    rollout = await new_rollout()
    return ConfigMapContent(
        key=ObjectKey(rollout.key.namespace, "support-prompt"),
        data={"rollout.json": "{}", "abc.json": "[1]"},
        owner=rollout.as_owner,
        labels={"promptrollout.dev/rollout": "support"},
        annotations={"promptrollout.dev/note": "x"},
    )


async def test_what_is_created_is_what_is_read(cluster, content):
    created = await cluster.create_configmap(content)
    read = await cluster.get_configmap(content.key)
    assert read == created
    assert dict(read.data) == content.data
    assert dict(read.labels) == content.labels
    assert dict(read.annotations) == content.annotations
    assert read.controlled_by(content.owner.uid)
    assert not read.immutable


async def test_one_that_is_not_there_is_none(cluster, namespace):
    assert await cluster.get_configmap(ObjectKey(namespace, "nothing")) is None


async def test_another_of_that_name_is_recognised_and_not_overwritten(cluster, content, kubectl):
    namespace = content.key.namespace
    kubectl("create", "configmap", "support-prompt", "-n", namespace, "--from-literal=theirs=1")
    with pytest.raises(AlreadyExists):
        await cluster.create_configmap(content)
    found = await cluster.get_configmap(content.key)
    assert not found.controlled_by(content.owner.uid)
    assert dict(found.data) == {"theirs": "1"}


async def test_an_update_writes_the_difference_and_only_if_there_is_one(cluster, content):
    created = await cluster.create_configmap(content)
    assert await cluster.update_configmap(created, content) is created
    changed = replace(content, data={"rollout.json": "{}", "def.json": "[2]"})
    updated = await cluster.update_configmap(created, changed)
    assert dict(updated.data) == changed.data
    assert updated.uid == created.uid
    assert updated.resource_version != created.resource_version


async def test_a_foreign_edit_is_a_conflict_and_then_repaired(cluster, content, kubectl):
    created = await cluster.create_configmap(content)
    kubectl(
        "patch", "configmap", "support-prompt", "-n", content.key.namespace, "--type=merge", "-p",
        '{"data":{"abc.json":null,"evil.json":"x"},"binaryData":{"b":"AAAA"},"metadata":{"ownerReferences":null}}',
    )  # fmt: skip
    with pytest.raises(Conflict):
        await cluster.update_configmap(created, replace(content, data={"rollout.json": "{}"}))
    edited = await cluster.get_configmap(content.key)
    repaired = await cluster.update_configmap(edited, content)
    assert dict(repaired.data) == content.data
    assert repaired.binary_keys == ()
    assert repaired.controlled_by(content.owner.uid)


async def test_a_namesake_that_took_its_place_is_not_written(cluster, content, kubectl):
    created = await cluster.create_configmap(content)
    kubectl("delete", "configmap", "support-prompt", "-n", content.key.namespace)
    with pytest.raises(NotFound):
        await cluster.update_configmap(created, replace(content, data={}))
    kubectl("create", "configmap", "support-prompt", "-n", content.key.namespace, "--from-literal=theirs=1")
    with pytest.raises(Conflict):
        await cluster.update_configmap(created, replace(content, data={}))
    with pytest.raises(Conflict):
        await cluster.delete_configmap(created)
    assert dict((await cluster.get_configmap(content.key)).data) == {"theirs": "1"}


async def test_an_immutable_one_cannot_be_changed_but_deleted_and_made_again(cluster, content):
    sealed = replace(content, key=ObjectKey(content.key.namespace, "support-rev-abc"), immutable=True)
    created = await cluster.create_configmap(sealed)
    assert created.immutable
    with pytest.raises(Invalid, match="immutable"):
        await cluster.update_configmap(created, replace(sealed, data={"x": "y"}))
    await cluster.delete_configmap(created)
    assert await cluster.get_configmap(sealed.key) is None
    assert (await cluster.create_configmap(sealed)).uid != created.uid


async def test_deleting_twice_is_fine(cluster, content):
    created = await cluster.create_configmap(content)
    await cluster.delete_configmap(created)
    await cluster.delete_configmap(created)


LIMIT = 1024 * 1024


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_the_biggest_that_the_server_takes_is_taken_and_one_byte_more_is_told_with_the_sizes(
    cluster, content
):
    biggest = {"a.json": "x" * (LIMIT - 2), "b.json": "ü"}
    await cluster.create_configmap(replace(content, data=biggest))
    with pytest.raises(Invalid, match=r"1,048,577 bytes in all.*a\.json 1,048,575, b\.json 2"):
        await cluster.create_configmap(replace(content, data={**biggest, "a.json": "x" * (LIMIT - 1)}))


async def test_a_revisions_configmaps_are_listed_by_label_page_by_page(cluster, content, kubectl):
    namespace = content.key.namespace
    for number in range(7):
        await cluster.create_configmap(replace(content, key=ObjectKey(namespace, f"support-rev-{number}")))
    kubectl("create", "configmap", "unrelated", "-n", namespace)
    listed = [
        found async for found in cluster.list_configmaps(namespace, {"promptrollout.dev/rollout": "support"})
    ]
    assert [found.key.name for found in listed] == [f"support-rev-{n}" for n in range(7)]
    assert all(found.data for found in listed)


async def test_a_deleted_rollout_takes_its_configmaps_with_it(cluster, content, kubectl):
    await cluster.create_configmap(content)
    namespace = content.key.namespace
    kubectl("delete", "prollout", "support", "-n", namespace)
    wait_until(
        lambda: kubectl.find("configmap", "support-prompt", "-n", namespace) is None,
        "the garbage collector to delete the ConfigMap",
        60,
        pause=0.2,
    )


async def test_a_namespace_that_is_being_deleted_is_told_apart_from_a_missing_right(
    cluster, content, kubectl
):
    namespace = content.key.namespace
    kubectl(
        "patch", "prollout", "support", "-n", namespace, "--type=merge",
        "-p", '{"metadata":{"finalizers":["example.com/hold"]}}',
    )  # fmt: skip
    kubectl("delete", "namespace", namespace, "--wait=false")
    try:
        with pytest.raises(NamespaceTerminating):
            await cluster.create_configmap(replace(content, key=ObjectKey(namespace, "late")))
    finally:
        kubectl(
            "patch", "prollout", "support", "-n", namespace, "--type=merge",
            "-p", '{"metadata":{"finalizers":null}}',
        )  # fmt: skip


async def test_one_config_map_is_watched_by_its_name_from_before_it_exists_to_after_its_end(
    cluster, namespace, kubectl
):
    def config_map(name, text):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": text}}

    large = "x" * 400_000  # more than one read of the connection
    seen = cluster.watch_configmap(ObjectKey(namespace, "theirs"))
    assert await anext(seen) is None
    kubectl.apply(config_map("other", "nobody asked"), "-n", namespace)
    for text in ("one", large):
        kubectl.apply(config_map("theirs", text), "-n", namespace)
        assert (await anext(seen)).data == {"k": text}
    kubectl("delete", "configmap", "theirs", "-n", namespace)
    assert await anext(seen) is None
    await seen.aclose()
