"""An operator of today takes over what an older one left in the middle of a ramp."""

import json

import pytest

from e2e.application import Application
from e2e.scenario import given
from e2e.upgrades import CORPUS, put_back
from tests.scenarios.conftest import TRAFFIC

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

#: Of the first version that was recorded.
RAMP = CORPUS / "cb4e57c" / "ramp.json"


@pytest.fixture
def application(stack):
    """As it was when the rollout was recorded."""
    app = Application(namespace="shop", replicas=2)
    stack.deploy(app)
    stack.wait_for_pods(app)
    load = stack.start_load(app, TRAFFIC)
    try:
        yield app
    finally:
        stack.mend()
        load.stop()
        stack.kubectl("delete", "namespace", app.namespace, "--wait=false")


def samples(status):
    return {metric.text("name"): int(metric.number("samples")) for metric in status.metrics}


def test_an_upgraded_operator_goes_on_with_the_ramp_it_finds(stack, application):
    recorded = json.loads(RAMP.read_text("utf-8"))
    left = recorded["rollout"]["status"]
    counted = {metric["name"]: metric["samples"] for metric in left["analysis"]["metrics"]}
    when = given(stack, application).when().the_operator_stops()
    put_back(stack, recorded)
    when.kubectl("annotate", "pods", "-l", f"app={application.app}", "promptrollout.dev/nudge=before")
    when.then().all_pods_have_loaded_the_payload()

    when.the_operator_starts().wait_for(
        "evidence beyond the recorded",
        # A guard that this version has besides begins with nothing.
        lambda status: all(samples(status).get(name, 0) > counted[name] for name in counted),
    )

    then = when.then().all_pods_have_loaded_the_payload().weights_were(5_000)
    for field in (
        "stable.revision",
        "delivered.salt",
        "delivered.arms",
        "candidate.attempt",
        "candidate.progress.step",
    ):
        then.the_status(
            f"{field} as it was left",
            lambda status, at=field: at_path(status.raw.raw, at) == at_path({"status": left}, at),
        )
    reasons = when.subject.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split()
    assert not {
        "CandidateDelivered",
        "StepStarted",
        "PayloadRepaired",
        "StatusOutdated",
        "StatusDropped",
    } & set(reasons)

    # An id of its own: the recorded rollout has executed others.
    command = "promptrollout.dev/command=promote:after-the-upgrade"
    when.kubectl("annotate", when.subject.reference, command, "--overwrite")
    when.wait_for_phase("Healthy").then().the_status(
        "the candidate is promoted", lambda status: status.stable == left["candidateRevision"]
    ).all_pods_have_loaded_the_payload()


def at_path(rollout, path):
    here = rollout["status"]
    for name in path.split("."):
        here = here[name]
    return here
