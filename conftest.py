"""What holds for all tests."""

import asyncio

# pytest-asyncio looks for the thread's current loop before each test; on Python 3.11 that makes one which nobody closes
# (a ResourceWarning in some later test). A loop that has been set, be it to none, is not made.
asyncio.set_event_loop(None)
