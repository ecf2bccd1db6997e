from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.quantities import (
    format_duration,
    format_weight,
    parse_decimal,
    parse_duration,
    parse_weight,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800), ("0s", 0), ("3650d", 315360000)],
)
def test_a_duration_is_read(text: str, seconds: float):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "m", "1.5h", "-1s", " 1s", "1s ", "1s\n", "1w", "٣s", "3651d", f"{10**25}d"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="; write"):
        parse_duration(text)


@given(st.integers(0, 10 * 365 * 86400))
def test_a_duration_for_people_is_never_more_than_the_real_one(seconds: int):
    shown = parse_duration(format_duration(timedelta(seconds=seconds)))

    assert timedelta(0) <= timedelta(seconds=seconds) - shown < max(shown, timedelta(seconds=1))


@pytest.mark.parametrize(
    ("value", "weight"),
    [
        (0, 0),
        (5, 500),
        (100, 10_000),
        ("5%", 500),
        ("0.5%", 50),
        ("0.01%", 1),
        ("99.99%", 9_999),
        ("100.00%", 10_000),
    ],
)
def test_a_weight_counts_hundredths_of_a_per_cent(value: int | str, weight: int):
    assert parse_weight(value) == weight


@pytest.mark.parametrize(
    "value", [-1, 101, True, "5", "101%", "100.01%", "0.001%", "%", "", " 5%", "5%\n", "1e1%"]
)
def test_what_is_no_weight_is_refused_with_words(value: int | str):
    with pytest.raises(ValueError, match="weight"):
        parse_weight(value)


@given(st.integers(0, 10_000))
def test_a_weight_shown_is_the_weight_read(weight: int):
    assert parse_weight(format_weight(weight)) == weight


@pytest.mark.parametrize(
    ("text", "number"), [("0.02", 0.02), ("1", 1.0), ("0", 0.0), ("999999999.999999999", 1e9)]
)
def test_a_decimal_is_read(text: str, number: float):
    assert parse_decimal(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", ".5", "5.", "-1", "1e3", "nan", "inf", "0,5", "1.0\n", "1234567890"])
def test_what_is_no_decimal_is_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="write for example"):
        parse_decimal(text)
