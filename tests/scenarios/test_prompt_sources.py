"""Prompts that are not written inline: what becomes of their change, their absence and their registry's."""

from dataclasses import replace

import pytest
import yaml

from e2e.mlflow import server

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

STEPS = ({"weight": 10, "duration": "1s"}, {"weight": 50, "duration": "1s"})
SLOW = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
DOCUMENT = """\
messages:
  - {role: system, content: "You are a support agent."}
  - {role: user, content: "{{question}}"}
model: {name: simulated, parameters: {temperature: 0.2}}
"""
LATER = DOCUMENT.replace("agent.", "agent of {{shop}}.").replace("0.2", "0.7")
SYSTEM, USER = (
    {"role": "system", "content": "You are a support agent."},
    {"role": "user", "content": "{{question}}"},
)
WARMER = {**SYSTEM, "content": "You are a kind support agent of {{shop}}."}
SCORES = [{"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"}]
REF = {"name": "texts", "key": "support.yaml"}


def config_map(name="texts", **data):
    data = {key.replace("_", "."): text for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_change_of_a_config_map_is_rolled_out_and_says_first_what_it_asks_of_applications(quiet):
    then = (
        quiet.steps(*STEPS)
        .analysis(metrics=[], onInconclusive="Promote")
        .objects(config_map(support_yaml=DOCUMENT))
        .a_prompt_from(configMapRef=REF)
        .a_promoted_prompt("")
        .when()
        .applied(config_map(support_yaml=LATER))
        .wait_to_have_seen(
            "the change to be said", lambda s: s.phase == "Delivering" and "variable shop" in s.message
        )
        .wait_for_phase("Healthy")
        .then()
        .weights_were(0, 1_000, 5_000, 0)
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
    )
    statuses = then._subject.statuses()
    first = next(s for s in statuses if s.candidate)
    assert first.weight == 0
    changes = first.raw.mapping("status.candidate.changes")
    assert changes["variablesAdded"] == ["shop"]
    assert changes["settings"] == ["parameter temperature 0.2 -> 0.7"]
    assert {s.raw.number("metadata.generation") for s in statuses} == {1}, "nobody has touched the rollout"


def test_a_config_map_that_is_missing_empty_or_broken_is_invalid_and_what_is_served_stays(quiet, quiet_shop):
    when = (
        quiet.objects(config_map(support_yaml=DOCUMENT))
        .a_prompt_from(configMapRef=REF)
        .a_promoted_prompt("")
        .when()
    )
    stable = when.subject.status().stable
    for broken, said in [
        (config_map(support_yaml=""), ("is empty", "correct the ConfigMap")),
        (config_map(support_yaml="messages: ["), ("line ", "correct the ConfigMap")),
        (config_map(support_yaml="messages: {}"), ("messages", "write a list")),
        (config_map(support_yaml=DOCUMENT + "temprature: 1\n"), ("temprature", "is not known")),
        (config_map(other_yaml=DOCUMENT), ("no key support.yaml", "other.yaml")),
    ]:
        when.applied(broken).wait_for(
            f"{said} to be said", lambda s, said=said: all(p in s.message for p in said)
        )
        when.wait_for_phase("Invalid").then().the_message_says("What is delivered stays as it is")
    when.kubectl("delete", "configmap", "texts").wait_for(
        "its absence", lambda s: "does not exist" in s.message
    )
    when.then().the_message_says("create it").users_get(stable)
    when.applied(config_map(support_yaml=DOCUMENT)).wait_for_phase("Healthy")
    when.then().weights_were()  # nothing was written in all that time


def test_a_config_map_that_comes_later_than_its_rollout_is_found(quiet):
    (
        quiet.a_prompt_from(configMapRef={"name": "texts", "key": "support.txt"})
        .an_applied_rollout()
        .when()
        .wait_for_phase("Invalid")
        .applied(config_map(support_txt="You are a support agent. {{question}}"))
        .wait_for_phase("Healthy")
        .then()
        .all_pods_have_loaded_the_payload()
    )


@pytest.fixture(scope="module")
def mlflow(stack):
    """A real MLflow server, and the operator told of it, which looks at aliases every second."""
    with_model = {"model_config": {"model_name": "simulated", "temperature": 0.2}}
    running = server.start(
        stack.supervisor,
        [
            {"name": "support", "template": [SYSTEM, USER], **with_model},
            {"name": "support", "template": [WARMER, USER], **with_model},
            {"name": "broken", "template": "{{question"},
        ],
    )
    running.set_alias("support", "production", 1)
    file = stack.supervisor.data / "registries.yaml"
    registry = {"url": running.url, "pollInterval": "1s", "timeout": "5s"}
    file.write_text(yaml.safe_dump({"registries": {"prompts": registry}}))
    before = stack.operator.command
    stack.operator.command = replace(before, argv=[*before.argv, f"--registries-file={file}"])
    stack.operator.restart()
    yield running
    stack.operator.command = before
    stack.operator.restart()


def registry_ref(name="support", **which):
    return {"registry": "prompts", "name": name, **which}


def test_a_version_in_a_registry_is_sealed_and_the_registry_may_go_down(quiet, mlflow):
    when = quiet.steps(*SLOW).a_prompt_from(registryRef=registry_ref(version=1)).a_promoted_prompt("").when()
    when.the_prompt_comes_from(registryRef=registry_ref(version="2")).wait_for_weight(1_000)
    when.wait_for_condition("Delivered")
    source = when.subject.status().raw.mapping("status.source")
    assert (source["version"], source["revision"]) == ("2", when.subject.status().candidate)
    mlflow.stop()
    try:
        when.the_operator_is_killed().the_operator_starts()
        when.commanded("promote").wait_for_weight(5_000).commanded("promote-full").wait_for_phase("Healthy")
        (
            when.then()
            .every_weight_was_recorded_first()
            .the_status(
                "nobody had to ask", lambda s: s.condition("PromptAvailable").text("status") == "True"
            )
        )
        # What is asked for anew cannot be had; all get what they got, and it is said.
        when.the_prompt_comes_from(registryRef=registry_ref(version="3"))
        when.wait_for("the outage to be said", lambda s: "no connection" in s.message).wait_for_phase(
            "Pending"
        )
        (
            when.then()
            .the_message_says("registry prompts cannot be asked", "What is delivered stays as it is")
            .the_status("no condition is met", lambda s: s.condition("Healthy").text("status") == "False")
            .users_get(when.subject.status().stable)
        )
    finally:
        mlflow.start()
    when.wait_for("its absence", lambda s: s.phase == "Invalid" and "version 3 does not exist" in s.message)
    when.the_prompt_comes_from(registryRef=registry_ref(version="2")).wait_for_phase("Healthy")
    when.wait_for_event("PromptSourceUnavailable")


def test_an_alias_that_moves_is_rolled_out_and_an_outage_leaves_it_where_it_was(quiet, mlflow):
    mlflow.set_alias("support", "production", 1)
    when = (
        quiet.steps(*SLOW)
        .a_prompt_from(registryRef=registry_ref(alias="production"))
        .a_promoted_prompt("")
        .when()
    )
    stable = when.subject.status().stable
    mlflow.stop()
    try:
        when.wait_for("the outage", lambda s: s.condition("PromptAvailable").text("status") == "False")
        when.the_operator_is_killed().the_operator_starts()
        when.then().the_message_says(f"revision {stable} serves all", "cannot be asked").users_get(stable)
        when.wait_for_phase("Healthy")
    finally:
        mlflow.start()
    mlflow.set_alias("support", "production", 2)
    when.wait_to_have_seen("the move", lambda s: s.phase == "Delivering" and "variable shop" in s.message)
    when.wait_for_weight(1_000)
    mlflow.set_alias("support", "production", 1)
    when.wait_for_phase("Healthy")
    (
        when.then()
        .weights_were(0, 1_000, 0)
        .the_status("back at stable", lambda s: s.stable == stable)
        .the_status("superseded", lambda s: s.raw.items("status.history")[0].text("outcome") == "Superseded")
    )


def a_test_of(arm):
    control = {"name": "control", "weight": 50}
    return {"arms": [control, {"name": "warm", "weight": 50, "prompt": arm}], "horizon": "1d"}


def weights(status):
    return {arm.name: arm.weight for arm in status.arms}


def test_an_arm_of_a_registry_is_sealed_and_its_test_goes_on_while_the_registry_is_down(quiet, mlflow):
    mlflow.set_alias("support", "production", 1)
    when = (
        quiet.strategy(abTest=a_test_of({"registryRef": registry_ref(alias="production")}))
        .analysis(metrics=SCORES)
        .an_applied_rollout("You are the control.")
        .when()
        .wait_for("the weights", lambda s: weights(s) == {"warm": 5_000, "stable": 5_000})
        .wait_for_condition("Delivered")
    )
    (source,) = when.subject.status().raw.items("status.armSources")
    served = when.subject.status().candidate
    assert (source.text("arm"), source.text("version"), source.text("revision")) == ("warm", "1", served)
    mlflow.stop()
    try:
        when.the_operator_is_killed().the_operator_starts()
        when.wait_for("the outage", lambda s: s.condition("PromptAvailable").text("status") == "False")
        (
            when.then()
            .the_status("the test goes on", lambda s: (s.phase, weights(s)["warm"]) == ("Progressing", 5_000))
            .the_message_says("arm warm: registry prompts cannot be asked", f"revision {served}")
        )
        when.the_strategy_becomes(abTest=a_test_of({"registryRef": registry_ref(version=2)}))
        when.wait_for(
            "the change to be held",
            lambda s: s.message.startswith("arm warm: registry prompts cannot be asked"),
        )
        when.wait_for_phase("Pending")
        when.then().the_status("all get what they got", lambda s: weights(s)["warm"] == 5_000)
    finally:
        mlflow.start()
    when.wait_for(
        "the other test", lambda s: s.candidate not in {"", served} and weights(s).get("warm") == 5_000
    )


def test_a_prompt_of_a_registry_that_is_no_template_is_invalid_with_the_place(quiet, mlflow):
    (
        quiet.a_prompt_from(registryRef=registry_ref("broken", version=1))
        .an_applied_rollout()
        .when()
        .wait_for_phase("Invalid")
        .then()
        .the_message_says("registry prompts: broken, version 1", "text line 1", "correct the text")
    )


def test_a_registry_that_is_not_configured_is_named_with_those_that_are(quiet, mlflow):
    (
        quiet.a_prompt_from(registryRef={"registry": "elsewhere", "name": "support", "alias": "production"})
        .an_applied_rollout()
        .when()
        .wait_for_phase("Invalid")
        .then()
        .the_message_says("spec.prompt.registryRef.registry", "'elsewhere' is not configured", "prompts")
    )
