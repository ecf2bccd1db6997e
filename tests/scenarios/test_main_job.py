"""The main job, end to end: real API server, real Prometheus, real pods' processes, the operator under its own role."""

import json

import pytest

from e2e.controlplane.kubectl import CommandError
from e2e.processes.supervisor import wait_until
from e2e.recorder import CONFIG_MAPS

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
ERRORS = "You are a support agent. Reply only with JSON."
WORSE = "You are a support agent. [simulate score_mean=0.6]"
STEPS = ({"weight": 10, "duration": "2s"}, {"weight": 50, "until": "Evidence", "timeout": "3m"})
SLOW = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
SCORES = [
    {"name": "errors", "preset": "sdk/errors", "role": "Guard"},
    {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"},
]


def test_a_good_prompt_is_stepped_up_and_promoted_on_its_evidence(healthy):
    (
        healthy.steps(*STEPS)
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_phase("Healthy", 150)
        .then()
        .phases_were("Delivering", "Progressing", "Delivering", "Healthy")
        .weights_were(0, 1_000, 5_000, 0)
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
        .the_status("the history tells of both", lambda s: len(s.raw.items("status.history")) == 2)
    )


def test_a_prompt_that_fails_more_often_is_rolled_back_and_nobody_gets_it_any_more(healthy):
    then = (
        healthy.steps(*STEPS)
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(ERRORS)
        .wait_for_phase("Degraded", 150)
        .then()
        .phases_were("Delivering", "Progressing", "RollingBack", "Degraded")
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
        .the_message_says("harm shown", "retry")  # by errors or by helpfulness, as chance has it
    )
    status = then._subject.status().raw
    assert status.text("status.rollback.reason") == "Harmed"
    assert status.text("status.rollback.acknowledgedAt") >= status.text("status.rollback.decidedAt")
    then.users_get(status.text("status.stableRevision"))


def test_a_prompt_that_answers_worse_without_failing_is_rolled_back(healthy):
    (
        healthy.steps(*STEPS)
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(WORSE)
        .wait_for_phase("Degraded", 150)
        .then()
        .the_message_says("harm shown", "helpfulness")
    )


def test_the_old_prompt_again_ends_the_trial_at_once(quiet):
    (
        quiet.steps(*SLOW)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(1_000)
        .the_prompt_becomes(GOOD)
        .wait_for_phase("Healthy")
        .then()
        .weights_were(0, 1_000, 0)
        .the_status("superseded", lambda s: s.raw.items("status.history")[0].text("outcome") == "Superseded")
    )


def test_a_foreign_edit_a_deletion_and_a_freeze_of_the_payload_are_repaired(quiet, stack, quiet_shop):
    story = quiet.a_promoted_prompt(GOOD).when()
    name = quiet_shop.config_map
    good = stack.kubectl.get("configmap", name, "-n", quiet_shop.namespace).mapping("data")
    story.kubectl(
        "patch", "configmap", name, "--type=merge", "-p", json.dumps({"data": {"rollout.json": "{}"}})
    )
    stack.recorder.wait(lambda: _data(stack, quiet_shop) == good, "the edit to be repaired", 20)
    story.kubectl("delete", "configmap", name)
    stack.recorder.wait(lambda: _data(stack, quiet_shop) == good, "the deletion to be repaired", 20)
    frozen = stack.kubectl.get("configmap", name, "-n", quiet_shop.namespace).uid
    story.kubectl("patch", "configmap", name, "--type=merge", "-p", '{"immutable":true}')
    stack.recorder.wait(
        lambda: _data(stack, quiet_shop) == good and _payload(stack, quiet_shop).uid != frozen,
        "one that nobody can change any more to be made anew",
        20,
    )
    story.wait_for_phase("Healthy")
    story.wait_for_event("PayloadRepaired")


def test_a_killed_operator_goes_on_where_it_was(healthy):
    (
        healthy.steps(*STEPS)
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(ERRORS)
        .wait_for_weight(1_000)
        .the_operator_is_killed()
        .the_operator_starts()
        .wait_for_phase("Degraded", 150)
        .then()
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
    )


def cannot_be_read(status):
    """Not merely that nothing has come of the candidate yet."""
    return status.condition("MetricsAvailable").text("reason") == "SourceError"


def test_an_outage_of_prometheus_holds_and_its_end_goes_on(healthy):
    (
        healthy.steps({"weight": 10, "duration": "8s"}, {"weight": 50, "until": "Evidence", "timeout": "3m"})
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(1_000)
        .wait_for("a first window", lambda s: bool(s.raw.text("status.analysis.through")))
        .prometheus_stops()
        .wait_for("the outage to be said", cannot_be_read)
        .then()
        .the_message_says("metrics cannot be read")
        .the_highest_weight_was(1_000)
        .when()
        .prometheus_starts()
        .wait_for_weight(5_000, 90)
        .wait_for("its end to be said", lambda s: not cannot_be_read(s))
    )


def test_an_outage_while_pods_load_a_weight_ends_with_prometheus_return(healthy):
    (
        healthy.steps({"weight": 10, "duration": "1s"}, {"weight": 50, "duration": "1h"})
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(1_000)
        .prometheus_stops()
        .wait_for("the outage to be said", lambda s: "cannot be read" in s.message)
        .prometheus_starts()
        .wait_for_weight(5_000)
    )


def test_an_invalid_spec_is_said_with_its_field_and_leaves_what_is_served(quiet):
    (
        quiet.a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes("You are a support agent for {{#broken}}.")
        .wait_for_phase("Invalid")
        .then()
        .the_message_says("spec.prompt.inline", "What is delivered stays as it is")
        .weights_were()
        .when()
        .the_prompt_becomes(GOOD)
        .wait_for_phase("Healthy")
    )


def test_commands_pause_resume_abort_and_retry(quiet):
    (
        quiet.steps(*SLOW)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(1_000)
        .commanded("pause")
        .wait_for_phase("Paused")
        .commanded("resume")
        .wait_for_phase("Progressing")
        .commanded("abort")
        .wait_for_phase("Degraded")
        .commanded("retry")
        .wait_for_weight(1_000)
        .commanded("promote-full")
        .wait_for_phase("Healthy")
        .then()
        .every_weight_was_recorded_first()
        .the_status("executed", lambda s: s.raw.text("status.lastCommand.result") == "Executed")
    )


def test_a_foreign_configmap_is_never_overwritten_and_its_end_lets_the_rollout_go_on(
    quiet, stack, quiet_shop
):
    name = quiet_shop.config_map
    foreign = {"mine": "hands off"}
    stack.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": quiet_shop.namespace},
            "data": foreign,
        }
    )
    story = quiet.when().the_prompt_becomes(GOOD).wait_for_phase("Invalid")
    story.then().the_message_says(name, "delete it", "delivery.configMapName")
    assert stack.kubectl.get("configmap", name, "-n", quiet_shop.namespace).mapping("data") == foreign
    story.kubectl("delete", "configmap", name).wait_for_phase("Healthy", 60)


def test_what_a_quota_refuses_is_told_on_the_rollout_and_goes_on_when_there_is_room(quiet, stack, quiet_shop):
    when = quiet.strategy(immediate={}).a_promoted_prompt(GOOD).when()
    stable = when.subject.status().stable
    quota, few = (
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}},
        {"configmaps": "1"},
    )
    when.applied({**quota, "spec": {"hard": few}})
    # As its controller would, which does not run here.
    counted = json.dumps({"status": {"hard": few, "used": few}})
    when.kubectl("patch", "resourcequota", "few", "--subresource=status", "--type=merge", "-p", counted)
    try:
        wait_until(lambda: _is_full(stack, quiet_shop), "the quota to hold", 30, pause=0.2)
        when.the_prompt_becomes(BETTER).wait_for(
            "the refusal to be said", lambda s: s.message.startswith("stuck: create configmaps")
        )
        when.then().the_message_says("quota", "few", "tried again by itself").users_get(stable)
        when.wait_for_event("TurnFailed")
    finally:
        when.kubectl("delete", "resourcequota", "few")
    when.wait_for_phase("Healthy").wait_for("the word to be taken back", lambda s: "stuck" not in s.message)
    when.then().users_get(when.subject.status().stable)
    assert when.subject.status().stable != stable


def _is_full(stack, application):
    """Nothing is stored: a request that quota lets through is a dry run."""
    try:
        stack.kubectl("create", "configmap", "probe", "-n", application.namespace, "--dry-run=server")
    except CommandError as refused:
        return "quota" in refused.output
    return False


def test_deleting_the_rollout_takes_its_configmaps_along(quiet, stack, quiet_shop):
    quiet.a_promoted_prompt(GOOD).when().kubectl("delete", "promptrollout", quiet_shop.rollout)
    stack.recorder.wait(lambda: not _ours(stack, quiet_shop), "its ConfigMaps to go", 40)


def test_a_rollout_created_anew_under_its_name_in_a_trial_serves_its_prompt_once_the_old_ones_are_gone(
    quiet, quiet_shop
):
    when = quiet.steps(*SLOW).a_promoted_prompt(GOOD).when().the_prompt_becomes(BETTER).wait_for_weight(1_000)
    old = when.subject.status()
    when.kubectl("delete", "promptrollout", quiet_shop.rollout).the_prompt_becomes(BETTER)
    when.wait_for("the new one", lambda s: s.raw.uid not in {"", old.raw.uid}).wait_for_phase("Healthy")
    when.then().users_get(old.candidate).all_pods_have_loaded_the_payload()


def test_a_deleted_revision_is_restored_from_the_delivered_copy(quiet, stack, quiet_shop):
    story = quiet.a_promoted_prompt(GOOD).when()
    before = _ours(stack, quiet_shop)
    revision = next(name for name in before if "-rev-" in name)
    story.kubectl("delete", "configmap", revision)
    stack.recorder.wait(lambda: _ours(stack, quiet_shop) == before, "the revision to be restored", 20)


def _payload(stack, application):
    return stack.recorder.latest(CONFIG_MAPS, application.namespace, application.config_map)


def _data(stack, application):
    found = _payload(stack, application)
    return found.mapping("data") if found else None


def _ours(stack, application):
    label = "app.kubernetes.io/managed-by=prompt-rollout"
    found = stack.kubectl.get("configmaps", "-n", application.namespace, "-l", label)
    return {item.name for item in found.items("items")}
