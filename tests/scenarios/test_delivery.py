"""How a payload reaches pods, and what is said of pods that it cannot reach."""

import json

import pytest

from e2e.objects import KubeObject

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
STAYS = ({"weight": 50, "duration": "1h"},)
NUDGE = "promptrollout.dev/nudge"
QUOTE = '"'  # two characters in JSON


def a_pod_without_sdk(application, **mount):
    """Selected like the others, but it never says what it serves."""
    volume = {"name": "prompt", "configMap": {"name": application.config_map, "optional": True}}
    container = {
        "name": "old",
        "image": "promptrollout.dev/e2e-serving:local",
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "volumeMounts": [{"name": "prompt", "mountPath": "/etc/prompts", **mount}],
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "silent", "labels": {"app": application.app}},
            "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1},
        }
    )


def nudges(stack, application):
    pods = stack.pods(application)
    return {pod.name: KubeObject(pod.mapping("metadata.annotations")).raw.get(NUDGE) for pod in pods}


def test_pods_that_come_and_go_during_a_step_serve_what_the_others_do(healthy):
    (
        healthy.steps(*STAYS)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(5_000)
        .the_deployment_is_scaled_to(4)
        .then()
        .all_pods_have_loaded_the_payload()
        .when()
        .the_deployment_is_scaled_to(1)
        .commanded("promote-full")
        .wait_for_phase("Healthy")
        .then()
        .all_pods_have_loaded_the_payload()
    )


def test_a_pod_that_goes_while_it_is_awaited_holds_nothing_up(healthy, application):
    (
        healthy.steps(*STAYS)
        .a_promoted_prompt(GOOD)
        .when()
        .kubectl("apply", "-f", "-", stdin=a_pod_without_sdk(application))
        .kubectl("wait", "--for=condition=Ready", "pod/silent", "--timeout=30s")
        .the_prompt_becomes(BETTER)
        .wait_for("the silent pod to be waited for", lambda s: "silent" in s.message)
        .kubectl("delete", "pod", "silent", "--wait=false")
        .wait_for_weight(5_000)
    )


def test_a_quorum_lets_the_others_go_on(healthy, application):
    (
        healthy.steps(*STAYS)
        .delivery(acknowledge={"quorum": "60%"})
        .a_promoted_prompt(GOOD)
        .when()
        .kubectl("apply", "-f", "-", stdin=a_pod_without_sdk(application))
        .kubectl("wait", "--for=condition=Ready", "pod/silent", "--timeout=30s")
        .the_prompt_becomes(BETTER)
        .wait_for_weight(5_000)
        .wait_for("two of three", lambda s: "2 of 3 pods" in s.condition("Delivered").text("message"))
        .wait_for_condition("Delivered")
    )


def test_a_pod_that_mounts_by_sub_path_is_named_with_the_cure(healthy, application):
    pod = a_pod_without_sdk(application, subPath="rollout.json")
    (
        healthy.steps(*STAYS)
        .a_promoted_prompt(GOOD)
        .when()
        .kubectl("apply", "-f", "-", stdin=pod)
        .kubectl("wait", "--for=condition=Ready", "pod/silent", "--timeout=30s")
        .the_prompt_becomes(BETTER)
        .wait_for("the pod to be named", lambda s: "subPath" in s.message)
        .then()
        .the_message_says("silent", "mount it as a directory")
        .the_highest_weight_was(0)
    )


def test_pods_without_the_sdk_are_taken_to_have_loaded_it_after_a_time(healthy):
    (
        healthy.steps({"weight": 50, "duration": "2s"})
        .delivery(acknowledge={"mode": "None", "assumeLoadedAfter": "2s"})
        .analysis(metrics=[], onInconclusive="Promote")
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_phase("Healthy")
        .then()
        .weights_were(0, 5_000, 0)
        .the_status("that is said", lambda s: s.condition("Delivered").text("reason") == "Assumed")
    )


def test_with_mode_mount_no_pod_is_touched(healthy, stack, application):
    (
        healthy.steps(*STAYS)
        .delivery(mode="Mount", acknowledge={"mode": "None", "assumeLoadedAfter": "1s"})
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(5_000)
    )
    assert set(nudges(stack, application).values()) == {None}


def test_two_prompts_that_do_not_fit_into_one_configmap_are_refused_with_their_sizes(healthy):
    (
        healthy.a_promoted_prompt(GOOD + QUOTE * 390_000)
        .when()
        .the_prompt_becomes(BETTER + QUOTE * 390_000)
        .wait_for_phase("Invalid")
        .then()
        .the_message_says("spec.prompt", "shorten the prompt", "What is delivered stays as it is")
        .weights_were()
    )
