"""What holds for all tests."""

import asyncio

from hypothesis import HealthCheck, settings

# pytest-asyncio looks for the thread's current loop before each test; on Python 3.11 that makes one which nobody closes
# (a ResourceWarning in some later test). A loop that has been set, be it to none, is not made.
asyncio.set_event_loop(None)

# On a busy machine a single example may take any time: that is no failure of what it tries.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
