"""A mount, and a rollout over it."""

import pytest
from prometheus_client import CollectorRegistry

from promptrollout_sdk import PromptRollout
from testkit import NAME, Mount, payload


@pytest.fixture
def mount(tmp_path):
    return Mount(tmp_path)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def rollout(mount, registry):
    mount.deliver(payload())
    return PromptRollout.from_directory(
        mount.path, registry=registry, events=["refusals"], scores=["helpfulness"], watch=False
    )


@pytest.fixture
def value(registry):
    def get(name, **labels):
        labels.setdefault("rollout", NAME)
        return registry.get_sample_value(f"promptrollout_{name}", labels)

    return get
