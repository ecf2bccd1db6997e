"""What a decision rested on is kept, and gives the same verdict again; also when the operator died in between."""

import base64

import pytest

from e2e.controlplane.kubectl import CommandError
from promptrollout.analysis.keeping import read, replay
from promptrollout.analysis.ledger import FROM_CHECKPOINT

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent."
#: So few requests in the first step, and so few of them errors, that harm shows in the second only.
ERRORS = "You are a support agent. [simulate error_rate=0.07]"
STEPS = ({"weight": 2, "duration": "1s"}, {"weight": 50, "duration": "10m"})


def evidence(stack, namespace, name):
    found = stack.kubectl.get("configmap", name, "-n", namespace)
    packed = {key: base64.b64decode(str(text)) for key, text in found.mapping("binaryData").items()}
    return found, read({key: str(text) for key, text in found.mapping("data").items()}, packed)


def _named(status):
    decisions = status.raw.items("status.decisions")
    return bool(decisions) and all(one.text("evidence") for one in decisions)


def rolled_back(healthy, *, killed=False):
    story = (
        healthy.steps(*STEPS)
        .analysis(interval="1s")
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(ERRORS)
        .wait_for_weight(5_000, 90)
        .wait_for("the step's evidence to be named", _named)
    )
    if killed:
        story.the_operator_is_killed().the_operator_starts()
    story.wait_for_phase("Degraded", 150)
    return story.wait_for("the evidence to be named", lambda s: bool(s.rollback.text("evidence")))


def test_a_rollback_keeps_what_it_rested_on_and_it_gives_the_same_verdict(healthy, stack, application):
    story = rolled_back(healthy)
    status = story.subject.status()
    name = status.rollback.text("evidence")
    found, kept = evidence(stack, application.namespace, name)
    assert [one.decision["kind"] for one in replay(kept)] == ["Step", "RolledBack"]
    assert all(one.identical for one in replay(kept))
    assert replay(kept)[-1].assessment.reason == status.rollback.text("message")
    assert {one.text("evidence") for one in status.raw.items("status.decisions")} == {name}
    assert status.raw.items("status.history")[0].text("evidence") == name
    assert found.raw["immutable"] is True
    assert found.items("metadata.ownerReferences")[0].text("name") == application.rollout
    with pytest.raises(CommandError, match="immutable"):
        stack.kubectl(
            "patch",
            "configmap",
            name,
            "-n",
            application.namespace,
            "--type=merge",
            "-p",
            '{"data":{"x":"y"}}',
        )
    # The step's own evidence is held by the later one: nothing names it any more, so it goes.
    label = "promptrollout.dev/kind=evidence"
    stack.recorder.wait(
        lambda: (
            [
                one.name
                for one in stack.kubectl.get("configmaps", "-n", application.namespace, "-l", label).items(
                    "items"
                )
            ]
            == [name]
        ),
        "evidence that nothing names to go",
        20,
    )


def test_evidence_after_a_restart_begins_at_the_checkpoint_and_gives_the_same_verdict(
    healthy, stack, application
):
    story = rolled_back(healthy, killed=True)
    _, kept = evidence(stack, application.namespace, story.subject.status().rollback.text("evidence"))
    assert kept.dropped == FROM_CHECKPOINT
    assert replay(kept)[-1].identical
    # What was decided before the restart keeps its own evidence.
    decisions = story.subject.status().raw.items("status.decisions")
    names = [one.text("evidence") for one in decisions]
    assert len(set(names)) == len(names) == 2
    _, earlier = evidence(stack, application.namespace, names[-1])
    assert not earlier.dropped
    assert replay(earlier)[-1].identical
