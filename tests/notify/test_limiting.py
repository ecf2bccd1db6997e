"""How much a channel is told."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.notify.limiting import Allowance, Bucket, Happened

WHAT = Happened("shop/support", "Paused", "inconclusive")


def other(number):
    return Happened(f"shop/support-{number}", "Paused", "inconclusive")


def allowance(per_minute=20.0, burst=10):
    return Allowance(per_minute, burst, 0.0)


def test_the_same_words_are_told_once_in_a_minute():
    allowed = allowance()
    assert [allowed.admit(WHAT, at) for at in (0.0, 1.0, 59.0, 60.0)] == [True, False, False, True]


def test_a_reason_of_one_rollout_with_ever_new_words_does_not_take_the_channel_from_others():
    allowed = allowance(burst=100)
    said = [allowed.admit(Happened("shop/flapping", "Paused", f"look {n}"), 0.0) for n in range(50)]
    assert sum(said) == Allowance.ALIKE_SIZE
    assert allowed.admit(WHAT, 0.0)


def test_what_is_held_back_is_told_in_one_summary_after_a_minute():
    allowed = allowance(per_minute=1, burst=2)
    assert [allowed.admit(other(n), 0.0) for n in range(14)].count(True) == 2
    assert allowed.summary(59.0) is None
    assert allowed.summary_in(59.0) == pytest.approx(1.0)
    held = allowed.summary(60.0)
    assert (held.count, held.reasons, len(held.rollouts)) == (12, (("Paused", 12),), 12)
    assert (allowed.summary(1e6), allowed.summary_in(1e6)) == (None, None)


def test_what_could_not_be_sent_may_be_told_again_and_is_in_the_summary():
    allowed = allowance()
    assert allowed.admit(WHAT, 0.0)
    allowed.lost(WHAT, 10.0)
    assert allowed.admit(WHAT, 20.0)
    assert allowed.summary(70.0).count == 1


def test_a_summary_that_could_not_be_sent_is_in_the_next():
    allowed = allowance()
    allowed.lost(WHAT, 0.0)
    allowed.restore(allowed.summary(60.0), 61.0)
    allowed.lost(other(1), 62.0)
    assert allowed.summary(121.0).count == 2


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60),
    st.integers(1, 5),
    st.floats(0.1, 20),
)
def test_no_stretch_of_time_has_more_than_the_burst_and_what_was_earned_in_it(gaps, size, every):
    bucket = Bucket(size, every, 0.0)
    taken = [at for at in itertools.accumulate(gaps) if bucket.take(at)]
    for first, last in itertools.combinations_with_replacement(range(len(taken)), 2):
        assert last - first + 1 <= size + (taken[last] - taken[first]) / every + 1e-6


@given(st.integers(1, 5), st.floats(0.1, 1000), st.floats(0, 1e6))
def test_when_the_time_that_was_named_is_over_there_is_a_token(size, every, start):
    bucket = Bucket(size, every, start)
    while bucket.take(start):
        pass
    assert bucket.take(start + bucket.wait(start))


STEPS = st.tuples(
    st.floats(0, 120), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["post", "lose", "ask"])
)


@given(st.lists(STEPS, max_size=80))
def test_everything_is_either_told_or_counted_in_a_summary_exactly_once(steps):
    allowed, now, posted, sent, told = allowance(per_minute=2, burst=3), 0.0, 0, 0, 0
    for gap, rollout, words, what in steps:
        now += gap
        if what == "ask":
            held = allowed.summary(now)
            told += held.count if held else 0
            continue
        happened = Happened(f"shop/{rollout}", "Paused", str(words))
        posted += 1
        if allowed.admit(happened, now):
            if what == "lose":
                allowed.lost(happened, now)
            else:
                sent += 1
    last = allowed.summary(now + 1e5)
    assert posted == sent + told + (last.count if last else 0)


def test_memory_is_bounded_however_many_rollouts_there_are():
    allowed = allowance()
    for number in range(3 * Allowance.REMEMBERED):
        allowed.admit(other(number), 0.0)
    assert max(len(allowed._alike), len(allowed._words)) <= Allowance.REMEMBERED
    assert len(allowed._held) <= Allowance.REMEMBERED + 1
    assert allowed.summary(60.0).count == 3 * Allowance.REMEMBERED - 10
