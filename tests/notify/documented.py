"""The code that docs/notifications.md tells readers to verify webhooks with, taken from there as it stands."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
_CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
assert _CODE is not None, "docs/notifications.md shows no Python"
_NAMES: dict = {}
exec(_CODE[1], _NAMES)  # noqa: S102 - our own page

verify = _NAMES["verify"]
