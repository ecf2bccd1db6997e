"""A verdict again from its evidence, whatever the strategy was: to the bit, and under other margins."""

import json

import pytest
import yaml

from promptrollout.analysis import (
    EventCounts,
    Evidence,
    History,
    Pair,
    PairedCounts,
    Window,
    assess,
    fold,
    score_counts,
)
from promptrollout.analysis.keeping import About, Decided, figures, keep
from promptrollout.analysis.ledger import Ledger
from promptrollout.analysis.plan import MetricKind
from promptrollout.api.spec import Analysis
from promptrollout.cli.main import run
from promptrollout.sources.planning import plan_of

ANALYSIS = Analysis.model_validate(
    {
        "metrics": [
            {"name": "errors", "preset": "sdk/errors"},
            {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"},
        ]
    }
)
PLANS = {
    "canary": plan_of(ANALYSIS),
    "abTest": plan_of(ANALYSIS, 3),
    "shadow": plan_of(ANALYSIS, shadow=True),
}


def pair_of(metric):
    match metric.kind:
        case MetricKind.Paired:
            return Pair(PairedCounts(50, -6.0, 3.0), None)
        case MetricKind.Score:
            return Pair(score_counts([0.5] * 30 + [0.9] * 20), score_counts([0.8] * 200))
        case _:
            good = metric.higher_is_better
            return Pair(EventCounts(50, 45 if good else 9), EventCounts(200, 190 if good else 5))


@pytest.fixture(params=list(PLANS))
def evidence(request, tmp_path):
    plan = PLANS[request.param].plan
    weight = 0 if request.param == "shadow" else 2000
    windows = [
        Window(60.0 * i, 60.0 * (i + 1), 1, weight, {m.name: pair_of(m) for m in plan.metrics})
        for i in range(40)
    ]
    seed = {m.name: History(EventCounts(5000, 125)) for m in plan.metrics if m.name == "errors"}
    start = Evidence.initial(plan, seed)
    after = fold(plan, start, windows)
    assert after.rejected == 0
    decided = Decided(
        "RolledBack",
        "Harmed",
        "2026-11-24T00:00:00.000Z",
        2400.0,
        1,
        weight,
        "m",
        figures(assess(plan, after)),
    )
    files = keep(
        Ledger.begin(plan, start, seed).plus(windows, after), About("shop/x", "b", "a", 1, "0"), decided
    )
    file = tmp_path / "evidence.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "data": dict(files.data)}))
    return str(file)


def test_the_recorded_verdict_follows_to_the_bit(evidence, capsys):
    assert run(["replay", evidence, "-o", "json"]) == 0
    (decision,) = json.loads(capsys.readouterr().out)["decisions"]
    assert decision["identical"] is True
    assert decision["recorded"] == decision["recomputed"] == "Harmed"


def test_under_wider_margins_there_is_no_harm(evidence, capsys):
    words = ["--margin", "errors=0.3", "--margin", "helpful=0.5", "--margin", "helpful-coverage=0.2"]
    assert run(["replay", evidence, *words, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decisions"][0]["recomputed"] == "Harmed"
    assert found["otherwise"]["verdict"] != "Harmed"
