"""RAG on the real control plane: taken back when answers leave their passages, and when searches find nothing."""

import pytest

from e2e.examples import Example, silent_panels

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]


@pytest.fixture
def example(namespace):
    return Example("rag", namespace, app="rag")


def harmed_by(status):
    """The metrics that speak against the candidate, as the status has them."""
    return status.message


def test_an_answer_that_leaves_its_passages_is_taken_back_for_groundedness(stack, example):
    rag = example.deploy(stack)
    example.patch(rag, "ungrounded.yaml").wait_for_phase("Degraded", 120)
    print(rag.subject.status().message)
    assert silent_panels(stack, rag, example) == []
