"""Policies on the real API server: rules that a platform team owns, and rollouts of ten lines that follow them."""

import pytest

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

ONE, TWO, THREE = (
    "You are a support agent.",
    "You are a kind support agent.",
    "You are a brief support agent.",
)
SAID = {"metrics": [], "interval": "2s"}
API = "promptrollout.dev/v1alpha1"


def policy(weight, *locked, kind="PromptRolloutPolicy", name="production"):
    """Steps that nothing but a command leaves."""
    steps = [{"weight": weight, "duration": "1h"}, {"weight": 80, "duration": "1h"}]
    spec = {"strategy": {"canary": {"steps": steps}}, "analysis": SAID, "locked": list(locked)}
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def generation(status):
    return int(status.raw.number("status.policy.generation"))


def test_a_policys_edit_reaches_the_next_prompt_and_its_deletion_no_running_one(quiet):
    when = (
        quiet.objects(policy(10))
        .policy(name="production")
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(TWO)
        .wait_for_weight(1_000)
        .applied(policy(40))
        .the_operator_is_killed()
        .the_operator_starts()
        .wait_for_condition("Delivered")
        .commanded("promote")
        .wait_for_weight(8_000)  # the second step, by the steps that it began with
    )
    when.then().the_status("the old rules are in force", lambda s: generation(s) == 1)

    when.the_prompt_becomes(THREE).wait_for_weight(4_000)
    when.then().the_status("the new rules are in force", lambda s: generation(s) == 2)

    when.kubectl("delete", "promptrolloutpolicy", "production")
    when.wait_for("the deletion to be said", lambda s: "production does not exist any more" in s.message)
    when.wait_for_condition("Delivered").commanded("promote").wait_for_weight(8_000)
    when.wait_for_condition("Delivered").commanded("promote").wait_for_phase("Healthy")
    when.then().every_weight_was_recorded_first().the_message_says("generation 2 stay in force")
    when.wait_for_event("PolicyGone")

    stable = when.subject.status().stable
    when.the_prompt_becomes(ONE).wait_for_phase("Invalid")
    when.then().the_message_says(
        "spec.policyRef", "PromptRolloutPolicy production does not exist", "What is delivered stays as it is"
    ).users_get(stable)
    when.applied(policy(20)).wait_for_weight(2_000).wait_for_condition("Delivered")
    when.then().weights_were(0, 1_000, 8_000, 0, 4_000, 8_000, 0, 2_000).all_pods_have_loaded_the_payload()


def test_a_locked_field_is_refused_and_what_is_served_stays(quiet, stack, quiet_shop):
    name = f"everywhere-{quiet_shop.namespace}"
    everywhere = policy(10, "strategy", kind="ClusterPromptRolloutPolicy", name=name)
    stack.kubectl.apply(everywhere)
    try:
        when = (
            quiet.policy(kind="ClusterPromptRolloutPolicy", name=name)
            .a_promoted_prompt(ONE)
            .when()
            .the_prompt_becomes(TWO)
            .wait_for_weight(1_000)
            .wait_for_condition("Delivered")
            .the_strategy_becomes(immediate={})
            .wait_for_phase("Invalid")
        )
        when.then().the_message_says(f"spec.strategy: policy {name} locks strategy", "leave it out here")
        when.then().the_status("the weight stands", lambda s: s.weight == 1_000)
        when.the_strategy_becomes().wait_for_phase("Progressing")
        when.then().weights_were(0, 1_000)
        assert when.subject.status().condition("Valid").text("status") == "True"
    finally:
        stack.kubectl("delete", "clusterpromptrolloutpolicy", name)


def test_a_policy_that_comes_later_than_its_rollout_is_found(quiet):
    (
        quiet.policy(name="later")
        .an_applied_rollout(ONE)
        .when()
        .wait_for_phase("Invalid")
        .applied(policy(10, name="later"))
        .wait_for_phase("Healthy")
        .then()
        .all_pods_have_loaded_the_payload()
        .the_status("the rules are kept", lambda s: generation(s) == 1)
    )


def test_a_cluster_policy_rules_rollouts_of_any_namespace_and_what_it_locks_is_refused(quiet, stack):
    shared = policy(30, "strategy", kind="ClusterPromptRolloutPolicy", name="company")
    stack.kubectl.apply(shared)
    try:
        named = quiet.policy(kind="ClusterPromptRolloutPolicy", name="company")
        when = named.a_promoted_prompt(ONE).when().the_prompt_becomes(TWO).wait_for_weight(3_000)
        when.then().the_status(
            "whose rules", lambda s: s.raw.text("status.policy.kind") == "ClusterPromptRolloutPolicy"
        )
        when.the_strategy_becomes(immediate={}).wait_for_phase("Invalid")
        when.then().the_message_says("spec.strategy", "policy company locks strategy").weights_were(0, 3_000)
    finally:
        stack.kubectl("delete", "clusterpromptrolloutpolicy", "company")
