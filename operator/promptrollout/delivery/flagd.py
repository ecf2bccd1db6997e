"""`flagd.json`: the same decision for any OpenFeature client.

flagd's own `fractional` hashes differently in different providers (operator-craft, "How the field's controllers
fail"), so the flag compares a bucket that the application computes with the assignment's formula and hands over in
the evaluation context as the integer `bucket`. Without it everyone gets stable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol


class Arm(Protocol):
    """What the flag needs of an arm."""

    @property
    def name(self) -> str:
        """The arm's name."""

    @property
    def revision(self) -> str:
        """The revision's short hash."""

    @property
    def weight(self) -> int:
        """The share in 1/10,000."""


def flagd_json(rollout: str, arms: Sequence[Arm], metadata: Mapping[str, str]) -> str:
    """The flag definition; the flag's key is the rollout's name, its value the revision, its variant the arm."""
    last = arms[-1].name
    rules: list[object] = [{"missing": ["bucket"]}, last]
    for arm, end in list(zip(arms, accumulate(a.weight for a in arms), strict=True))[:-1]:
        rules += [{"<": [{"var": "bucket"}, end]}, arm.name]
    flag = {
        "state": "ENABLED",
        "variants": {arm.name: arm.revision for arm in arms},
        "defaultVariant": last,
        "targeting": {"if": [*rules, last]},
        "metadata": {"rollout": rollout, **metadata},
    }
    name = rollout.rpartition("/")[2]
    return json.dumps(
        {"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {name: flag}},
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
    )
