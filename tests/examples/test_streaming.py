"""A streamed chat on the real control plane: taken back when the first word comes late, and when people walk away."""

import pytest

from e2e.examples import Example

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def chat(stack):
    with Example("streaming", "streaming", app="chat").running(stack) as running:
        yield running


def test_a_prompt_that_lets_the_model_think_first_is_taken_back_for_the_time_to_the_first_token(chat):
    (
        chat.tries("thinks-first.yaml")
        .wait_for_phase("Degraded", 120)
        .then()
        .the_message_says("harm shown", "most of it by first-token")
        .all_pods_have_loaded_the_payload()
    )


def test_a_prompt_that_rambles_is_taken_back_for_the_answers_that_people_leave_but_not_for_errors(chat):
    (
        chat.tries("rambles.yaml")
        .wait_for_phase("Degraded", 120)
        .then()
        .the_message_says("harm shown", "most of it by abandoned: rate")
    )


def test_a_friendlier_prompt_of_the_same_length_is_promoted(chat):
    chat.tries("friendlier.yaml").wait_for_phase("Healthy", 180).then().weights_were(0, 2_500, 5_000, 0)
    chat.every_panel_has_data()
