"""What holds for all tests."""

import asyncio

from hypothesis import HealthCheck, settings

# pytest-asyncio looks for the thread's current loop before each test; on Python 3.11 that makes one which nobody closes
# (a ResourceWarning in some later test). A loop that has been set, be it to none, is not made.
asyncio.set_event_loop(None)

# How long an example takes to make or to run says how busy the machine is, and nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
