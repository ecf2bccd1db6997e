"""The metric families, one set for each Prometheus registry. Names and labels are the operator's contract.

Counters of scores and clusters are Summaries, for these export `_sum` and `_count` under exactly these names; the
sum of squares is a gauge for the same reason (a Counter would be called `…_total`). Both work with
prometheus_client's multi-process mode.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary, multiprocess

# 10 ms … 328 s in steps of 2^(1/4) = 1.19: fine enough to see a shift of 10 % (statistics-sharper, "latency").
DURATION_BUCKETS = tuple(float(f"{0.01 * 2 ** (k / 4):.4g}") for k in range(61))

_ARM = ("rollout", "revision", "arm", "step")
_CLUSTER = ("rollout", "arm", "cluster")

Mode = Literal["sum", "livesum", "livemax"]
Family = Counter | Gauge | Histogram | Summary


class Families:
    """All metrics of this SDK in one registry; every PromptRollout of the process shares them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
            return Counter(f"promptrollout_{name}", text, labels, registry=registry)

        def summary(name: str, text: str, labels: Sequence[str]) -> Summary:
            return Summary(f"promptrollout_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"promptrollout_{name}", text, _ARM, registry=registry, buckets=DURATION_BUCKETS)

        def gauge(name: str, text: str, labels: Sequence[str], mode: Mode) -> Gauge:
            return Gauge(f"promptrollout_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        score, event = (*_ARM, "score"), (*_ARM, "metric")
        self.requests = counter("requests_total", "Logical requests by outcome.", (*_ARM, "outcome"))
        self.duration = histogram("request_duration_seconds", "Duration of requests that were not aborted.")
        self.first_token = histogram("time_to_first_token_seconds", "Time to the first token of an answer.")
        self.tokens = counter("tokens_total", "Tokens by direction.", (*_ARM, "direction"))
        self.cost = counter("cost_usd_total", "Cost in US dollars.", _ARM)
        self.events = counter("events_total", "Requests with an event that the application named.", event)

        self.score = summary("score", "Scores in [0, 1], 1 is best.", score)
        self.score_sumsq = gauge("score_sumsq", "Sum of squared scores.", score, "sum")
        self.score_nodes = counter(
            "score_nodes_total",
            "Badness (1 - score), split linearly onto nodes 0/20 … 20/20.",
            (*score, "node"),
        )
        self.difference = summary(
            "shadow_difference",
            "Candidate minus stable score of one request.",
            ("rollout", "revision", "score"),
        )
        self.difference_sumsq = gauge(
            "shadow_difference_sumsq", "Sum of squared differences.", ("rollout", "revision", "score"), "sum"
        )
        shadow = ("rollout", "revision", "score")
        self.gain = counter(
            "shadow_gain_total", "Sum of the differences where the candidate scored more.", shadow
        )
        self.loss = counter("shadow_loss_total", "Sum of the differences where it scored less.", shadow)
        self.shadows = counter(
            "shadow_runs_total", "Shadow runs by what became of them.", ("rollout", "result")
        )

        self.cluster_requests = counter("cluster_requests_total", "Requests by cluster of units.", _CLUSTER)
        self.cluster_events = counter("cluster_events_total", "Events by cluster.", (*_CLUSTER, "metric"))
        self.cluster_score = summary("cluster_score", "Scores by cluster.", (*_CLUSTER, "score"))
        self.unit_exposure = counter(
            "unit_exposure_total", "Requests of units until their first event.", event
        )
        self.unit_events = counter("unit_events_total", "Units with their first event.", event)
        self.cluster_unit_exposure = counter(
            "cluster_unit_exposure_total", "The same by cluster.", (*_CLUSTER, "metric")
        )
        self.cluster_unit_events = counter(
            "cluster_unit_events_total", "The same by cluster.", (*_CLUSTER, "metric")
        )

        loaded = ("rollout", "sequence", "hash")
        self.loaded = gauge(
            "loaded", "1 for the payload that is served (processes of this pod).", loaded, "livesum"
        )
        self.loaded_at = gauge("loaded_timestamp_seconds", "When it was loaded.", loaded, "livemax")
        self.payload_errors = counter(
            "payload_errors_total", "Payloads refused, by reason.", ("rollout", "reason")
        )
        self.problems = counter(
            "sdk_problems_total", "Calls of the application that could not be counted.", ("rollout", "reason")
        )


_families: WeakKeyDictionary[CollectorRegistry, Families] = WeakKeyDictionary()


def families_of(registry: CollectorRegistry | None) -> Families:
    """The families in `registry` (the default one for None), made at first use."""
    registry = registry or REGISTRY
    if registry not in _families:
        _families[registry] = Families(registry)
    return _families[registry]


def multiprocess_directory() -> str:
    """prometheus_client's directory in multi-process mode; empty otherwise."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.environ.get("prometheus_multiproc_dir") or ""  # noqa: SIM112


def remove(family: Family, *labels: str) -> None:
    """Drop a series. In multi-process mode they live in files and go with their process."""
    if not multiprocess_directory():
        with contextlib.suppress(KeyError):
            family.remove(*labels)


def forget_dead_processes() -> None:
    """In multi-process mode, drop what killed workers said is loaded: else their last word would stand for ever."""
    directory = multiprocess_directory()
    if not directory:
        return
    for file in Path(directory).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _alive(int(pid)):
            with contextlib.suppress(OSError):  # another worker was faster
                multiprocess.mark_process_dead(int(pid), directory)  # type: ignore[no-untyped-call] # it has no types


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
