"""What holds for all tests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# pytest-asyncio looks for the thread's current loop before each test; on Python 3.11 that makes one which nobody closes
# (a ResourceWarning in some later test). A loop that has been set, be it to none, is not made.
asyncio.set_event_loop(None)

# How long an example takes to make or to run says how busy the machine is, and nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture
async def farewells() -> AsyncIterator[None]:
    """What the test has closed is closed when its loop ends: a TLS connection waits for the server's farewell first.

    Else its socket is open still, and whichever test runs when it is collected fails by a ResourceWarning. What was
    never closed still does that. https://docs.aiohttp.org/en/stable/client_advanced.html#graceful-shutdown
    """
    yield
    loop: Any = asyncio.get_running_loop()
    ends = loop.time() + 2.0
    while loop._transports and loop.time() < ends:  # noqa: ASYNC110, SLF001 - nobody tells, nobody else knows
        await asyncio.sleep(0.01)


#: Fixtures that start a control plane, and the marks of tests that need one.
_STARTS = {"stack", "control_plane"}
_REAL = {"realcluster", "realnode", "realregistry"}
_NODE = "tests/node/"


class ByFileAndOneNode(LoadFileScheduling):
    """A file's tests share its fixtures, so one worker has them all; of the real node too, since a machine has one."""

    def _split_scope(self, nodeid: str) -> str:
        return _NODE if nodeid.startswith(_NODE) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFileAndOneNode:
    """Instead of what `--dist` names."""
    return ByFileAndOneNode(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what takes longest and mostly waits, so that the workers end together.

    And nothing that needs a control plane is without a mark, so that `make unit` starts none.
    """
    real = {item.nodeid for item in items if _REAL & {mark.name for mark in item.iter_markers()}}
    for item in items:
        needs = _STARTS & set(getattr(item, "fixturenames", ()))
        if needs and item.nodeid not in real:
            raise pytest.UsageError(
                f"{item.nodeid} uses {', '.join(needs)}: mark it with one of {sorted(_REAL)}"
            )
    items.sort(key=lambda item: (item.nodeid not in real, not item.nodeid.startswith(_NODE)))
