"""What the tests of this room share."""

import asyncio

# pytest-asyncio 1.x asks for the current event loop before its first test. Where none was ever set, Python 3.11 makes
# one that nobody closes, and its ResourceWarning fails whichever test the garbage collector runs in. So: say "none".
asyncio.set_event_loop(None)
