"""The simulated model does what its prompt's profile says."""

from statistics import mean

import pytest

from e2e import demo
from e2e.workload.judge import ELEMENTS, compose, helpfulness
from e2e.workload.profiles import Profile, draw, profile_of

GOOD = "You are a support agent for {{shop}}."


def test_the_judge_reads_from_the_text_what_the_model_wrote() -> None:
    assert [helpfulness(compose(n)) for n in (0, 7, ELEMENTS)] == [0.0, 7 / ELEMENTS, 1.0]


def test_phrases_have_their_effects() -> None:
    assert profile_of(GOOD) == Profile()
    assert profile_of(f"{GOOD} Reply only with JSON.").error_rate == 0.12
    assert profile_of(f"{GOOD} Use as few words as possible.").score_mean < 0.78


def test_a_directive_gives_exact_figures() -> None:
    assert profile_of(f"{GOOD} [simulate error_rate=0.5 icc=0.2]") == Profile(error_rate=0.5, icc=0.2)


def test_a_directive_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"eror_rate.*error_rate"):
        profile_of("[simulate eror_rate=0.5]")


def test_a_request_always_has_the_same_outcome() -> None:
    assert draw(Profile(), "1", "hello", "u") == draw(Profile(), "1", "hello", "u")
    assert draw(Profile(), "1", "hello", "u") != draw(Profile(), "2", "hello", "u")


@pytest.mark.parametrize("icc", [0.0, 0.2])
def test_rates_and_scores_are_those_of_the_profile(icc: float) -> None:
    profile = Profile(error_rate=0.12, score_mean=0.7, score_sd=0.1, icc=icc)
    outcomes = [draw(profile, "1", f"request {n}", f"user {n}") for n in range(4000)]
    assert mean(outcome.fails for outcome in outcomes) == pytest.approx(0.12, abs=0.02)
    assert mean(outcome.elements / ELEMENTS for outcome in outcomes) == pytest.approx(0.7, abs=0.01)


def test_requests_of_one_conversation_share_their_fate_when_asked_to() -> None:
    profile = Profile(error_rate=0.1, icc=0.3)
    rates = [mean(draw(profile, "1", f"{u}-{n}", f"user {u}").fails for n in range(40)) for u in range(200)]
    spread = mean((rate - 0.1) ** 2 for rate in rates)
    independent, shared = 0.1 * 0.9 / 40, 0.3 * 0.1 * 0.9
    assert spread == pytest.approx(independent * 0.7 + shared, rel=0.35)


def test_the_demos_subtly_bad_prompt_is_worse_than_its_good_one() -> None:
    assert profile_of(demo.SUBTLE).score_mean < profile_of(demo.GOOD).score_mean - 0.05
    assert profile_of(demo.BAD).error_rate == 0.12
