"""RAG on the real control plane: taken back when answers leave their passages, and when searches find nothing."""

import pytest

from e2e.examples import Example

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def rag(stack):
    with Example("rag", "rag", app="rag", history=100).running(stack) as running:
        yield running


def test_answers_that_leave_their_passages_are_taken_back_for_groundedness(rag):
    (
        rag.tries("ungrounded.yaml")
        .wait_for_phase("Degraded", 120)
        .then()
        .the_message_says("harm shown", "most of it by groundedness: mean")
        .every_weight_was_recorded_first()
        .all_pods_have_loaded_the_payload()
    )


def test_searches_that_find_nothing_are_taken_back_for_retrieval_misses(rag):
    (
        rag.tries("lost-words.yaml")
        .wait_for_phase("Degraded", 120)
        .then()
        .the_message_says("harm shown", "most of it by retrieval-misses: rate")
    )


def test_a_prompt_that_keeps_to_the_passages_is_promoted_for_it(rag):
    (
        rag.tries("better.yaml")
        .wait_for_phase("Healthy", 150)
        .then()
        .weights_were(0, 2_500, 5_000, 0)
        .all_pods_have_loaded_the_payload()
    )
    rag.every_panel_has_data()
