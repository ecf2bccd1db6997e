"""What holds for all tests."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings

# pytest-asyncio looks for the thread's current loop before each test; on Python 3.11 that makes one which nobody closes
# (a ResourceWarning in some later test). A loop that has been set, be it to none, is not made.
asyncio.set_event_loop(None)

# How long an example takes to make or to run says how busy the machine is, and nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

#: Fixtures that start a control plane, and the marks by which such tests run by themselves, one after the other.
_STARTS = {"stack", "control_plane"}
_REAL = {"realcluster", "realnode", "realregistry"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No test that needs a control plane runs among those that need none, two at a time (`make unit`)."""
    for item in items:
        needs = _STARTS & set(getattr(item, "fixturenames", ()))
        if needs and not _REAL & {mark.name for mark in item.iter_markers()}:
            raise pytest.UsageError(
                f"{item.nodeid} uses {', '.join(needs)}: mark it with one of {sorted(_REAL)}"
            )
