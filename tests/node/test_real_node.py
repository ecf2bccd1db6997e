"""What a pod sees is no longer our claim: real kubelet and containers, the operator in its chart's pod and role."""

import statistics

import pytest

from e2e.controlplane.kubectl import CommandError
from e2e.operator_process import NAMESPACE
from e2e.realnode.arrivals import arrivals, file_lags
from e2e.realnode.audit import Right, asked, rights_in

pytestmark = [pytest.mark.realnode, pytest.mark.timeout(400)]

GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
ERRORS = "You are a support agent. Reply only with JSON."
STEPS = ({"weight": 10, "duration": "2s"}, {"weight": 50, "until": "Evidence", "timeout": "3m"})
ANALYSIS = {
    "interval": "1s",
    "metrics": [
        {"name": "errors", "preset": "sdk/errors", "role": "Guard"},
        {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"},
    ],
}


POLICIES = ("promptrolloutpolicies", "clusterpromptrolloutpolicies")
#: Rights that this story has no need of. It has no policy and no second writer of a status, its history is shorter than
#: the limit, and no Event is told twice.
OTHER_STORIES = {
    *(Right("promptrollout.dev", kind, verb) for kind in POLICIES for verb in ("get", "list", "watch")),
    Right("promptrollout.dev", "promptrollouts", "get"),
    Right("", "configmaps", "delete"),
    Right("events.k8s.io", "events", "patch"),
}
NUDGES = Right("", "pods", "patch")


def a_good_prompt_is_promoted_and_a_bad_one_rolled_back(story):
    then = (
        story.steps(*STEPS)
        .analysis(**ANALYSIS)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_phase("Healthy", 150)
        .then()
        .weights_were(0, 1_000, 5_000, 0)
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
        .when()
        .the_prompt_becomes(ERRORS)
        .wait_for_phase("Degraded", 150)
        .then()
        .the_message_says("harm shown", "retry")  # by errors or by helpfulness, as chance has it
        .all_pods_have_loaded_the_payload()
    )
    return then.users_get(then._subject.status().stable)


def rights_of_the_operator(stack, since=0):
    """Those that its account has used, and those that its chart has given it."""
    account = stack.chart.service_account
    roles = [one for one in stack.chart.objects if one.kind in {"Role", "ClusterRole"}]
    own = [one for one in roles if not one.name.endswith(("-view", "-edit"))]  # those are for people
    return asked(stack.cluster.audit_log, NAMESPACE, account, since), rights_in(own)


def test_a_good_prompt_is_promoted_and_a_bad_one_rolled_back_in_real_pods(stack, healthy):
    subject = a_good_prompt_is_promoted_and_a_bad_one_rolled_back(healthy)._subject
    seen = arrivals(stack, subject.application)
    assert len(seen) == 2
    assert all(subject.status().sequence in pod for pod in seen.values()), (
        "every container's own file is back at stable"
    )
    used, granted = rights_of_the_operator(stack)
    assert not used.refused
    assert used.used <= granted
    assert granted - used.used <= OTHER_STORIES
    assert NUDGES in used.used


def test_with_mode_watch_nothing_is_mounted_no_pod_is_touched_and_each_account_uses_its_rights_alone(
    stack, watching
):
    since = stack.cluster.audit_log.stat().st_size
    subject = a_good_prompt_is_promoted_and_a_bad_one_rolled_back(watching)._subject
    application = subject.application
    volumes = [one for pod in stack.pods(application) for one in pod.items("spec.volumes")]
    assert not [one for one in volumes if one.text("configMap.name") == application.config_map]
    pods = asked(stack.cluster.audit_log, application.namespace, "default")
    assert pods.used == {Right("", "configmaps", "get"), Right("", "configmaps", "watch")}
    assert (pods.refused, pods.names) == (set(), {application.config_map})
    used, granted = rights_of_the_operator(stack, since)
    assert not used.refused
    assert used.used <= granted
    assert NUDGES not in granted


def test_a_nudge_brings_every_change_into_the_containers_long_before_the_kubelets_own_pace(stack, healthy):
    then = (
        healthy.steps({"weight": 50, "duration": "1h"})
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(5_000)
        .commanded("abort")
        .wait_for_phase("Degraded")
        .then()
        .all_pods_have_loaded_the_payload()
    )
    subject = then._subject
    lags = file_lags(stack, subject.application)
    assert len(lags) >= 4
    assert statistics.median(lags) < 5.0, lags


def test_the_operators_pod_is_as_restricted_as_its_chart_says(stack):
    [pod] = stack.kubectl.get("pods", "-n", NAMESPACE).items("items")
    assert pod.raw["spec"]["securityContext"]["runAsNonRoot"]
    with pytest.raises(CommandError, match=r"(?i)read-only"):
        stack.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "python", "-c", "open('/x', 'w')")
    user = stack.kubectl(
        "exec", "-n", NAMESPACE, pod.name, "--", "python", "-c", "import os; print(os.getuid())"
    )
    assert user.strip() == "65532"
