"""From the API's JSON to our objects, and what is changed in a ConfigMap."""

from datetime import UTC, datetime

import pytest

from promptrollout.cluster.mergepatch import apply_merge_patch
from promptrollout.cluster.objects import ConfigMapContent, ConfigMapMount, ObjectKey, Owner
from promptrollout.cluster.parsing import (
    NUDGE_ANNOTATION,
    configmap_changes,
    configmap_json,
    parse_configmap,
    parse_pod,
    parse_rollout,
)

KEY = ObjectKey("shop", "support-prompt")
OWNER = Owner("promptrollout.dev/v1alpha1", "PromptRollout", "support", "uid-1")
CONTENT = ConfigMapContent(
    KEY, {"rollout.json": "{}", "abc.json": "[]"}, OWNER, labels={"promptrollout.dev/rollout": "support"}
)

POD = {
    "metadata": {"namespace": "shop", "name": "web-0", "uid": "u", "annotations": {NUDGE_ANNOTATION: "7"}},
    "spec": {
        "volumes": [
            {"name": "prompt", "configMap": {"name": "support-prompt"}},
            {
                "name": "all",
                "projected": {"sources": [{"configMap": {"name": "flags"}}, {"secret": {"name": "s"}}]},
            },
            {"name": "scratch", "emptyDir": {}},
        ],
        "initContainers": [
            {"name": "check", "volumeMounts": [{"name": "prompt", "mountPath": "/p", "subPathExpr": "$(X)"}]}
        ],
        "containers": [
            {
                "name": "app",
                "volumeMounts": [
                    {"name": "prompt", "mountPath": "/etc/prompt"},
                    {"name": "prompt", "mountPath": "/one.json", "subPath": "rollout.json"},
                    {"name": "all", "mountPath": "/etc/all"},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
    },
}


def test_a_pod_shows_where_each_configmap_is_mounted_and_which_mounts_never_refresh():
    pod = parse_pod(POD)
    assert pod.mounts == (
        ConfigMapMount("support-prompt", "check", "/p", sub_path="$(X)"),
        ConfigMapMount("support-prompt", "app", "/etc/prompt"),
        ConfigMapMount("support-prompt", "app", "/one.json", sub_path="rollout.json"),
        ConfigMapMount("flags", "app", "/etc/all", projected=True),
    )
    assert [mount.refreshes for mount in pod.mounts] == [False, True, False, True]
    assert len(pod.mounting("support-prompt")) == 3
    assert pod.mounting("other") == ()


def test_a_pod_shows_its_state():
    pod = parse_pod(POD)
    assert (pod.ip, pod.ready, pod.terminating, pod.finished, pod.nudge) == (
        "10.0.0.7",
        True,
        False,
        False,
        "7",
    )
    dying = apply_merge_patch(
        POD,
        {
            "metadata": {"deletionTimestamp": "2026-11-23T22:00:00Z"},
            "status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]},
        },
    )
    pod = parse_pod(dying)
    assert (pod.ready, pod.terminating, pod.finished) == (False, True, True)


@pytest.mark.parametrize(
    "raw", [{}, {"metadata": None, "spec": "x", "status": []}, {"spec": {"volumes": [7]}}]
)
def test_a_malformed_object_reads_as_empty_and_never_raises(raw):
    assert parse_pod(raw).mounts == ()
    assert parse_rollout(raw).generation == 0
    assert parse_configmap(raw).data == {}


def test_a_rollout_is_read_with_all_that_a_decision_needs():
    rollout = parse_rollout(
        {
            "apiVersion": "promptrollout.dev/v1alpha1",
            "kind": "PromptRollout",
            "metadata": {
                "namespace": "shop",
                "name": "support",
                "uid": "u",
                "generation": 3,
                "resourceVersion": "77",
                "annotations": {"promptrollout.dev/command": "abort:1"},
                "creationTimestamp": "2026-11-23T22:00:00Z",
                "deletionTimestamp": "2026-11-23T23:00:00Z",
            },
            "spec": {"prompt": {}},
            "status": {"phase": "Healthy"},
        }
    )
    assert (rollout.generation, rollout.resource_version) == (3, "77")
    assert rollout.annotations["promptrollout.dev/command"] == "abort:1"
    assert rollout.deleted_at == datetime(2026, 11, 23, 23, tzinfo=UTC)
    assert rollout.ref.uid == rollout.as_owner.uid == "u"


def stored(**changes):
    """The ConfigMap as the server would give it back after our own creation, with foreign changes merged in."""
    raw = configmap_json(CONTENT)
    raw["metadata"] |= {"uid": "cm-1", "resourceVersion": "5"}
    return apply_merge_patch(raw, changes)


def repaired(raw):
    return apply_merge_patch(raw, configmap_changes(parse_configmap(raw), CONTENT))


def test_nothing_changes_in_a_configmap_that_is_as_it_shall_be():
    assert configmap_changes(parse_configmap(stored()), CONTENT) == {}


@pytest.mark.parametrize(
    "edit",
    [
        {"data": {"abc.json": "edited"}},
        {"data": {"abc.json": None}},
        {"data": {"stray.json": "x"}},
        {"data": None},
        {"binaryData": {"blob": "AAAA"}},
        {"metadata": {"labels": None}},
        {"metadata": {"ownerReferences": None}},
    ],
)
def test_any_foreign_edit_is_undone(edit):
    assert repaired(stored(**edit)) == stored()


def test_labels_annotations_and_owners_of_others_stay():
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "uid-9"}
    edited = stored(
        metadata={"labels": {"team": "a"}, "annotations": {"note": "b"}, "ownerReferences": [other]}
    )
    mended = parse_configmap(repaired(edited))
    assert mended.labels == {"team": "a", "promptrollout.dev/rollout": "support"}
    assert mended.annotations == {"note": "b"}
    assert [owner.uid for owner in mended.owners] == ["uid-9", "uid-1"]
    assert mended.controlled_by("uid-1")
