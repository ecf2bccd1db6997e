"""One real node for all of this folder; skipped, with the reason, where the machine cannot run one."""

from contextlib import contextmanager
from itertools import count

import pytest

from e2e.application import Application
from e2e.realnode import machine
from e2e.realnode.stack import RealStack
from e2e.scenario import given
from e2e.stack import Options, Traffic

_numbers = count(1)


@pytest.fixture(scope="package")
def stack():
    if reason := machine.missing():
        pytest.skip(f"{reason} (make e2e-node installs what is missing)")
    with RealStack(Options(application=Application(namespace="first", replicas=1), traffic=None)) as running:
        yield running


@contextmanager
def served(stack, **fields):
    """Two real pods in a namespace of their own, their users, and what is given for a rollout of them."""
    application = Application(namespace=f"shop-{next(_numbers)}", replicas=2, **fields)
    stack.deploy(application)
    stack.wait_for_pods(application)
    load = stack.start_load(application, Traffic(rate=80.0, turns=3.0, think_s=0.2))
    try:
        yield given(stack, application)
    finally:
        load.stop()
        stack.kubectl("delete", "namespace", application.namespace, "--wait=false")


@pytest.fixture
def healthy(stack):
    """With the chart's default delivery mode, Nudge."""
    with served(stack) as story:
        yield story


@pytest.fixture
def watching(stack):
    """Pods that mount nothing: their SDK watches the ConfigMap, and the operator has no right to change pods."""
    stack.reinstall(**{"delivery.mode": "Watch"})
    try:
        with served(stack, watches=True) as story:
            yield story
    finally:
        stack.reinstall()
