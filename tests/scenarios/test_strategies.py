"""Strategies on the real API server: tests of several prompts, and canaries that keep office hours."""

from datetime import UTC, datetime, timedelta

import pytest

from e2e.application import inline_prompt
from promptrollout.api.calendar import DAYS

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(300)]

CONTROL = "You are a support agent. Answer in two sentences. [simulate score_mean=0.70]"
BETTER = "You are a support agent. Answer in two sentences. [simulate score_mean=0.90]"
WORSE = "You are a support agent. Answer in two sentences. [simulate error_rate=0.15 score_mean=0.70]"
ALIKE = "You are a support agent. Answer in three sentences. [simulate score_mean=0.70]"
SCORES = [
    {"name": "errors", "preset": "sdk/errors", "role": "Guard"},
    {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"},
]
INDEPENDENT = {"meanRequestsPerUnit": "1"}


def ab_test(on_winner, **prompts):
    share = 100 // (len(prompts) + 1)
    arms = [{"name": name, "weight": share, "prompt": inline_prompt(text)} for name, text in prompts.items()]
    control = {"name": "control", "weight": 100 - share * len(prompts)}
    return {"arms": [control, *arms], "horizon": "1h", "onWinner": on_winner}


def weights(status):
    return {arm.name: arm.weight for arm in status.arms}


def served(status):
    return {arm.name: arm.revision for arm in status.arms}


def test_the_arm_that_is_shown_better_wins_and_stays_although_the_spec_names_the_control(healthy):
    then = (
        healthy.strategy(abTest=ab_test("Promote", better=BETTER))
        .analysis(interval="1s", metrics=SCORES, correlation=INDEPENDENT)
        .an_applied_rollout(CONTROL)
        .when()
        .wait_for("the weights", lambda s: weights(s) == {"better": 5_000, "stable": 5_000})
        .wait_for("a winner", lambda s: s.raw.text("status.concluded.arm") == "better", 200)
        .wait_for_phase("Healthy")
        .then()
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
        .the_message_says("arm better", "spec.prompt")
        .the_status("won", lambda s: s.raw.items("status.history")[0].text("reason") == "Won")
    )
    winner = then._subject.status()
    assert (
        winner.stable
        == winner.raw.text("status.concluded.winner")
        != winner.raw.text("status.concluded.wanted")
    )
    then.users_get(winner.stable)


def test_a_harmed_arm_is_dropped_alone(healthy):
    story = (
        healthy.strategy(abTest=ab_test("Hold", alike=ALIKE, worse=WORSE))
        .analysis(interval="1s", metrics=SCORES, correlation=INDEPENDENT)
        .an_applied_rollout(CONTROL)
        .when()
        .wait_for("the weights", lambda s: weights(s) == {"alike": 3_300, "worse": 3_300, "stable": 3_400})
        .wait_for("one arm to be dropped", lambda s: served(s).get("worse") == s.stable, 150)
    )
    (
        story.wait_for_condition("Delivered")
        .then()
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
        .the_status("the test goes on", lambda s: s.phase == "Progressing" and served(s)["alike"] != s.stable)
        .the_status(
            "no weight moved", lambda s: weights(s) == {"alike": 3_300, "worse": 3_300, "stable": 3_400}
        )
        .the_status("said", lambda s: s.raw.items("status.history")[0].text("reason") == "Harmed")
    )
    story.commanded("abort").wait_for_phase("Degraded").then().weights_were(0)


def test_a_canary_waits_for_its_window_says_when_it_opens_and_follows_an_edit(quiet):
    steps = [{"weight": 25, "duration": "1h"}]
    tomorrow = datetime.now(UTC) + timedelta(days=2)
    shut = {"timeZone": "UTC", "windows": [f"{DAYS[tomorrow.weekday()]} 09:00-17:00"]}
    story = (
        quiet.strategy(canary={"steps": steps, "schedule": shut})
        .a_promoted_prompt(CONTROL)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for("the window", lambda s: "next window opens" in s.message)
    )
    story.then().the_highest_weight_was(0).the_message_says(f"{tomorrow:%Y-%m-%d} 09:00 UTC")
    always = {"timeZone": "Europe/Zurich", "windows": ["Mon-Sun 00:00-24:00"]}
    story.the_strategy_becomes(canary={"steps": steps, "schedule": always}).wait_for_weight(2_500)


def test_immediate_gives_all_traffic_at_once_when_the_pods_hold_the_revision(quiet):
    when = quiet.strategy(immediate={}).a_promoted_prompt(CONTROL).when().the_prompt_becomes(BETTER)
    when.wait_for_phase("Healthy")
    (
        when.then()
        .phases_were("Delivering", "Healthy")
        .weights_were(0)
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
        .users_get(when.subject.status().stable)
    )


def test_eight_arms_are_served_at_their_weights(quiet):
    prompts = {f"arm-{n}": f"You are a support agent. Answer in {n} sentences." for n in range(1, 8)}
    test = ab_test("Hold", **prompts)
    when = quiet.strategy(abTest=test).analysis(metrics=SCORES).an_applied_rollout(CONTROL).when()
    shares = {**dict.fromkeys(prompts, 1_200), "stable": 1_600}
    when.wait_for("the weights", lambda s: weights(s) == shares).wait_for_condition("Delivered")
    assert len(set(served(when.subject.status()).values())) == 8
    when.then().every_weight_was_recorded_first().all_pods_have_loaded_the_payload()


def test_an_arm_may_stand_in_a_config_map_whose_change_is_another_test(quiet):
    def texts(text):
        metadata = {"name": "warm"}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"prompt.txt": text}}

    test = ab_test("Hold", warm=BETTER)
    test["arms"][1]["prompt"] = {"configMapRef": {"name": "warm", "key": "prompt.txt"}}
    when = quiet.strategy(abTest=test).analysis(metrics=SCORES).an_applied_rollout(CONTROL).when()
    when.wait_for_phase("Invalid").then().the_message_says(
        "arms[1].prompt.configMapRef", "ConfigMap warm does not exist"
    )
    when.applied(texts("You are a warm support agent."))
    when.wait_for("the weights", lambda s: weights(s) == {"warm": 5_000, "stable": 5_000})
    first = served(when.subject.status())["warm"]
    when.applied(texts("You are a warmer support agent."))
    when.wait_for(
        "another test", lambda s: served(s).get("warm") not in {None, first} and weights(s)["warm"] == 5_000
    )
    when.then().the_status("told", lambda s: s.raw.items("status.history")[0].text("outcome") == "Superseded")
    when.kubectl("delete", "configmap", "warm")
