"""Who gets which arm."""

import hashlib
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.delivery import WHOLE, arm_of, bucket_of, cluster_of, ranges


@dataclass(frozen=True)
class Arm:
    name: str
    weight: int


def two(weight: int) -> list[Arm]:
    return [Arm("candidate", weight), Arm("stable", WHOLE - weight)]


def test_the_bucket_is_the_scaled_top_of_sha256():
    digest = hashlib.sha256(b"salt\x1fuser-1").hexdigest()
    assert bucket_of("salt", "user-1") == int(digest[:16], 16) * 10_000 // 2**64


@given(
    unit=st.text(st.characters(exclude_categories=["Cs"])),
    low=st.integers(0, WHOLE),
    high=st.integers(0, WHOLE),
)
def test_a_ramp_only_ever_moves_units_from_stable_to_candidate(unit, low, high):
    low, high = sorted((low, high))
    bucket = bucket_of("s", unit)
    before, after = arm_of(two(low), bucket).name, arm_of(two(high), bucket).name
    assert (before, after) != ("candidate", "stable")


@given(weights=st.lists(st.integers(0, WHOLE), min_size=1, max_size=6))
def test_each_bucket_has_exactly_one_owner_and_shares_are_exact(weights):
    weights = [w * WHOLE // max(sum(weights), 1) for w in weights]
    arms = [Arm(f"a{i}", w) for i, w in enumerate([*weights, WHOLE - sum(weights)])]
    owners = [arm_of(arms, bucket).name for bucket in range(0, WHOLE, 7)]
    spans = ranges(arms)
    assert owners == [arms[[s <= b < e for s, e in spans].index(True)].name for b in range(0, WHOLE, 7)]
    assert [e - s for s, e in spans] == [a.weight for a in arms]


def test_of_a_million_units_each_arm_gets_its_share_and_a_ramp_only_moves_units_to_the_candidate():
    units, ramp = 1_000_000, (100, 500, 2_500, 5_000)
    hits = [0] * len(ramp)
    for i in range(units):
        bucket = bucket_of("a-salt", f"unit-{i}")
        inside = [bucket < weight for weight in ramp]
        assert inside == sorted(inside)
        for k, hit in enumerate(inside):
            hits[k] += hit
    for count, weight in zip(hits, ramp, strict=True):
        share = weight / WHOLE
        assert abs(count - units * share) < 4 * math.sqrt(units * share * (1 - share))


def test_another_salt_chooses_other_units_first():
    first = {i for i in range(20_000) if bucket_of("one", str(i)) < 1000}
    second = {i for i in range(20_000) if bucket_of("two", str(i)) < 1000}
    assert 0.05 < len(first & second) / len(first) < 0.15


def test_clusters_are_independent_of_the_bucket_and_even():
    counts = [0] * 16
    for i in range(16_000):
        counts[cluster_of(f"u{i}")] += 1
    assert all(850 < count < 1150 for count in counts)
    assert cluster_of("user-1") == hashlib.sha256(b"cluster\x1fuser-1").digest()[0] % 16


@pytest.mark.parametrize("weights", [[], [9999], [5000, 5001], [-1, 10_001]])
def test_weights_that_are_no_distribution_are_refused(weights):
    with pytest.raises(ValueError, match="sum to 10000"):
        ranges([Arm("a", w) for w in weights])
