"""What happens when: rows of the table in docs/semantics.md that have no scenario elsewhere."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest

from e2e.controlplane.kubectl import CommandError
from e2e.recorder import CONFIG_MAPS
from e2e.scenario import ask
from e2e.views import Payload
from e2e.workload.directory import read_endpoints
from promptrollout.delivery.assignment import bucket_of

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

ONE = "You are a support agent. Answer in two sentences."
TWO = "You are a support agent. Answer in two sentences and name the next step."
THREE = "You are a support agent. Answer in three sentences."
ERRORS = "You are a support agent. [simulate error_rate=0.3]"
STAYS = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
GUARD = {"name": "errors", "preset": "sdk/errors", "role": "Guard"}


def outcomes(status):
    return [each.text("outcome") for each in status.raw.items("status.history")]


def test_another_prompt_while_progressing_starts_anew_and_stable_stays(quiet):
    when = quiet.steps(*STAYS).a_promoted_prompt(ONE).when()
    stable = when.subject.status().stable
    when.the_prompt_becomes(TWO).wait_for_weight(1_000).promoted_to(5_000)
    salt = when.subject.status().raw.text("status.delivered.salt")
    when.the_prompt_becomes(THREE).wait_for_weight(1_000)
    (
        when.then()
        .weights_were(0, 1_000, 5_000, 0, 1_000)
        .every_weight_was_recorded_first()
        .the_status("stable stays", lambda s: s.stable == stable and s.step == "1/2")
        .the_status("told", lambda s: outcomes(s) == ["Superseded", "Promoted"])
        .the_status("other users first", lambda s: s.raw.text("status.delivered.salt") != salt)
    )


def test_an_edit_of_the_steps_goes_on_where_the_weight_fits_and_raises_nothing(quiet):
    when = quiet.steps(*STAYS).a_promoted_prompt(ONE).when()
    when.the_prompt_becomes(TWO).wait_for_weight(1_000)
    edited = [{"weight": weight, "duration": "1h"} for weight in (1, 5, "12.5%", 80)]
    when.the_steps_become(*edited).wait_for("the new steps", lambda s: s.step == "2/4")
    when.then().weights_were(0, 1_000)
    when.promoted_to(1_250).then().weights_were(0, 1_000, 1_250)


def test_an_edited_metric_keeps_the_step_and_the_evidence_of_the_others(healthy):
    score = {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"}
    when = (
        healthy.steps({"weight": 50, "duration": "1h"})
        .analysis(interval="1s", metrics=[GUARD, score])
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(TWO)
        .wait_for("evidence of both", lambda s: min(samples(s).values(), default=0) >= 300)
    )
    before = when.subject.status()
    when.the_analysis_becomes(metrics=[GUARD, {**score, "margin": "0.2"}])
    when.wait_for(
        "the score's to begin anew", lambda s: samples(s)["helpfulness"] < samples(before)["helpfulness"]
    )
    when.wait_for("the score's to grow", lambda s: samples(s)["helpfulness"] > 40)
    (
        when.then()
        .weights_were(0, 5_000)
        .the_status("errors go on", lambda s: samples(s)["errors"] >= samples(before)["errors"])
        .the_status("the same trial", lambda s: trial(s) == trial(before))
    )


def samples(status):
    return {each.text("name"): int(each.number("samples")) for each in status.metrics}


def trial(status):
    at = "status.candidate"
    return [
        status.raw.text(f"{at}.{field}")
        for field in ("startedAt", "attempt", "progress.step", "progress.since")
    ]


def test_a_selector_that_matches_nothing_of_the_candidate_holds_and_is_named(quiet):
    refusals = {
        "bad": 'app_refusals_total{prompt_revision="{{revision}}"}',
        "total": 'app_answers_total{prompt_revision="{{revision}}"}',
    }
    when = (
        quiet.steps({"weight": 10, "duration": "2s"}, {"weight": 50, "duration": "1h"})
        .analysis(metrics=[{"name": "refusals", "role": "Guard", "events": refusals}], warmUp="0s")
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(TWO)
        .wait_for("the lack of data", lambda s: s.condition("MetricsAvailable").text("reason") == "NoData")
        .wait_for("the step's time to be over", lambda s: "so no step" in s.message)
    )
    when.then().weights_were(0, 1_000).the_message_says("app_answers_total", "matched no series")


def test_users_who_are_not_shared_out_by_the_weights_pause_it(healthy):
    when = (
        healthy.steps(*STAYS)
        .analysis(metrics=[GUARD], interval="1s", correlation={"meanRequestsPerUnit": "1"})
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(TWO)
        .wait_for_weight(1_000)
        .wait_for_condition("Delivered")
    )
    shop, salt = when.subject.application, when.subject.status().raw.text("status.delivered.salt")
    addresses = read_endpoints(when.subject.stack.endpoints, shop.namespace, {"app": shop.app})
    units = islice((f"robot-{n}" for n in count() if bucket_of(salt, f"robot-{n}") < 1_000), 400)
    with ThreadPoolExecutor(8) as pool:
        seen = pool.map(lambda asked: ask(addresses[asked[0] % 2], {"unit": asked[1]}), enumerate(units))
        assert {answer.text("arm") for answer in seen} == {"candidate"}
    when.wait_for_phase("Paused")
    (
        when.then()
        .the_status("why", lambda s: s.condition("Paused").text("reason") == "SampleRatioMismatch")
        .the_message_says("Mend the assignment", "resume")
        .weights_were(0, 1_000)
    )


def test_what_happened_while_the_operator_was_down_is_read_before_anything_is_decided(healthy, stack):
    when = (
        healthy.steps({"weight": 50, "duration": "2s"}, {"weight": 90, "duration": "1h"})
        .analysis(metrics=[GUARD], interval="1s", warmUp="1s")
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(ERRORS)
        .wait_for_weight(5_000)
        .the_operator_stops()
    )
    bad = f'sum(promptrollout_requests_total{{rollout=~"{when.subject.application.namespace}/.*",outcome="error"}})'
    stack.recorder.wait(lambda: (stack.prometheus.value(bad) or 0) > 150, "errors while nobody looks", 60)
    when.the_operator_starts().wait_for_phase("Degraded")
    when.then().weights_were(0, 5_000, 0).the_message_says(
        "harm shown", "errors"
    ).every_weight_was_recorded_first()


def test_harm_takes_the_weight_back_also_while_the_spec_is_invalid(healthy):
    steps = [{"weight": 50, "duration": "1h"}]
    when = (
        healthy.strategy(canary={"steps": steps})
        .analysis(metrics=[GUARD], interval="1s")
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(ERRORS)
        .wait_for_weight(5_000)
    )
    nowhere = {"timeZone": "Europe/Nowhere", "windows": ["Mon-Fri 09:00-17:00"]}
    when.the_strategy_becomes(canary={"steps": steps, "schedule": nowhere}).wait_for_phase("Invalid")
    when.then().the_message_says("spec.strategy.canary.schedule.timeZone")
    when.the_operator_is_killed().the_operator_starts()  # which knows the wrong spec only
    when.wait_for("the rollback", lambda s: s.rollback.text("reason") == "Harmed")
    when.wait_for_condition("Delivered").then().the_message_says("stable serves all").users_get(
        when.subject.status().stable
    )
    when.then().weights_were(0, 5_000, 0).every_weight_was_recorded_first()


def test_when_both_copies_of_a_revision_are_lost_weights_stand_and_a_backup_mends_it(quiet, stack):
    when = quiet.steps(*STAYS).a_promoted_prompt(ONE).when().the_prompt_becomes(TWO).wait_for_weight(1_000)
    shop, before = when.subject.application, when.subject.status()
    revision = f"{shop.rollout}-rev-{before.stable}"
    backup = stack.kubectl.get("configmap", revision, "-n", shop.namespace)
    when.the_operator_stops()
    when.kubectl("delete", "configmap", revision, shop.config_map)
    when.the_operator_starts().wait_for_phase("Invalid")
    when.then().the_message_says(before.stable, "is lost", "Weights stand", revision)
    when.then().the_status("weights stand", lambda s: s.arms == before.arms)
    assert when.subject.status().condition("Valid").text("status") == "False"

    metadata = {
        key: backup.mapping("metadata")[key] for key in ("name", "namespace", "labels", "ownerReferences")
    }
    stack.kubectl.create({**backup.raw, "metadata": metadata})
    when.wait_for_phase("Progressing")

    def payload():
        found = stack.recorder.latest(CONFIG_MAPS, shop.namespace, shop.config_map)
        return Payload.of(found) if found else None

    stack.recorder.wait(lambda: payload() is not None, "the payload to be there again", 20)
    assert payload().arms == before.arms


def test_a_trial_whose_source_of_metrics_is_edited_away_is_invalid_and_stops_no_other(quiet, stack):
    when = quiet.steps(*STAYS).analysis(metrics=[GUARD]).a_promoted_prompt(ONE).when()
    when.the_prompt_becomes(TWO).wait_for_weight(1_000).wait_for_condition("Delivered")
    when.the_analysis_becomes(source="nowhere").wait_for_phase("Invalid")
    when.then().the_message_says("spec.analysis.source", "'nowhere' is not configured", "default")
    when.the_operator_is_killed().the_operator_starts()
    healthy_by_kubectl(stack, without_pods("another", when.subject.application.namespace))
    when.the_analysis_becomes(source="default").wait_for_phase("Progressing").then().weights_were(0, 1_000)
    stack.check()


def test_a_rollout_that_is_deleted_and_made_anew_is_not_healthy_before_its_pods_have_loaded_it(quiet):
    when = quiet.strategy(immediate={}).a_promoted_prompt(ONE).when()
    for prompt in (TWO, THREE):
        when.the_prompt_becomes(prompt).wait_for_phase("Healthy")
    last = when.subject.status().stable
    when.kubectl("delete", "promptrollout", "--all").kubectl("delete", "configmap", "--all")
    when.then().users_get(last)  # what pods have loaded, they go on serving
    when.the_prompt_becomes(ONE).wait_for_phase("Healthy").then().users_get(when.subject.status().stable)
    assert when.subject.status().stable != last


def test_a_rollout_that_is_not_done_in_time_is_rolled_back_and_says_what_it_waited_for(quiet):
    when = (
        quiet.steps({"weight": 10, "minSamples": 1_000_000, "timeout": "1h"})
        .analysis(metrics=[GUARD], warmUp="0s")
        .spec(progressDeadline="6s")
        .a_promoted_prompt(ONE)
        .when()
        .the_prompt_becomes(TWO)
        .wait_for_phase("Degraded")
    )
    when.then().the_message_says("not promoted within spec.progressDeadline (6s)", "waiting for:", "retry")


def test_weights_go_down_to_a_hundredth_of_a_per_cent_and_are_delivered_as_written(quiet):
    steps = [{"weight": weight, "duration": "1h"} for weight in ("0.01%", "0.5%", 1, "99.99%", 100)]
    when = quiet.steps(*steps).a_promoted_prompt(ONE).when().the_prompt_becomes(TWO)
    for weight in (1, 50, 100, 9_999, 10_000):
        when.wait_for_weight(weight).wait_for_condition("Delivered").commanded("promote")
    when.wait_for_phase("Healthy").then().weights_were(0, 1, 50, 100, 9_999, 10_000, 0)
    when.then().every_weight_was_recorded_first()


def without_pods(name, namespace):
    """A rollout that nobody mounts."""
    return {
        "apiVersion": "promptrollout.dev/v1alpha1",
        "kind": "PromptRollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "prompt": {"inline": {"text": ONE}},
            "delivery": {"acknowledge": {"mode": "None", "assumeLoadedAfter": "1s"}},
            "strategy": {"immediate": {}},
        },
    }


def healthy_by_kubectl(stack, manifest):
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    stack.kubectl.apply(manifest)
    which = ("--for=condition=Healthy", f"promptrollout/{name}", "-n", namespace, "--timeout=30s")
    stack.kubectl("wait", *which)


def test_a_namespace_goes_with_all_that_is_in_it_also_while_no_operator_runs(stack):
    stack.kubectl("create", "namespace", "goes-away")
    healthy_by_kubectl(stack, without_pods("support", "goes-away"))
    stack.operator.stop()
    try:
        stack.kubectl("delete", "namespace", "goes-away", "--timeout=40s")
    finally:
        stack.mend()


def test_the_longest_name_is_served_and_a_longer_one_refused_by_the_server_with_the_reason(stack, quiet_shop):
    longest, namespace = "-".join(["support"] * 10)[:52], quiet_shop.namespace
    try:
        healthy_by_kubectl(stack, without_pods(longest, namespace))
        payload = stack.kubectl.get("configmap", f"{longest}-prompt", "-n", namespace)
        assert "rollout.json" in payload.mapping("data")
        with pytest.raises(CommandError, match="the name may have at most 52 characters"):
            stack.kubectl.apply(without_pods(f"{longest}s", namespace))
    finally:
        stack.kubectl("delete", "promptrollout", longest, "-n", namespace, "--ignore-not-found")
