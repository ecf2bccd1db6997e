"""The pods' word on what they serve: `promptrollout_loaded` and `promptrollout_loaded_timestamp_seconds`. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping

from promptrollout.sources.promql import vector
from promptrollout.sources.protocol import LoadedBy
from promptrollout.sources.strands import Series

LOADED = "promptrollout_loaded"
LOADED_AT = "promptrollout_loaded_timestamp_seconds"

#: What a scrape configuration may call the pod and its namespace, the usual name first.
_POD = ("pod", "kubernetes_pod_name", "pod_name")
_NAMESPACE = ("namespace", "kubernetes_namespace")

_Who = tuple[tuple[str, str], ...]


def loaded_query(rollouts: Collection[str]) -> str:
    """One selector for both metrics of all these rollouts."""
    return vector("", {"__name__": (LOADED, LOADED_AT), "rollout": rollouts})


def read_loaded(found: Iterable[Series], rollouts: Collection[str]) -> Mapping[str, tuple[LoadedBy, ...]]:
    """By rollout, who serves what; series that are 0 (a worker's word taken back) or in another form are left out."""
    moments: dict[_Who, float] = {}
    speakers: dict[_Who, Mapping[str, str]] = {}
    for series in found:
        value = series.points[-1].value if series.points else math.nan
        if not (math.isfinite(value) and value > 0):
            continue
        who = tuple(sorted((k, v) for k, v in series.labels.items() if k != "__name__"))
        if series.labels.get("__name__") == LOADED:
            speakers[who] = series.labels
        else:
            moments[who] = value
    answer: dict[str, list[LoadedBy]] = {rollout: [] for rollout in rollouts}
    for who, labels in sorted(speakers.items()):
        sequence = labels.get("sequence", "")
        rollout = labels.get("rollout", "")
        # Without its moment a word is not whole yet: both are written at once, the next scrape has them.
        if rollout in answer and sequence.isascii() and sequence.isdigit() and who in moments:
            answer[rollout].append(
                LoadedBy(
                    namespace=_first(labels, _NAMESPACE),
                    pod=_first(labels, _POD),
                    instance=labels.get("instance", ""),
                    sequence=int(sequence),
                    hash=labels.get("hash", ""),
                    loaded_at=moments[who],
                )
            )
    return {rollout: tuple(words) for rollout, words in answer.items()}


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")
