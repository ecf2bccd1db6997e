"""A streamed chat on the real control plane: taken back when people walk away, and when the first word comes late."""

import pytest

from e2e.examples import QUICK, Example

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(300)]

#: Two turns each on average, and whether somebody stays for one says nothing of the other.
CONVERSATIONS = {**QUICK, "correlation": {"meanRequestsPerUnit": "2", "icc": "0"}}


@pytest.fixture(scope="module")
def chat(stack):
    example = Example("streaming", "streaming", app="chat", analysis=CONVERSATIONS, history=100)
    with example.running(stack) as running:
        yield running


def test_a_prompt_that_rambles_is_taken_back_for_the_answers_that_people_leave_and_not_for_errors(chat):
    (
        chat.tries("rambles.yaml")
        .wait_for_phase("Degraded", 150)
        .then()
        .the_message_says("harm shown", "most of it by abandoned: rate")
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
    )


def test_a_prompt_that_lets_the_model_think_first_is_taken_back_for_the_time_to_the_first_token(chat):
    """Its metric needs 200 values of stable before it says anything: those of the tests before count."""
    (
        chat.tries("thinks-first.yaml")
        .wait_for_phase("Degraded", 200)
        .then()
        .the_message_says("harm shown", "most of it by first-token: p95")
    )


def test_a_friendlier_prompt_of_the_same_length_is_promoted(chat):
    (
        chat.tries("friendlier.yaml")
        .wait_for_phase("Healthy", 200)
        .then()
        .weights_were(0, 2_500, 5_000, 0)
        .all_pods_have_loaded_the_payload()
    )
    chat.every_panel_has_data()
