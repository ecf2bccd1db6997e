"""The registry of known metrics. A new one (another SDK, a gateway, a model server) is one entry of `PRESETS`.

A preset says which families of counters it reads, which cells of the count each series feeds, and how the cells make
the counts that the analysis takes. Names and labels of `sdk/*` are as the SDK exports them; `others` has those of
instrumentation that is not ours.
"""

from collections.abc import Mapping

from promptrollout.analysis.plan import LineMargin, MetricKind
from promptrollout.sources.families import Family, Labels
from promptrollout.sources.others import OTHERS
from promptrollout.sources.presetkit import (
    Build,
    Cell,
    Cells,
    ClusterFamilies,
    Inconsistent,
    Part,
    Preset,
    build_events,
    build_histogram,
    build_pairs,
    build_scores,
    build_sums,
    fixed,
    histogram,
    node,
    outcome,
    settle,
    total,
)
from promptrollout.sources.protocol import MetricQuery

__all__ = [
    "COVERAGE",
    "PRESETS",
    "REQUESTS",
    "SECONDS",
    "Build",
    "Cell",
    "Cells",
    "ClusterFamilies",
    "Inconsistent",
    "Part",
    "Preset",
    "build_events",
    "build_histogram",
    "build_scores",
    "build_sums",
    "custom",
    "histogram",
    "preset_of",
    "settle",
    "total",
]


def _sdk(name: str, parameter: str = "") -> Family:
    return Family(f"promptrollout_{name}", parameter=parameter)


def _by_cluster(name: str, parameter: str = "") -> Family:
    return Family(f"promptrollout_cluster_{name}", revision="arm", step="", parameter=parameter, by_arm=True)


def _pairs(name: str) -> Family:
    return Family(f"promptrollout_shadow_{name}", step="", parameter="score")


#: All requests of a rollout; the sample-ratio test reads it whatever the metrics are.
REQUESTS = Part(_sdk("requests_total"), outcome)
_ALL = Part(REQUESTS.family, fixed("total"))

#: The SDK's buckets of times: 10 ms ... 328 s in steps of 2^(1/4) (statistics-sharper.md: "x1.19 buckets").
SECONDS = tuple(float(f"{0.01 * 2 ** (k / 4):.4g}") for k in range(61))

#: What the SDK calls the event that is a request's failure.
_ERRORS = "errors"

#: The preset that guards a score: as many answers of the candidate's are scored as of stable's.
COVERAGE = "sdk/score-coverage"


def _answered(labels: Labels) -> tuple[Cell, ...]:
    """Only an answer can be scored."""
    return ("total",) if labels.get("outcome") == "ok" else ()


_SDK: Mapping[str, Preset] = {
    "sdk/errors": Preset(
        MetricKind.Events,
        (REQUESTS,),
        build_events,
        units=(
            Part(_sdk("unit_exposure_total", "metric"), fixed("total"), _ERRORS),
            Part(_sdk("unit_events_total", "metric"), fixed("bad"), _ERRORS),
        ),
        clusters=ClusterFamilies(
            _by_cluster("requests_total"), _by_cluster("events_total", "metric"), _ERRORS
        ),
        unit_clusters=ClusterFamilies(
            _by_cluster("unit_exposure_total", "metric"), _by_cluster("unit_events_total", "metric"), _ERRORS
        ),
    ),
    "sdk/event": Preset(
        MetricKind.Events,
        (_ALL, Part(_sdk("events_total", "metric"), fixed("bad"))),
        build_events,
        wants="event",
        units=(
            Part(_sdk("unit_exposure_total", "metric"), fixed("total")),
            Part(_sdk("unit_events_total", "metric"), fixed("bad")),
        ),
        clusters=ClusterFamilies(_by_cluster("requests_total"), _by_cluster("events_total", "metric")),
        unit_clusters=ClusterFamilies(
            _by_cluster("unit_exposure_total", "metric"), _by_cluster("unit_events_total", "metric")
        ),
    ),
    "sdk/score": Preset(
        MetricKind.Score,
        (
            Part(_sdk("score_count", "score"), fixed("count")),
            Part(_sdk("score_sum", "score"), fixed("sum")),
            Part(_sdk("score_sumsq", "score"), fixed("sumsq")),
            Part(_sdk("score_nodes_total", "score"), node),
        ),
        build_scores,
        wants="score",
        clusters=ClusterFamilies(
            _by_cluster("score_count", "score"),
            _by_cluster("score_sum", "score"),
            squares=_sdk("score_sumsq", "score"),
        ),
    ),
    # A judge that fails on one arm's answers makes the scores that come a biased sample: the share that is scored may
    # fall by two points, whatever share the judge looks at. Before a step's first score nothing is missing yet.
    COVERAGE: Preset(
        MetricKind.Events,
        (Part(REQUESTS.family, _answered), Part(_sdk("score_count", "score"), fixed("bad"))),
        build_events,
        wants="score",
        margin=LineMargin(1.0, 0.02),
        higher_is_better=True,
        weight=0.25,  # a guard beside the score: it may not make the others much slower
        waits=True,
    ),
    # Shadow runs: differences of both answers to one request. A sum of signed numbers is no counter, so gains and
    # losses come apart.
    "sdk/shadow-score": Preset(
        MetricKind.Paired,
        (
            Part(_pairs("difference_count"), fixed("count")),
            Part(_pairs("gain_total"), fixed("gain")),
            Part(_pairs("loss_total"), fixed("loss")),
            Part(_pairs("difference_sumsq"), fixed("sumsq")),
        ),
        build_pairs,
        wants="score",
        one_armed=True,
    ),
    "sdk/latency": histogram("promptrollout_request_duration_seconds", SECONDS, "s"),
    "sdk/ttft": histogram("promptrollout_time_to_first_token_seconds", SECONDS, "s"),
    "sdk/tokens": Preset(
        MetricKind.Sum, (_ALL, Part(_sdk("tokens_total"), fixed("sum"))), build_sums, unit="tokens"
    ),
    "sdk/cost": Preset(
        MetricKind.Sum, (_ALL, Part(_sdk("cost_usd_total"), fixed("sum"))), build_sums, unit="USD"
    ),
}

PRESETS: Mapping[str, Preset] = {**_SDK, **OTHERS}


def custom(query: MetricQuery) -> Preset:
    """The preset of two counters of the application's own; SelectorError if a selector is none.

    A counter that has never been raised has no series in many applications. If it is the total's own metric
    (`{code="500"}` of all codes) it is known to be zero; one of another name must have been seen once, or a
    typing error in it would look like a candidate without errors.
    """
    if query.events is None:
        raise ValueError(f"metric {query.name} has neither a preset nor counters")
    bad, all_of = Family.custom(query.events.bad), Family.custom(query.events.total)
    known = bool(bad.name) and bad.name == all_of.name
    parts = (Part(all_of, fixed("total")), Part(bad, fixed("bad")))
    return Preset(MetricKind.Events, parts, build_events, anywhere=() if known else (1,))


def preset_of(query: MetricQuery) -> Preset:
    """What a query reads; ValueError, in words, if it cannot be asked."""
    if not query.preset:
        return custom(query)
    preset = PRESETS.get(query.preset)
    if preset is None:
        raise ValueError(f"preset {query.preset!r} is not known; use one of {', '.join(PRESETS)}")
    if preset.wants and not query.score:
        raise ValueError(f"preset {query.preset} needs the {preset.wants}'s name")
    return preset
