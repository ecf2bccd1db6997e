"""The candidate answers beside stable, for real, and no user gets its answers."""

import pytest

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
WORSE = "You are a support agent. [simulate score_mean=0.6]"
SCORES = [
    {"name": "errors", "preset": "sdk/errors", "role": "Guard"},
    {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"},
]
SHADOW = {"sample": 50, "duration": "6s", "budget": {"maxConcurrent": 20}}
THEN = {"canary": {"steps": [{"weight": 50, "until": "Evidence", "timeout": "3m"}]}}


def test_a_good_prompt_goes_from_the_shadow_into_a_canary_and_is_promoted(healthy):
    then = (
        healthy.strategy(shadow={**SHADOW, "then": THEN})
        .analysis(interval="1s", metrics=SCORES, onInconclusive="Promote")
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for("the shadow", lambda s: "in the shadow of 50%" in s.message)
        .wait_for_phase("Healthy", 150)
        .then()
        .weights_were(0, 5_000, 0)
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
    )
    then.users_get(then._subject.status().stable)


def test_a_prompt_that_answers_worse_is_rolled_back_and_no_user_has_met_it(healthy):
    (
        healthy.strategy(shadow={**SHADOW, "duration": "2m"})
        .analysis(interval="1s", metrics=SCORES)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(WORSE)
        .wait_for_phase("Degraded", 150)
        .then()
        .the_highest_weight_was(0)
        .the_message_says("harm shown", "helpfulness")
        .all_pods_have_loaded_the_payload()
    )
