"""What the author of a rollout may write, in random histories."""

INLINE = {"inline": {"text": "the history names revisions itself"}}
#: What the arms of tests hold at first, and what an edit may put there.
ARMS = {"terse": "eeee000000", "warm": "ffff000000", "formal": "9999000000"}
OTHER_ARMS = ["eeee000000", "ffff000000", "9999000000", "8888000000", "7777000000"]


def canary(*steps, **more):
    return {"canary": {"steps": list(steps), **more}}


def ab_test(on_winner, control, horizon="2h", **weights):
    arms = [{"name": name, "weight": weight, "prompt": INLINE} for name, weight in weights.items()]
    return {
        "abTest": {
            "arms": [{"name": "control", "weight": control}, *arms],
            "horizon": horizon,
            "onWinner": on_winner,
        }
    }


def shadow(sample, duration="10m", budget="2.00", then=None):
    fixed = {"sample": sample, "duration": duration, "budget": {"usdPerHour": budget, "maxConcurrent": 4}}
    return {"shadow": {**fixed, **({"then": then} if then else {})}}


IN_OFFICE_HOURS = {"timeZone": "Europe/Zurich", "windows": ["Mon-Fri 09:00-17:00"]}
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
    canary(
        {"weight": 1, "duration": "10m"},
        {"weight": 50, "duration": "10m"},
        schedule=IN_OFFICE_HOURS,
    ),
    {"immediate": {}},
    shadow(10),
    shadow("0.01%", "1m", then=canary({"weight": 25, "duration": "5m"}, {"weight": 50, "duration": "5m"})),
    shadow(
        50,
        budget="0.50",
        then=canary(
            {"weight": 10, "duration": "10m"},
            {"gate": {"name": "release", "approval": {}}},
            {"weight": 100, "duration": "10m"},
            schedule=IN_OFFICE_HOURS,
        ),
    ),
    ab_test("Promote", 50, terse=50),
    ab_test("Hold", 50, terse=50),
    ab_test("Hold", 50, horizon="30m", terse=50),
    ab_test("Promote", "0.01%", terse="66.65%", warm="33.34%"),
    ab_test("Promote", 25, terse=25, warm=25, formal=25),
    ab_test("Hold", 25, terse=25, warm=25, formal=25),
]
TESTS, SHADOWS = STRATEGIES[-6:], STRATEGIES[-9:-6]
EVALS = {"name": "evals", "job": {"templateRef": {"name": "evals"}}, "timeout": "30m"}
#: What a platform team may rule; a rollout that names its policy says nothing of these fields itself.
RULES = [
    {"strategy": STRATEGIES[1]},
    {"strategy": STRATEGIES[0], "analysis": {"onInconclusive": "Promote"}},
    {"strategy": {"immediate": {}}},
    {"strategy": SHADOWS[2]},
    {"strategy": STRATEGIES[-5], "analysis": {"onInconclusive": "Rollback"}},
    {"strategy": STRATEGIES[1], "analysis": {"metrics": []}},
]
RULED = frozenset({"strategy", "analysis"})
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
    ("strategy", TESTS),
    ("strategy", SHADOWS),
    ("strategy", SHADOWS),
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
    ("rollbackWindow", [1, 2, 100]),
]
PLAIN = {"prompt": INLINE, "strategy": STRATEGIES[0]}
