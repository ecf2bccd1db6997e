"""One real control plane for all examples; each has a namespace of its own, which goes with the test."""

from itertools import count

import pytest

from e2e.application import Application
from e2e.stack import Options, Stack

_numbers = count(1)


@pytest.fixture(scope="package")
def stack():
    with Stack(Options(application=Application(namespace="nobody", replicas=0), traffic=None)) as running:
        yield running


@pytest.fixture
def namespace(stack):
    name = f"example-{next(_numbers)}"
    try:
        yield name
    finally:
        stack.mend()
        stack.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
