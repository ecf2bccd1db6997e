"""Reports, and what follows from them."""

import json

import pytest

from promptrollout.gates.answers import judge, read_report


@pytest.mark.parametrize(
    ("said", "threshold", "passed"),
    [
        ("", None, True),
        ("all fine", None, True),
        ('{"passed": false}', None, False),
        ('{"passed": false, "score": 1}', "0.5", False),
        ('{"score": 0.8}', "0.8", True),
        ('{"score": "0.8"}', "0.8", True),
        ('{"score": 0.79}', "0.8", False),
        ('{"score": -1}', "0", False),
        ('{"score": true}', "0.5", False),
        ('{"score": Infinity}', "0.5", False),
        ('{"score": NaN}', "0.5", False),
        ("0.9", "0.5", False),
        ("", "0.5", False),
    ],
)
def test_a_job_that_has_ended_well(said, threshold, passed):
    assert judge(read_report(said), threshold, default=True)[0] is passed


def test_a_report_that_is_no_text_is_shown_as_it_is():
    assert read_report('{"report": {"a": 1}}').text == '{"a": 1}'


def test_a_long_report_is_cut():
    assert len(read_report(json.dumps({"report": "x" * 9000})).text) == 2048


def test_half_of_a_surrogate_pair_reaches_nobody():
    assert read_report('{"report": "\\ud83d!"}').text == "?!"


def test_nonsense_never_breaks_it():
    assert read_report("[" * 100_000).text.startswith("[")
