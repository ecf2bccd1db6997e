"""Answers of the API: whole ones become series, all others say what they are."""

import json
import math

import pytest

from promptrollout.sources.counters import Point, is_stale
from promptrollout.sources.protocol import Reason
from promptrollout.sources.responses import Fault, check_envelope, read_series, refuse


def success(result: list[object], **more: object) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def test_values_come_as_strings_and_become_points() -> None:
    (series,) = read_series([{"metric": {"__name__": "m"}, "values": [[1.5, "3"], [2, "1e3"]]}])
    assert series.points == (Point(1.5, 3.0), Point(2.0, 1000.0))
    (single,) = read_series([{"metric": {}, "value": [7, "NaN"]}])
    assert math.isnan(single.points[0].value)


def test_a_null_is_a_staleness_marker() -> None:
    (series,) = read_series([{"metric": {}, "values": [[1, None]]}])
    assert is_stale(series.points[0].value)


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        (None, Reason.MALFORMED, "not the JSON"),
        ([], Reason.MALFORMED, "not the JSON"),
        ({"hello": 1}, Reason.MALFORMED, "not the JSON"),
        ({"status": "success"}, Reason.MALFORMED, "no data.result"),
        ({"status": "success", "data": {"result": {}}}, Reason.MALFORMED, "no data.result"),
        ({"status": "error", "errorType": "bad_data", "error": "parse"}, Reason.REJECTED, "parse"),
        ({"status": "error", "errorType": "timeout", "error": "slow"}, Reason.TIMEOUT, "slow"),
        (success([], warnings=["store 2 is down"]), Reason.PARTIAL, "store 2 is down"),
        (success([], isPartial=True), Reason.PARTIAL, "isPartial"),
    ],
)
def test_anything_less_than_a_whole_success_is_a_fault(body: object, reason: Reason, said: str) -> None:
    with pytest.raises(Fault, match=said) as caught:
        check_envelope(body)
    assert caught.value.reason is reason


def test_notes_that_are_no_warnings_do_not_make_an_answer_partial() -> None:
    body = success([], warnings=[], infos=["metric might not be a counter"], isPartial=False)
    assert check_envelope(body) is body


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "bad", "errorType": "bad_data"}, Reason.REJECTED),
        (401, None, Reason.UNAUTHORIZED),
        (403, None, Reason.UNAUTHORIZED),
        (404, None, Reason.REJECTED),
        (302, None, Reason.REJECTED),
        (413, None, Reason.TOO_LARGE),
        (422, {"error": "query processing would load too many samples into memory"}, Reason.TOO_LARGE),
        (422, {"error": "boom", "errorType": "execution"}, Reason.REJECTED),
        (429, None, Reason.UNAVAILABLE),
        (500, None, Reason.UNAVAILABLE),
        (502, "<html>", Reason.UNAVAILABLE),
        (503, {"error": "query timed out", "errorType": "timeout"}, Reason.TIMEOUT),
        (504, None, Reason.TIMEOUT),
    ],
)
def test_each_error_answer_has_its_reason(status: int, body: object, reason: Reason) -> None:
    with pytest.raises(Fault) as caught:
        refuse(status, body)
    assert caught.value.reason is reason
    assert str(status) in caught.value.message


@pytest.mark.parametrize(
    "item",
    [
        7,
        {},
        {"metric": {}},
        {"metric": {}, "values": [["x", "1"]]},
        {"metric": {}, "values": [[1, "one"]]},
        {"metric": {}, "values": [[1]]},
        {"metric": {}, "values": [None]},
        {"metric": {}, "histograms": [[1, {"count": "5"}]]},
    ],
)
def test_a_series_in_another_form_is_malformed(item: object) -> None:
    with pytest.raises(Fault) as caught:
        read_series([item])
    assert caught.value.reason is Reason.MALFORMED


def test_a_native_histogram_is_named() -> None:
    item = json.loads('{"metric": {"__name__": "lat"}, "histograms": []}')
    with pytest.raises(Fault, match=r"lat\{\} is a native histogram"):
        read_series([item])
