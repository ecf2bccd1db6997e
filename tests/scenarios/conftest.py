"""One real control plane for all scenarios; each has a namespace, pods and users of its own."""

from itertools import count

import pytest

from e2e.application import Application
from e2e.scenario import given
from e2e.stack import Options, Stack, Traffic

_numbers = count(1)
TRAFFIC = Traffic(rate=80.0, turns=3.0, think_s=0.2)


@pytest.fixture(scope="session")
def stack():
    options = Options(
        application=Application(namespace="first", replicas=1),
        traffic=None,
        chart_values={"gates.jobs.enabled": "true"},
    )
    with Stack(options) as running:
        yield running


@pytest.fixture
def application(stack):
    """Two serving pods and their users, in a namespace that goes with the test."""
    app = Application(namespace=f"shop-{next(_numbers)}", replicas=2)
    stack.deploy(app)
    stack.wait_for_pods(app)
    load = stack.start_load(app, TRAFFIC)
    try:
        yield app
    finally:
        stack.mend()
        load.stop()
        stack.kubectl("delete", "namespace", app.namespace, "--wait=false")


@pytest.fixture
def healthy(stack, application):
    """A rollout whose first prompt is served by all."""
    return given(stack, application)
