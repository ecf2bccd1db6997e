"""An example's own image, made here without a registry, in real pods from the example's own manifests."""

import pytest

from e2e.examples import IMAGE, Example

pytestmark = [pytest.mark.realnode, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def rag(stack):
    stack.keep_image(IMAGE)
    with Example("rag", "rag", app="rag", history=100).running(stack) as running:
        yield running


def test_a_better_prompt_is_promoted_and_an_ungrounded_one_rolled_back_in_the_examples_pods(stack, rag):
    (
        rag.tries("better.yaml")
        .wait_for_phase("Healthy", 150)
        .then()
        .weights_were(0, 2_500, 5_000, 0)
        .all_pods_have_loaded_the_payload()
    )
    (
        rag.tries("ungrounded.yaml")
        .wait_for_phase("Degraded", 150)
        .then()
        .the_message_says("harm shown", "groundedness")
        .all_pods_have_loaded_the_payload()
    )
    images = {
        c.text("image")
        for pod in stack.pods(rag.when().subject.application)
        for c in pod.items("spec.containers")
    }
    assert images == {IMAGE.name}
