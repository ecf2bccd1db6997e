"""From a template to the Job."""

import pytest

from promptrollout.gates.manifest import job_manifest
from promptrollout.gates.protocol import GateError

GATE = {"job": {"templateRef": {"name": "eval"}}}
TEMPLATE = {"spec": {"template": {"spec": {"containers": [{"name": "gate", "image": "x"}]}}}}


def pod_of(manifest):
    return manifest["spec"]["template"]["spec"]


def test_it_is_named_and_owned_by_its_run(run_of):
    job = job_manifest(run_of(GATE), TEMPLATE, 600)
    assert job["metadata"]["name"] == "support-0123456789"
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("uid-1", True)
    assert job["metadata"]["labels"]["promptrollout.dev/rollout"] == "support"
    assert job["spec"]["ttlSecondsAfterFinished"] == 600
    assert job["spec"]["backoffLimit"] == 0


def test_the_prompts_are_mounted_in_every_container(run_of):
    template = {
        "spec": {
            "template": {
                "spec": {"initContainers": [{"name": "a"}], "containers": [{"name": "b"}, {"name": "c"}]}
            }
        }
    }
    pod = pod_of(job_manifest(run_of(GATE), template, 1))
    for container in (*pod["initContainers"], *pod["containers"]):
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/etc/promptrollout"]
    (volume,) = pod["volumes"]
    maps = [source["configMap"] for source in volume["projected"]["sources"]]
    assert [(one["name"], one["items"][0]["path"], one["optional"]) for one in maps] == [
        ("support-rev-bbbb000000", "candidate.json", False),
        ("support-rev-aaaa000000", "stable.json", True),
        ("support-prompt", "rollout.json", True),
    ]


def test_it_gets_no_more_rights_than_it_asks_for(run_of):
    pod = pod_of(job_manifest(run_of(GATE), TEMPLATE, 1))
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_the_template_says_stays(run_of):
    container = {
        "name": "gate",
        "securityContext": {"allowPrivilegeEscalation": True},
        "env": [{"name": "PROMPTROLLOUT_GATE", "value": "mine"}],
        "volumeMounts": [{"name": "own", "mountPath": "/etc/promptrollout"}],
    }
    pod = {
        "containers": [container],
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": True,
        "securityContext": {"runAsNonRoot": False},
        "volumes": [{"name": "own", "emptyDir": {}}],
    }
    template = {
        "metadata": {"labels": {"team": "search"}},
        "spec": {"backoffLimit": 3, "ttlSecondsAfterFinished": 5, "template": {"spec": pod}},
    }
    made = job_manifest(run_of(GATE), template, 600)
    assert (made["spec"]["backoffLimit"], made["spec"]["ttlSecondsAfterFinished"]) == (3, 5)
    assert made["metadata"]["labels"]["team"] == "search"
    spec = pod_of(made)
    assert (spec["restartPolicy"], spec["automountServiceAccountToken"]) == ("OnFailure", True)
    assert spec["securityContext"]["runAsNonRoot"] is False
    assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is True
    assert [m["name"] for m in spec["containers"][0]["volumeMounts"]] == ["own"]
    assert [e["value"] for e in spec["containers"][0]["env"] if e["name"] == "PROMPTROLLOUT_GATE"] == ["mine"]


def test_a_template_is_not_changed_by_use(run_of):
    job_manifest(run_of(GATE), TEMPLATE, 1)
    assert TEMPLATE == {"spec": {"template": {"spec": {"containers": [{"name": "gate", "image": "x"}]}}}}


@pytest.mark.parametrize(
    "template", [{}, {"spec": []}, {"spec": {"template": {"spec": {"containers": ["x"]}}}}]
)
def test_a_template_that_is_none_says_so(run_of, template):
    with pytest.raises(GateError, match="template"):
        job_manifest(run_of(GATE), template, 1)
