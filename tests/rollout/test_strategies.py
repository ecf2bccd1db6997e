"""Strategies as pure functions: from where a trial stands to the next move."""

from datetime import timedelta

import pytest

from promptrollout.analysis import Verdict
from promptrollout.api.canary import Canary
from promptrollout.api.spec import Strategy
from promptrollout.rollout.strategies import Advance, Finish, Stay, Undecided, View, strategy_of
from promptrollout.rollout.strategies.canary import CanaryStrategy
from promptrollout.rollout.strategies.immediate import ImmediateStrategy

MIN = timedelta(minutes=1)
BY_TIME = {"weight": 1, "duration": "10m"}
BY_SAMPLES = {"weight": 5, "minSamples": 500, "timeout": "1h"}
BY_EVIDENCE = {"weight": 25, "until": "Evidence", "timeout": "6h"}
LAST = {"weight": 50, "duration": "1h"}


def canary(*steps):
    return CanaryStrategy(Canary.model_validate({"steps": list(steps)}))


def view(step, weight, minutes=0, verdict=Verdict.Inconclusive, **facts):
    fixed = {"samples": 0, "compares": True, "outlook": "errors not yet shown non-inferior"}
    return View(step, weight, minutes * MIN, verdict, **{**fixed, **facts})


PROVEN = Finish("NonInferior", "every required metric is shown non-inferior")
FOUR = canary(BY_TIME, BY_SAMPLES, BY_EVIDENCE, LAST)


@pytest.mark.parametrize(
    ("seen", "move"),
    [
        (view(0, 0, verdict=Verdict.NoData), Advance(1, 100)),
        (view(1, 100, 10), Advance(2, 500)),
        (view(2, 500, 1, samples=500), Advance(3, 2500)),
        (view(3, 2500, 1, Verdict.NonInferior), Advance(4, 5000)),
        (view(4, 5000, 60, Verdict.NonInferior), PROVEN),
    ],
)
def test_a_canary_goes_on_when_the_step_has_what_it_asks_for(seen, move):
    assert FOUR.next(seen) == move


@pytest.mark.parametrize(
    ("seen", "says", "left"),
    [
        (view(1, 100, 4), "step 1/4 at 1%: 6m left", 6 * MIN),
        (view(2, 500, 30, samples=499), "499 of 500 candidate answers (at most 30m more)", 30 * MIN),
        (view(3, 2500, 5 * 60), "errors not yet shown non-inferior (at most 1h more)", 60 * MIN),
        (view(4, 5000, 59, Verdict.NonInferior), "step 4/4 at 50%: 1m left", MIN),
        (
            view(4, 10_000, 59, Verdict.NonInferior),
            "at 100%, where nothing is left to compare it with: 1m left",
            MIN,
        ),
    ],
)
def test_a_canary_stays_and_says_what_is_missing_and_for_how_long(seen, says, left):
    found = FOUR.next(seen)
    assert isinstance(found, Stay)
    assert says in found.message
    assert found.left == left


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (view(2, 500, 60, samples=499), "499 of 500 candidate answers"),
        (view(3, 2500, 6 * 60), "errors not yet shown non-inferior"),
        (view(4, 5000, 60), "the last step's time is over, but errors not yet shown non-inferior"),
        (view(4, 5000, 60, compares=False, outlook=""), "no metric is compared"),
    ],
)
def test_time_that_is_over_without_proof_is_undecided_and_never_a_step(seen, says):
    found = FOUR.next(seen)
    assert isinstance(found, Undecided)
    assert says in found.message


@pytest.mark.parametrize(
    "seen", [view(1, 100, 999), view(2, 500, 999), view(3, 2500, 999), view(4, 5000, 999)]
)
def test_without_data_of_the_candidate_nothing_is_decided_however_late(seen):
    blind = View(seen.step, seen.weight, seen.elapsed, Verdict.NoData, 0, compares=True, outlook="no series")
    found = FOUR.next(blind)
    assert isinstance(found, Stay)
    assert "no series" in found.message


def test_a_first_step_without_weight_is_a_step_like_any_other():
    strategy = canary({"weight": 0, "duration": "5m"}, LAST)
    assert strategy.next(view(0, 0, verdict=Verdict.NoData)) == Advance(1, 0)
    assert isinstance(strategy.next(view(1, 0, 4, Verdict.NoData)), Stay)
    assert strategy.next(view(1, 0, 5, Verdict.NoData)) == Advance(2, 5000)


@pytest.mark.parametrize(
    ("seen", "move"),
    [
        (view(0, 0), Advance(1, 100)),
        (view(3, 2500), Advance(4, 5000)),
        (view(4, 5000), Finish("Command", "promoted by command from the last step")),
    ],
)
def test_a_forced_canary_goes_one_step_on_whatever_the_evidence(seen, move):
    assert FOUR.forced(seen) == move


@pytest.mark.parametrize(
    ("weights", "weight", "step", "goes_on_at"),
    [
        ([1, 5, 25], 0, 0, 0),  # not begun
        ([1, 5, 25], 500, 2, 2),  # only other things were edited
        ([5, 25, 25, 25, 50], 2500, 2, 2),  # and no step of the same weight is left out
        ([5, 25, 25, 25, 50], 2500, 3, 3),
        ([1, 5, 25, 50], 2500, 2, 3),  # a step was put before
        ([25, 50], 2500, 3, 1),  # steps before were taken away
        ([25, 25, 50], 2500, 7, 1),
        ([1, 10, 40], 2500, 2, 2),  # between two: the rules of the lower
        ([30, 60], 2500, 2, 0),  # below the first: its rules, without its weight
        ([1, 5], 5000, 3, 2),  # above the last
        ([0, 5], 0, 1, 1),
    ],
)
def test_after_an_edit_it_goes_on_where_the_weight_fits(weights, weight, step, goes_on_at):
    strategy = canary(*({"weight": each, "duration": "5m"} for each in weights))
    assert strategy.relocate(weight, step) == goes_on_at


@pytest.mark.parametrize("weight", [1, 99, 100, 500, 2500, 3333, 9999, 10_000])
@pytest.mark.parametrize("weights", [[1, 5, 25], [25, 25, 50], [50], [100], [0, 1, 100]])
@pytest.mark.parametrize("step", [0, 1, 2, 5])
def test_the_next_step_after_an_edit_never_lowers_the_weight(weights, weight, step):
    strategy = canary(*({"weight": each, "duration": "5m"} for each in weights))
    move = strategy.next(view(strategy.relocate(weight, step), weight, 5))
    assert not isinstance(move, Advance) or move.weight >= weight


def test_below_the_first_step_its_rules_are_served_out_before_its_weight_is_given():
    strategy = canary({"weight": 30, "duration": "10m"})
    assert isinstance(strategy.next(view(0, 2500, 9)), Stay)
    assert strategy.next(view(0, 2500, 10)) == Advance(1, 3000)


def test_the_digest_changes_with_the_steps_and_with_nothing_else():
    assert canary(BY_TIME, LAST).digest() == canary(dict(reversed(BY_TIME.items())), LAST).digest()
    others = [canary(LAST), canary(BY_TIME), canary(BY_TIME, {**LAST, "duration": "2h"}), ImmediateStrategy()]
    assert canary(BY_TIME, LAST).digest() not in {other.digest() for other in others}


@pytest.mark.parametrize(
    "seen", [view(0, 0, verdict=Verdict.NoData), view(3, 2500), view(0, 0, compares=False)]
)
def test_immediate_always_finishes(seen):
    strategy = ImmediateStrategy()
    assert strategy.next(seen) == strategy.forced(seen) == Finish("Immediate", "the strategy is immediate")
    assert strategy.relocate(2500, 3) == 0
    assert not strategy.compares


def test_the_spec_names_the_strategy():
    assert strategy_of(Strategy.model_validate({"immediate": {}})).name == "immediate"
    assert strategy_of(Strategy.model_validate({"canary": {"steps": [LAST]}})).name == "canary"
    with pytest.raises(ValueError, match="names none of canary, abTest, shadow, immediate"):
        strategy_of(Strategy.model_validate({}))
