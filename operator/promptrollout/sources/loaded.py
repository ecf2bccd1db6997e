"""The pods' word on what they serve: `promptrollout_loaded` and `promptrollout_loaded_timestamp_seconds`. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping

from promptrollout.sources.families import number_in
from promptrollout.sources.promql import vector
from promptrollout.sources.protocol import LoadedBy
from promptrollout.sources.strands import Series

LOADED = "promptrollout_loaded"
LOADED_AT = "promptrollout_loaded_timestamp_seconds"

#: What a scrape configuration may call the pod and its namespace, the usual name first.
_POD = ("pod", "kubernetes_pod_name", "pod_name")
_NAMESPACE = ("namespace", "kubernetes_namespace")

#: Marks the series that say when each word was scraped.
_SCRAPED = "promptrollout_scraped"
#: What one target may say several of: the workers of a process, or what it served before.
_OF_THE_PAYLOAD = ("sequence", "hash")

_Who = tuple[tuple[str, str], ...]


def loaded_query(rollouts: Collection[str]) -> str:
    """Both metrics of all these rollouts, and when each word was scraped (a label of its own lets `or` keep it)."""
    both = vector("", {"__name__": (LOADED, LOADED_AT), "rollout": rollouts})
    words = vector(LOADED, {"rollout": rollouts})
    return f'{both} or label_replace(timestamp({words}), "{_SCRAPED}", "1", "", "")'


def read_loaded(found: Iterable[Series], rollouts: Collection[str]) -> Mapping[str, tuple[LoadedBy, ...]]:
    """By rollout, who serves what; series that are 0 (a worker's word taken back) or in another form are left out.

    So is a word older than its target's newest scrape: if Prometheus was down when the pod loaded the next payload,
    nothing has marked the old series stale, and it goes on for Prometheus' whole look-back (5 min).
    """
    scraped: dict[_Who, float] = {}
    moments: dict[_Who, float] = {}
    speakers: dict[_Who, Mapping[str, str]] = {}
    for series in found:
        value = series.points[-1].value if series.points else math.nan
        if not (math.isfinite(value) and value > 0):
            continue
        who = tuple(sorted((k, v) for k, v in series.labels.items() if k not in {"__name__", _SCRAPED}))
        if _SCRAPED in series.labels:
            scraped[who] = value
        elif series.labels.get("__name__") == LOADED:
            speakers[who] = series.labels
        else:
            moments[who] = value
    newest = _newest(scraped)
    answer: dict[str, list[LoadedBy]] = {rollout: [] for rollout in rollouts}
    for who, labels in sorted(speakers.items()):
        if scraped.get(who, math.inf) < newest.get(_target(who), -math.inf):
            continue
        sequence = number_in(labels, "sequence")
        rollout = labels.get("rollout", "")
        # Without its moment a word is not whole yet: both are written at once, the next scrape has them.
        if rollout in answer and sequence is not None and who in moments:
            answer[rollout].append(
                LoadedBy(
                    namespace=_first(labels, _NAMESPACE),
                    pod=_first(labels, _POD),
                    instance=labels.get("instance", ""),
                    sequence=sequence,
                    hash=labels.get("hash", ""),
                    loaded_at=moments[who],
                )
            )
    return {rollout: tuple(words) for rollout, words in answer.items()}


def _target(who: _Who) -> _Who:
    return tuple((name, value) for name, value in who if name not in _OF_THE_PAYLOAD)


def _newest(scraped: Mapping[_Who, float]) -> dict[_Who, float]:
    """Of each target, when it was scraped last."""
    newest: dict[_Who, float] = {}
    for who, at in scraped.items():
        newest[_target(who)] = max(at, newest.get(_target(who), at))
    return newest


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
