"""What is written into queries matches what is meant, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.sources.promql import duration, one_of, quote, quote_meta, vector


def test_strings_are_escaped() -> None:
    assert quote('a"b\\c\nd') == '"a\\"b\\\\c\\nd"'


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_escaped_text_matches_itself_only(text: str, other: str) -> None:
    pattern = quote_meta(text)
    assert re.fullmatch(pattern, text, re.DOTALL)
    assert (re.fullmatch(pattern, other, re.DOTALL) is not None) == (text == other)


def test_alternatives_are_sorted_and_escaped_for_both_languages() -> None:
    assert one_of(["shop/b.c", "shop/a", "shop/a"]) == '=~"shop/a|shop/b\\\\.c"'
    assert one_of(["shop/b.c"]) == '="shop/b.c"'


def test_a_selector_has_its_matchers_in_the_order_given() -> None:
    assert vector("m", {"b": ["2"], "a": ["1", "0"]}) == 'm{b="2",a=~"0|1"}'
    assert vector("m", {}) == "m"


def test_durations_are_exact_to_the_millisecond() -> None:
    assert (duration(30), duration(1.5), duration(3600)) == ("30s", "1500ms", "3600s")
    with pytest.raises(ValueError, match="selects nothing"):
        duration(0)
