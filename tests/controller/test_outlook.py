"""The condition Decidable of a trial, from what its own windows tell: canaries, shadows and A/B tests."""

from datetime import UTC, datetime

import pytest

from promptrollout.analysis import EventCounts, Evidence, Pair, PairedCounts, Verdict, Window, fold
from promptrollout.analysis.ledger import Ledger
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.memory import Entry
from promptrollout.controller.outlook import outlook
from promptrollout.controller.parsed import Known, parse
from promptrollout.rollout import Comparison

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ARMS = [
    {"name": "control", "weight": 60},
    {"name": "brief", "weight": 20, "prompt": {"inline": {"text": "b"}}},
    {"name": "bullets", "weight": 20, "prompt": {"inline": {"text": "c"}}},
]


def parsed_of(strategy, metric):
    spec = {
        "prompt": {"inline": {"text": "a"}},
        "strategy": strategy,
        "analysis": {
            "interval": "60s",
            "metrics": [metric],
            "correlation": {"meanRequestsPerUnit": "1", "icc": "0"},
        },
    }
    parsed = parse(
        RolloutObject(ObjectKey("shop", "support"), "u", 1, "1", spec, {}), Known(frozenset({"default"}))
    )
    assert parsed.problems == ()
    return parsed


def seen(parsed, pair, weight, arm="candidate", *, shadow=False):
    """An hour of windows of one comparison."""
    planned = parsed.planned_for(shadow=shadow)
    names = [m.name for m in planned.plan.metrics if m.kind.value == ("Paired" if shadow else "Events")]
    windows = [Window(60.0 * i, 60.0 * (i + 1), 1, weight, dict.fromkeys(names, pair)) for i in range(60)]
    start = Evidence.initial(planned.plan, {})
    evidence = fold(planned.plan, start, windows)
    entry = Entry(RolloutObject(ObjectKey("shop", "support"), "u", 1, "1", {}, {}))
    entry.compared(
        Comparison(
            trial=("bbbb", 1),
            verdict=Verdict.Inconclusive,
            through=NOW,
            read_at=NOW,
            arm=arm,
            shadow=shadow,
            state=evidence,
            ledger=Ledger.begin(planned.plan, start).plus(windows, evidence),
        )
    )
    return entry


ERRORS = {"name": "errors", "preset": "sdk/errors"}
CANARY = {"canary": {"steps": [{"weight": 50, "until": "Evidence", "timeout": "20h"}]}}


@pytest.mark.parametrize(("requests", "status"), [(100, True), (1, False)])
def test_a_canary_is_judged_by_the_traffic_of_its_windows(requests, status):
    parsed = parsed_of(CANARY, ERRORS)
    counts = EventCounts(requests, requests * 0.02)
    found = outlook(seen(parsed, Pair(counts, counts), 5000), parsed)
    assert found.status is status
    assert f"{2 * requests * 1440:,} requests a day" in found.message


def test_a_test_is_judged_by_all_of_its_traffic_and_says_by_how_much_an_arm_must_be_better():
    parsed = parsed_of({"abTest": {"horizon": "7d", "arms": ARMS}}, ERRORS)
    pair = Pair(EventCounts(20, 2), EventCounts(60, 6))
    found = outlook(seen(parsed, pair, 2500, "brief"), parsed)
    assert (found.status, found.reason) == (True, "Decidable")
    assert "at 144,000 requests a day an arm wins" in found.message
    assert "errors 10 % → " in found.message


def test_a_shadow_is_judged_by_its_pairs():
    parsed = parsed_of(
        {"shadow": {"sample": 10, "duration": "6h"}},
        {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"},
    )
    pair = Pair(PairedCounts(20, -0.4, 0.8), None)
    found = outlook(seen(parsed, pair, 0, shadow=True), parsed)
    assert (found.status, found.reason) == (True, "Decidable")
    assert "shown non-inferior in the shadow" in found.message
    assert "288,000 requests a day" in found.message


def test_without_windows_nothing_is_said():
    parsed = parsed_of(CANARY, ERRORS)
    assert outlook(Entry(RolloutObject(ObjectKey("shop", "support"), "u", 1, "1", {}, {})), parsed) is None
