"""Which arm a unit gets; the same formula in every language (design: delivery.md, "Assignment").

Arms own consecutive ranges of 10,000 buckets in the listed order, candidate first and stable last, so a ramp only
ever moves units from stable to candidate, and a unit's bucket never depends on the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

WHOLE = 10_000
CLUSTERS = 16
_SEPARATOR = "\x1f"


class Weighted(Protocol):
    """Anything with a weight in 1/10,000."""

    @property
    def weight(self) -> int:
        """The share in 1/10,000."""


ArmT = TypeVar("ArmT", bound=Weighted)


def bucket_of(salt: str, unit: str) -> int:
    """The unit's bucket, 0 … 9999: the top of a 64 bit hash, scaled without modulo bias."""
    digest = hashlib.sha256(f"{salt}{_SEPARATOR}{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * WHOLE >> 64


def cluster_of(unit: str) -> int:
    """The unit's cluster, 0 … 15, for the variance estimate; no salt, so that history outlives a candidate.

    Source: statistics-correlated, "What the SDK exports".
    """
    return hashlib.sha256(f"cluster{_SEPARATOR}{unit}".encode()).digest()[0] % CLUSTERS


def arm_of(arms: Sequence[ArmT], bucket: int) -> ArmT:
    """The arm that owns `bucket`. The weights sum to 10,000 (ValueError otherwise)."""
    for arm, (_, end) in zip(arms, ranges(arms), strict=True):
        if bucket < end:
            return arm
    raise ValueError(f"bucket {bucket} is outside 0 … {WHOLE - 1}")


def ranges(arms: Sequence[Weighted]) -> list[tuple[int, int]]:
    """Each arm's buckets as [start, end). ValueError unless the weights are ≥ 0 and sum to 10,000."""
    ends = list(accumulate(arm.weight for arm in arms))
    if any(arm.weight < 0 for arm in arms) or not ends or ends[-1] != WHOLE:
        raise ValueError(f"weights are {[a.weight for a in arms]}; they must be ≥ 0 and sum to {WHOLE}")
    return list(zip([0, *ends[:-1]], ends, strict=True))
