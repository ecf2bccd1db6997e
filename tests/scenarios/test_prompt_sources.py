"""Prompts that are not written inline: what becomes of their change, their absence and their registry's."""

import pytest

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
REF = {"name": "texts", "key": "support.yaml"}


def config_map(name="texts", **data):
    data = {key.replace("_", "."): text for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_change_of_a_config_map_is_rolled_out_and_says_first_what_it_asks_of_applications(healthy):
    then = (
        healthy.steps(*STEPS)
        .analysis(metrics=[], onInconclusive="Promote")
        .objects(config_map(support_yaml=DOCUMENT))
        .a_prompt_from(configMapRef=REF)
        .a_promoted_prompt("")
        .when()
        .applied(config_map(support_yaml=LATER))
        .wait_for("the change to be said", lambda s: s.phase == "Delivering" and "variable shop" in s.message)
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


def test_a_config_map_that_is_missing_empty_or_broken_is_invalid_and_what_is_served_stays(
    healthy, application
):
    when = (
        healthy.objects(config_map(support_yaml=DOCUMENT))
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


def test_a_config_map_that_comes_later_than_its_rollout_is_found(healthy):
    (
        healthy.a_prompt_from(configMapRef={"name": "texts", "key": "support.txt"})
        .an_applied_rollout()
        .when()
        .wait_for_phase("Invalid")
        .applied(config_map(support_txt="You are a support agent. {{question}}"))
        .wait_for_phase("Healthy")
        .then()
        .all_pods_have_loaded_the_payload()
    )
