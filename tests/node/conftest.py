"""One real node for all of this folder; skipped, with the reason, where the machine cannot run one."""

from itertools import count

import pytest

from e2e.application import Application
from e2e.realnode import machine
from e2e.realnode.stack import RealStack
from e2e.scenario import given
from e2e.stack import Options, Traffic

_numbers = count(1)


@pytest.fixture(scope="session")
def stack():
    if reason := machine.missing():
        pytest.skip(f"{reason} (make e2e-node installs what is missing)")
    with RealStack(Options(application=Application(namespace="first", replicas=1), traffic=None)) as running:
        yield running


@pytest.fixture
def healthy(stack):
    """Two real pods, their users, and a rollout whose first prompt is served by all."""
    application = Application(namespace=f"shop-{next(_numbers)}", replicas=2)
    stack.deploy(application)
    stack.wait_for_pods(application)
    load = stack.start_load(application, Traffic(rate=80.0, turns=3.0, think_s=0.2))
    try:
        yield given(stack, application)
    finally:
        load.stop()
        stack.kubectl("delete", "namespace", application.namespace, "--wait=false")
