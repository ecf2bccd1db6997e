"""Specs that are wrong, where, and who says so: shared by the tests of parse_spec and those on a real API server."""

import copy
from dataclasses import dataclass

BASE: dict[str, object] = {
    "prompt": {"inline": {"text": "Hello {{name}}", "variables": ["name"]}},
    "strategy": {"canary": {"steps": [{"weight": 10, "duration": "10m"}, {"weight": 50, "duration": "30m"}]}},
    "analysis": {"metrics": [{"name": "errors", "preset": "sdk/errors"}]},
}

_GONE = object()
_STEPS = "strategy.canary.steps"
_METRICS = "analysis.metrics"
_REVISION = '{r="{{revision}}"}'


def spec_with(path: str, value: object) -> dict[str, object]:
    """BASE with this field set (or removed), the path in dots below `spec`."""
    spec = copy.deepcopy(BASE)
    *way, last = path.split(".")
    here = spec
    for key in way:
        here = here.setdefault(key, {})  # type: ignore[assignment]  # the paths below are paths of objects
    if value is _GONE:
        del here[last]
    else:
        here[last] = value
    return spec


@dataclass(frozen=True)
class Wrong:
    """A spec that must be refused.

    `at` is the path that parse_spec names. `server` is what the API server says, empty if only parse_spec can know.
    """

    name: str
    spec: dict[str, object]
    at: str
    server: str = ""


def _wrong(name: str, path: str, value: object, at: str, server: str = "") -> Wrong:
    return Wrong(name, spec_with(path, value), f"spec.{at}", server)


def _step(name: str, step: dict[str, object], at: str, server: str = "") -> Wrong:
    return _wrong(name, _STEPS, [step], f"{_STEPS}[0]{at}", server)


def _metric(name: str, metric: dict[str, object], at: str, server: str = "") -> Wrong:
    return _wrong(name, _METRICS, [{"name": "m", **metric}], f"{_METRICS}[0]{at}", server)


_CONTROL = {"name": "control", "weight": 50}
_TERSE = {"name": "terse", "weight": 50, "prompt": {"inline": {"text": "Hi {{name}}", "variables": ["name"]}}}


def _test(name: str, arms: list[object], at: str, server: str = "", horizon: str = "14d") -> Wrong:
    spec = spec_with("strategy", {"abTest": {"arms": arms, "horizon": horizon}})
    return Wrong(name, spec, f"spec.strategy.abTest{at}", server)


def _schedule(name: str, schedule: dict[str, object], at: str, server: str = "") -> Wrong:
    return _wrong(name, "strategy.canary.schedule", schedule, f"strategy.canary.schedule{at}", server)


def _shadow(name: str, changes: dict[str, object], at: str, server: str) -> Wrong:
    spec = spec_with("strategy", {"shadow": {"sample": 10, "duration": "6h", **changes}})
    return Wrong(name, spec, f"spec.strategy.shadow{at}", server)


def _gate(name: str, gate: dict[str, object], at: str, server: str = "") -> Wrong:
    return _wrong(name, "gates", [{"name": "g", **gate}], f"gates[0]{at}", server)


_ASK: dict[str, object] = {"approval": {}}
_EITHER = "either a weight or a gate"
_ONE_KIND = "exactly one of job, webhook and approval"
_WEIGHT = "should match '^(100"
_ENDS = "nothing ends this step"
_NOW, _NOBODY, _ALL = "0 is no time at all", "0 is no share at all", "nothing is left to compare with"
_MINUTES = "[0-9]+(ms|s|m|h|d)"

WRONG = (
    # The prompt.
    _wrong("no prompt", "prompt", _GONE, "prompt", "spec.prompt: Required value"),
    _wrong("a prompt without a source", "prompt", {}, "prompt", "name the prompt's source"),
    _wrong(
        "an empty prompt", "prompt.inline", {}, "prompt.inline", "exactly one of messages, text and parts"
    ),
    _wrong(
        "messages beside text",
        "prompt.inline",
        {"text": "a", "messages": [{"role": "user", "content": "b"}]},
        "prompt.inline",
        "exactly one of messages, text and parts",
    ),
    _wrong(
        "parts beside text",
        "prompt.inline",
        {"text": "a", "parts": {"one": {"text": "b"}}},
        "prompt.inline",
        "exactly one of messages, text and parts",
    ),
    _wrong(
        "tools beside parts",
        "prompt.inline",
        {"tools": [{"type": "function"}], "parts": {"one": {"text": "b"}}},
        "prompt.inline.parts",
        "stand in the part that uses them",
    ),
    _wrong(
        "a part with two texts",
        "prompt.inline",
        {"parts": {"one": {"text": "b", "messages": [{"role": "user", "content": "b"}]}}},
        "prompt.inline.parts.one",
        "either messages or text",
    ),
    _wrong(
        "a part without text",
        "prompt.inline",
        {"parts": {"one": {}}},
        "prompt.inline.parts.one",
        "either messages or",
    ),
    _wrong(
        "a part's odd name",
        "prompt.inline",
        {"parts": {"A b": {"text": "b"}}},
        "prompt.inline.parts.A b",
        "the name of a part has",
    ),
    _wrong(
        "an unknown template format",
        "prompt.inline.templateFormat",
        "erb",
        "prompt.inline.templateFormat",
        "Unsupported value",
    ),
    _wrong("too long a text", "prompt.inline.text", "x" * 400_001, "prompt.inline.text", "Too long"),
    _wrong(
        "a float parameter",
        "prompt.inline.model",
        {"name": "m", "parameters": {"temperature": 0.2}},
        "prompt.inline.model.parameters.temperature",
        "must be of type string",
    ),
    _wrong(
        "a variable listed twice",
        "prompt.inline.variables",
        ["a", "a"],
        "prompt.inline.variables",
        "Duplicate value",
    ),
    # Delivery.
    _wrong(
        "a ConfigMap's odd name", "delivery.configMapName", "No!", "delivery.configMapName", "should match"
    ),
    _wrong(
        "an empty selector", "delivery.podSelector", {}, "delivery.podSelector", "every pod of the namespace"
    ),
    _wrong(
        "a label that is none",
        "delivery.podSelector.matchLabels",
        {"app": "a b"},
        "delivery.podSelector.matchLabels",
        "not the value of a label",
    ),
    _wrong(
        "a label's key that is none",
        "delivery.podSelector.matchLabels",
        {"a b": "c"},
        "delivery.podSelector.matchLabels",
        "not the key of a label",
    ),
    _wrong(
        "a requirement on what is no label",
        "delivery.podSelector.matchExpressions",
        [{"key": "a/b/c", "operator": "Exists"}],
        "delivery.podSelector.matchExpressions[0].key",
        "not the key of a label",
    ),
    _wrong(
        "a requirement of what is no label's value",
        "delivery.podSelector.matchExpressions",
        [{"key": "a", "operator": "In", "values": ["b", "-c"]}],
        "delivery.podSelector.matchExpressions[0].values[1]",
        "not the value of a label",
    ),
    _wrong(
        "In without values",
        "delivery.podSelector.matchExpressions",
        [{"key": "a", "operator": "In"}],
        "delivery.podSelector.matchExpressions[0].values",
        "In and NotIn need values",
    ),
    _wrong(
        "Exists with values",
        "delivery.podSelector.matchExpressions",
        [{"key": "a", "operator": "Exists", "values": ["b"]}],
        "delivery.podSelector.matchExpressions[0].values",
        "In and NotIn need values",
    ),
    _wrong("a quorum of nobody", "delivery.acknowledge.quorum", "0%", "delivery.acknowledge.quorum", _NOBODY),
    _wrong("a quorum of none", "delivery.acknowledge.quorum", 0, "delivery.acknowledge.quorum", _NOBODY),
    _wrong(
        "a quorum that is no share",
        "delivery.acknowledge.quorum",
        "most",
        "delivery.acknowledge.quorum",
        _WEIGHT,
    ),
    _wrong(
        "no time to acknowledge", "delivery.acknowledge.timeout", "0s", "delivery.acknowledge.timeout", _NOW
    ),
    # The strategy.
    _wrong("no strategy", "strategy", {}, "strategy", "exactly one strategy"),
    _test("one arm", [_CONTROL], ".arms", "should have at least 2 items"),
    _test("two controls", [_CONTROL, {**_CONTROL, "name": "b"}], ".arms", "exactly one arm has no prompt"),
    _test("no control", [_TERSE, {**_TERSE, "name": "b"}], ".arms", "exactly one arm has no prompt"),
    _test("weights below 100 %", [_CONTROL, {**_TERSE, "weight": 49}], ".arms", "must sum to 100 %"),
    _test("weights above 100 %", [_CONTROL, {**_TERSE, "weight": "50.01%"}], ".arms", "must sum to 100 %"),
    _test(
        "an arm of the operator's name",
        [_CONTROL, {**_TERSE, "name": "stable"}],
        ".arms[1].name",
        "take another",
    ),
    _test("an arm twice", [_CONTROL, {**_TERSE, "name": "control"}], ".arms[1].name", "Duplicate value"),
    _test(
        "an arm without weight",
        [{**_CONTROL, "weight": 100}, {**_TERSE, "weight": 0}],
        ".arms[1].weight",
        _NOBODY,
    ),
    _test(
        "an arm without text",
        [_CONTROL, {**_TERSE, "prompt": {"inline": {}}}],
        ".arms[1].prompt.inline",
        "exactly",
    ),
    _test(
        "an arm from a registry without version or alias",
        [_CONTROL, {**_TERSE, "prompt": {"registryRef": {"registry": "prompts", "name": "a"}}}],
        ".arms[1].prompt.registryRef",
        "either a version or an alias",
    ),
    _test("no horizon to speak of", [_CONTROL, _TERSE], ".horizon", horizon="5s"),
    Wrong(
        "a test that nothing can win",
        {
            **spec_with("strategy", {"abTest": {"arms": [_CONTROL, _TERSE], "horizon": "14d"}}),
            "analysis": {"metrics": [{"name": "errors", "preset": "sdk/errors", "role": "Guard"}]},
        },
        "spec.strategy.abTest",
    ),
    _schedule(
        "a window without a day", {"timeZone": "UTC", "windows": ["09:00-17:00"]}, ".windows[0]", "windows"
    ),
    _schedule(
        "a window of no length",
        {"timeZone": "UTC", "windows": ["Mon 09:00-09:00"]},
        ".windows[0]",
        "ends when it begins",
    ),
    _schedule(
        "a zone that is none", {"timeZone": "Europe/Atlantis", "windows": ["Mon 09:00-17:00"]}, ".timeZone"
    ),
    _schedule(
        "a zone in words", {"timeZone": "our office", "windows": ["Mon 09:00-17:00"]}, ".timeZone", "timeZone"
    ),
    _schedule("no windows", {"timeZone": "UTC", "windows": []}, ".windows", "at least 1 items"),
    _wrong("two strategies", "strategy.immediate", {}, "strategy", "exactly one strategy"),
    _wrong("no steps", _STEPS, [], _STEPS, "should have at least 1 items"),
    _wrong("too many steps", _STEPS, [{"weight": 1, "duration": "1m"}] * 65, _STEPS, "Too many"),
    _wrong(
        "falling weights",
        _STEPS,
        [{"weight": 10, "duration": "10m"}, {"weight": 5, "duration": "10m"}],
        f"{_STEPS}[1].weight",
        "weights must not fall",
    ),
    _wrong(
        "weights that fall between number and text",
        _STEPS,
        [{"weight": 1, "duration": "10m"}, {"weight": "0.5%", "duration": "10m"}],
        f"{_STEPS}[1].weight",
        "weights must not fall",
    ),
    _wrong(
        "weights that fall as numbers though not as text",
        _STEPS,
        [{"weight": "10%", "duration": "10m"}, {"weight": "9.5%", "duration": "10m"}],
        f"{_STEPS}[1].weight",
        "weights must not fall",
    ),
    _step("a weight above all", {"weight": 101, "duration": "10m"}, ".weight", "less than or equal to 100"),
    _step("a negative weight", {"weight": -1, "duration": "10m"}, ".weight", "greater than or equal to 0"),
    _step("a weight in words", {"weight": "half", "duration": "10m"}, ".weight", _WEIGHT),
    _step("a weight above all, in text", {"weight": "100.5%", "duration": "10m"}, ".weight", _WEIGHT),
    _step("a weight without per cent", {"weight": "5", "duration": "10m"}, ".weight", _WEIGHT),
    _step("too fine a weight", {"weight": "0.001%", "duration": "10m"}, ".weight", _WEIGHT),
    _step("a float weight", {"weight": 2.5, "duration": "10m"}, ".weight", "must be of type integer,string"),
    _step(
        "a truth value as weight",
        {"weight": True, "duration": "10m"},
        ".weight",
        "must be of type integer,string",
    ),
    _step("no weight", {"duration": "10m"}, ".weight", _EITHER),
    _step("a weight beside a gate", {"weight": 5, "duration": "10m", "gate": _ASK}, ".weight", _EITHER),
    _step("a gate that lasts", {"gate": _ASK, "duration": "10m"}, "", "keeps the weight"),
    _wrong("nothing but a gate", _STEPS, [{"gate": _ASK}], _STEPS, "add a step with a weight"),
    _gate("a gate that asks nothing", {}, "", _ONE_KIND),
    _gate("a gate that asks two things", {**_ASK, "webhook": {"name": "w"}}, "", _ONE_KIND),
    _gate("a job without template", {"job": {}}, ".job", "either templateRef or template"),
    _gate("a URL as webhook", {"webhook": {"name": "https://evil.example"}}, ".webhook.name", "should match"),
    _gate(
        "always before promotion",
        {**_ASK, "when": "BeforePromotion", "always": True},
        ".always",
        "BeforeDelivery only",
    ),
    _gate("a gate's timeout of nothing", {**_ASK, "timeout": "0s"}, ".timeout", _NOW),
    _gate("a gate's timeout of next to nothing", {**_ASK, "timeout": "1ms"}, ".timeout"),
    _wrong(
        "two gates of one name",
        "gates",
        [{"name": "g", **_ASK}, {"name": "g", **_ASK}],
        "gates[1].name",
        "Duplicate",
    ),
    _step("a step without end", {"weight": 5}, "", _ENDS),
    _step("a step that only has a timeout", {"weight": 5, "timeout": "1h"}, "", _ENDS),
    _step("evidence for ever", {"weight": 5, "until": "Evidence"}, ".timeout", "needs a timeout"),
    _step(
        "until something else",
        {"weight": 5, "until": "Monday", "timeout": "1h"},
        ".until",
        "Unsupported value",
    ),
    _step(
        "a timeout of nothing",
        {"weight": 5, "duration": "10m", "timeout": "1h"},
        ".timeout",
        "bounds until or minSamples",
    ),
    _step("no samples", {"weight": 5, "minSamples": 0}, ".minSamples", "greater than or equal to 1"),
    _step("samples at weight 0", {"weight": 0, "minSamples": 5}, ".weight", "gets no requests"),
    _step("samples at 0.00 %", {"weight": "0.00%", "minSamples": 5}, ".weight", "gets no requests"),
    _step("evidence at 100 %", {"weight": 100, "until": "Evidence", "timeout": "1h"}, ".weight", _ALL),
    _step("evidence at 100.0 %", {"weight": "100.0%", "until": "Evidence", "timeout": "1h"}, ".weight", _ALL),
    _step("a duration in words", {"weight": 5, "duration": "long"}, ".duration", _MINUTES),
    _step("a duration without unit", {"weight": 5, "duration": "90"}, ".duration", _MINUTES),
    _step("a negative duration", {"weight": 5, "duration": "-1m"}, ".duration", _MINUTES),
    _step("a number as duration", {"weight": 5, "duration": 90}, ".duration", "must be of type string"),
    _step("a duration of nothing", {"weight": 5, "duration": "0s"}, ".duration", _NOW),
    _step("a duration of nothing in detail", {"weight": 5, "duration": "00h0m"}, ".duration", _NOW),
    _step("a duration of centuries", {"weight": 5, "duration": "999999d"}, ".duration"),
    _step("a step shorter than a window", {"weight": 5, "duration": "10s"}, ".duration"),
    _step(
        "a timeout shorter than a window", {"weight": 5, "until": "Evidence", "timeout": "10s"}, ".timeout"
    ),
    _step(
        "a timeout within the duration",
        {"weight": 5, "duration": "2h", "minSamples": 9, "timeout": "1h"},
        ".timeout",
    ),
    Wrong(
        "evidence without a metric that must be shown",
        {
            **spec_with(_STEPS, [{"weight": 5, "until": "Evidence", "timeout": "1h"}]),
            "analysis": {"metrics": [{"name": "errors", "preset": "sdk/errors", "role": "Guard"}]},
        },
        f"spec.{_STEPS}[0].until",
    ),
    Wrong(
        "samples without a metric to count them",
        {**spec_with(_STEPS, [{"weight": 5, "minSamples": 500}]), "analysis": {"metrics": []}},
        f"spec.{_STEPS}[0].minSamples",
    ),
    # The analysis.
    _wrong("a source by URL", "analysis.source", "http://prometheus:9090", "analysis.source", "should match"),
    _wrong("windows of nothing", "analysis.interval", "0s", "analysis.interval", _NOW),
    _wrong("windows shorter than any scrape", "analysis.interval", "20ms", "analysis.interval"),
    _wrong("a warm-up as long as the step", "analysis.warmUp", "10m", f"{_STEPS}[0].duration"),
    _wrong(
        "an unknown outcome",
        "analysis.onInconclusive",
        "Shrug",
        "analysis.onInconclusive",
        "Unsupported value",
    ),
    _wrong("a certainty of none", "analysis.confidence", "0.2", "analysis.confidence", "from 0.5 to 0.9999"),
    _wrong("a certainty in per cent", "analysis.confidence", "95", "analysis.confidence", "from 0.5 to 0.99"),
    _wrong(
        "a float as certainty", "analysis.confidence", 0.95, "analysis.confidence", "must be of type string"
    ),
    _wrong(
        "a correlation above 1",
        "analysis.correlation",
        {"meanRequestsPerUnit": "8", "icc": "2"},
        "analysis.correlation.icc",
        "from 0 to 1",
    ),
    _wrong(
        "fewer than one request per unit",
        "analysis.correlation",
        {"meanRequestsPerUnit": "0.5"},
        "analysis.correlation.meanRequestsPerUnit",
        "from 1 to 1e+06",
    ),
    _wrong(
        "metrics of the same name",
        _METRICS,
        [{"name": "m", "preset": "sdk/errors"}, {"name": "m", "preset": "sdk/latency"}],
        f"{_METRICS}[1].name",
        "Duplicate value",
    ),
    _wrong(
        "too many metrics",
        _METRICS,
        [{"name": f"m{i}", "preset": "sdk/errors"} for i in range(17)],
        _METRICS,
        "Too many",
    ),
    _metric("a metric of nothing", {}, "", "either a preset or events"),
    _metric(
        "a metric of two things",
        {"preset": "sdk/errors", "events": {"bad": f"a{_REVISION}", "total": f"b{_REVISION}"}},
        "",
        "either a preset or events",
    ),
    _metric("a score without a name", {"preset": "sdk/score"}, ".score", "this preset needs score"),
    _metric(
        "a score of errors",
        {"preset": "sdk/errors", "score": "x"},
        ".score",
        "score goes with the presets sdk/score",
    ),
    _metric(
        "a ratio of scores",
        {"preset": "sdk/score", "score": "x", "ratio": "1.2"},
        ".ratio",
        "scores have no ratio",
    ),
    _metric(
        "bad events of all revisions",
        {"events": {"bad": "a_total", "total": f"b_total{_REVISION}"}},
        ".events.bad",
        "bad must contain {{revision}}",
    ),
    _metric(
        "all events of all revisions",
        {"events": {"bad": f"a_total{_REVISION}", "total": "b_total"}},
        ".events.total",
        "total must contain {{revision}}",
    ),
    _metric(
        "a ratio that demands better", {"preset": "sdk/errors", "ratio": "0.9"}, ".ratio", "from 1 to 100"
    ),
    _metric(
        "a promotion that demands better",
        {"preset": "sdk/errors", "promoteRatio": "0.9"},
        ".promoteRatio",
        "from 1 to 100",
    ),
    _metric("a negative margin", {"preset": "sdk/errors", "margin": "-0.1"}, ".margin", "should match"),
    _metric("a float margin", {"preset": "sdk/errors", "margin": 0.1}, ".margin", "must be of type string"),
    _metric("an unknown role", {"preset": "sdk/errors", "role": "Boss"}, ".role", "Unsupported value"),
    # The whole.
    _wrong("a deadline before the last step", "progressDeadline", "20m", "progressDeadline"),
    _wrong("no history", "revisionHistoryLimit", 0, "revisionHistoryLimit", "greater than or equal to 1"),
    _wrong(
        "conversations that have no time to end",
        "assignment.drainTimeout",
        "0s",
        "assignment.drainTimeout",
        _NOW,
    ),
    _wrong("a deadline at once", "progressDeadline", "0m", "progressDeadline", _NOW),
    _wrong("metrics that may not fail", "analysis.metricsTimeout", "0s", "analysis.metricsTimeout", _NOW),
    _shadow("a shadow of nothing", {"sample": "0%"}, ".sample", _NOBODY),
    _shadow("a shadow of no time", {"duration": "0s"}, ".duration", _NOW),
    _shadow(
        "a shadow without money", {"budget": {"usdPerHour": "0.0"}}, ".budget.usdPerHour", "with no money"
    ),
)

RIGHT: dict[str, dict[str, object]] = {
    "the base": BASE,
    "equal weights": spec_with(
        _STEPS, [{"weight": 25, "duration": "1h"}, {"weight": "25%", "until": "Evidence", "timeout": "6h"}]
    ),
    "weights as numbers and text": spec_with(
        _STEPS,
        [
            {"weight": "0.5%", "duration": "10m"},
            {"weight": 1, "duration": "10m"},
            {"weight": "9.5%", "duration": "10m"},
            {"weight": 10, "minSamples": 500},
            {"weight": "100%", "duration": "10m"},
        ],
    ),
    "as many steps as fit": spec_with(_STEPS, [{"weight": 1 + i, "duration": "1m"} for i in range(64)]),
    "no metric": spec_with(_METRICS, []),
    "no analysis": spec_with("analysis", _GONE),
    "every kind of metric": spec_with(
        _METRICS,
        [
            {"name": "e", "preset": "sdk/errors", "ratio": "1.3", "margin": "0.002", "promoteRatio": "1.5"},
            {
                "name": "s",
                "preset": "sdk/score",
                "score": "helpfulness",
                "margin": "0.02",
                "promoteMargin": "0.03",
            },
            {"name": "c", "events": {"bad": f"a{_REVISION}", "total": f"b{_REVISION}"}, "role": "Observe"},
        ],
    ),
    "tools and a response format": spec_with(
        "prompt.inline",
        {
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"x": [1, 2.5, None, True]}}}
            ],
            "responseFormat": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        },
    ),
    "a selector by expressions": spec_with(
        "delivery.podSelector",
        {
            "matchExpressions": [
                {"key": "a/b", "operator": "NotIn", "values": ["x", ""]},
                {"key": "c", "operator": "Exists"},
            ]
        },
    ),
    "immediate": spec_with("strategy", {"immediate": {}}),
    "a test of two": spec_with("strategy", {"abTest": {"arms": [_CONTROL, _TERSE], "horizon": "14d"}}),
    "a test of a prompt in a ConfigMap": spec_with(
        "strategy",
        {
            "abTest": {
                "arms": [_CONTROL, {**_TERSE, "prompt": {"configMapRef": {"name": "terse", "key": "text"}}}],
                "horizon": "14d",
            }
        },
    ),
    "a test of a prompt in a registry": spec_with(
        "strategy",
        {
            "abTest": {
                "arms": [
                    _CONTROL,
                    {**_TERSE, "prompt": {"registryRef": {"registry": "p", "name": "a", "version": 1}}},
                ],
                "horizon": "14d",
            }
        },
    ),
    "a test of eight, in hundredths": spec_with(
        "strategy",
        {
            "abTest": {
                "arms": [
                    {"name": "control", "weight": "12.53%"},
                    *(
                        {
                            "name": f"arm-{i}",
                            "weight": "12.41%" if i == 1 else "12.51%",
                            "prompt": {"inline": {"text": f"Hi {i} {{{{name}}}}", "variables": ["name"]}},
                        }
                        for i in range(1, 8)
                    ),
                ],
                "horizon": "14d",
                "onWinner": "Promote",
            }
        },
    ),
    "windows": spec_with(
        "strategy.canary.schedule",
        {
            "timeZone": "America/Argentina/Buenos_Aires",
            "windows": [
                "Mon-Fri 09:00-17:00",
                "Sat,Sun 10:00-14:00",
                "Fri-Mon,Wed 22:00-06:00",
                "Tue 00:00-24:00",
            ],
        },
    ),
}
