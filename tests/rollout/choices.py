"""What the author of a rollout may write, in random histories."""


def canary(*steps):
    return {"canary": {"steps": list(steps)}}


STRATEGIES = [
    canary({"weight": 1, "duration": "10m"}, {"weight": 25, "until": "Evidence", "timeout": "1h"}),
    canary(
        {"weight": 1, "duration": "1m"}, {"weight": 10, "duration": "5m"}, {"weight": 40, "duration": "5m"}
    ),
    canary({"weight": 0, "duration": "1m"}, {"weight": "0.01%", "duration": "2m"}),
    canary(
        {"weight": 25, "duration": "1m"},
        {"weight": 25, "minSamples": 500, "timeout": "20m"},
        {"weight": 25, "until": "Evidence", "timeout": "30m"},
        {"weight": 100, "duration": "5m"},
    ),
    canary({"weight": 30, "minSamples": 500}),
    canary(
        {"weight": 5, "duration": "1m"},
        {"gate": {"name": "release", "approval": {}}},
        {"weight": 5, "duration": "5m"},
        {"gate": {"webhook": {"name": "risk"}, "timeout": "10m", "onTimeout": "Hold"}},
        {"weight": 50, "duration": "5m"},
    ),
    {"immediate": {}},
]
EVALS = {"name": "evals", "job": {"templateRef": {"name": "evals"}}, "timeout": "30m"}
GATES = [
    [],
    [{**EVALS, "always": True}],
    [EVALS, {"name": "sign-off", "approval": {}, "timeout": "4h"}],
    [{**EVALS, "job": {"templateRef": {"name": "other"}}, "onTimeout": "Hold"}],
    [{"name": "last", "when": "BeforePromotion", "webhook": {"name": "risk"}}],
]
#: Each is one field of the spec, and what it may become.
EDITS = [
    ("strategy", STRATEGIES),
    ("strategy", STRATEGIES[:2]),
    ("analysis", [{}, {"onInconclusive": "Promote"}, {"onInconclusive": "Rollback"}, {"metrics": []}]),
    (
        "analysis",
        [{"metrics": [{"name": "errors", "preset": "sdk/errors", "margin": "0.5"}], "interval": "1m"}],
    ),
    ("delivery", [{}, {"acknowledge": {"quorum": "50%"}}, {"acknowledge": {"mode": "None"}}]),
    ("assignment", [{}, {"onRollback": "Drain", "drainTimeout": "30m"}]),
    ("progressDeadline", ["72h", "2h"]),
    ("gates", GATES),
    ("revisionHistoryLimit", [10, 1]),
]
PLAIN = {"prompt": {"inline": {"text": "the history names revisions itself"}}, "strategy": STRATEGIES[0]}
