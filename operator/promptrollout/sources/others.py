"""Metrics of instrumentation that is not ours: OpenTelemetry's GenAI conventions, LiteLLM, vLLM.

Each is split by what the application or the scrape adds: labels with the rollout ("namespace/name") and the revision
(docs/metrics.md, "Without the SDK"). Names, labels and buckets are those of the projects' own sources, which
tests/sources/recorded cites.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from promptrollout.analysis.plan import MetricKind
from promptrollout.sources.families import Family, Labels
from promptrollout.sources.presetkit import (
    Cell,
    Part,
    Preset,
    bucket,
    build_events,
    build_histogram,
    build_sums,
    fixed,
)

Feeds = Callable[[Labels], tuple[Cell, ...]]


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """How one project's counters are told apart: the labels with rollout, revision and, where it is given, exposure."""

    rollout: str = "prompt_rollout"
    revision: str = "prompt_revision"
    step: str = "prompt_step"

    def family(self, metric: str) -> Family:
        """One of its families."""
        return Family(metric, rollout=self.rollout, revision=self.revision, step=self.step)

    def events(self, *parts: tuple[str, Feeds]) -> Preset:
        """Bad of total; each part is a metric and the cells its series feed. Any of them shows that an arm counts."""
        made = tuple(Part(self.family(metric), feeds) for metric, feeds in parts)
        return Preset(MetricKind.Events, made, build_events, instead=tuple(range(1, len(made))))

    def histogram(self, metric: str, edges: tuple[float, ...]) -> Preset:
        """Times in seconds; `metric` without `_bucket`."""
        part = Part(self.family(f"{metric}_bucket"), bucket)
        return Preset(MetricKind.Histogram, (part,), build_histogram, edges, "s")

    def sums(self, count: str, sums: tuple[str, ...], unit: str) -> Preset:
        """Something that adds up, by request."""
        parts = (
            Part(self.family(count), fixed("total")),
            *(Part(self.family(m), fixed("sum")) for m in sums),
        )
        return Preset(MetricKind.Sum, parts, build_sums, unit=unit)


def _bad_if(label: str, *values: str) -> Feeds:
    """Bad are the series whose label has one of the values, or any value when none is named."""

    def feeds(labels: Labels) -> tuple[Cell, ...]:
        found = labels.get(label, "")
        return ("total", "bad") if found and (not values or found in values) else ("total",)

    return feeds


#: The conventions' advice (semantic-conventions-genai, gen-ai-metrics.md, "gen_ai.client.operation.duration").
OTEL_SECONDS = tuple(round(0.01 * 2**k, 2) for k in range(14))


def _failures(_labels: Labels) -> tuple[Cell, ...]:
    """Counted nowhere else."""
    return ("total", "bad")


def _otel(
    prefix: str, name: Callable[[str, str], str], labels: Instrumentation, error: str
) -> dict[str, Preset]:
    """The client metrics of the GenAI conventions in one spelling; `name` writes an instrument with its unit."""
    duration = name("gen_ai.client.operation.duration", "seconds")
    first = name("gen_ai.client.operation.time_to_first_chunk", "seconds")
    tokens = name("gen_ai.client.token.usage", "")
    return {
        f"{prefix}/errors": labels.events((f"{duration}_count", _bad_if(error))),
        f"{prefix}/latency": labels.histogram(duration, OTEL_SECONDS),
        f"{prefix}/ttft": labels.histogram(first, OTEL_SECONDS),
        f"{prefix}/tokens": labels.sums(f"{duration}_count", (f"{tokens}_sum",), "tokens"),
    }


def _underscores(name: str, unit: str) -> str:
    """Prometheus' and the Collector's default: dots become underscores, the unit is appended."""
    return "_".join(part for part in (name.replace(".", "_"), unit) if part)


def _bare(name: str, unit: str) -> str:  # noqa: ARG001 - the shape of the others
    """The same with unit suffixes switched off."""
    return name.replace(".", "_")


def _dots(name: str, unit: str) -> str:  # noqa: ARG001 - the shape of the others
    """The names as the conventions have them (Prometheus 3, translation strategy NoTranslation)."""
    return name


_DOTTED = Instrumentation("prompt.rollout", "prompt.revision", "prompt.step")

# litellm/types/integrations/prometheus.py, LATENCY_BUCKETS: those that both 1.110 and versions before it have
LITELLM_SECONDS = (0.005, 0.025, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LITELLM = Instrumentation("metadata_prompt_rollout", "metadata_prompt_revision", "metadata_prompt_step")
_LITELLM_REQUESTS = "litellm_request_total_latency_metric_count"

# vllm/v1/metrics/loggers.py, PrometheusStatLogger
VLLM_SECONDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
VLLM_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_VLLM = Instrumentation()
_VLLM_REQUESTS = "vllm:request_success_total"

OTHERS: Mapping[str, Preset] = {
    **_otel("otel", _underscores, Instrumentation(), "error_type"),
    **_otel("otel-bare", _bare, Instrumentation(), "error_type"),
    **_otel("otel-dots", _dots, _DOTTED, "error.type"),
    # An answer is counted by its latency, a failure by a counter of its own, which has the custom labels.
    "litellm/errors": _LITELLM.events(
        (_LITELLM_REQUESTS, fixed("total")), ("litellm_llm_api_failed_requests_metric_total", _failures)
    ),
    "litellm/latency": _LITELLM.histogram("litellm_request_total_latency_metric", LITELLM_SECONDS),
    "litellm/ttft": _LITELLM.histogram("litellm_llm_api_time_to_first_token_metric", LITELLM_SECONDS),
    "litellm/tokens": _LITELLM.sums(_LITELLM_REQUESTS, ("litellm_total_tokens_metric_total",), "tokens"),
    "litellm/cost": _LITELLM.sums(_LITELLM_REQUESTS, ("litellm_spend_metric_total",), "USD"),
    "vllm/errors": _VLLM.events((_VLLM_REQUESTS, _bad_if("finished_reason", "error"))),
    "vllm/truncated": _VLLM.events((_VLLM_REQUESTS, _bad_if("finished_reason", "length"))),
    "vllm/latency": _VLLM.histogram("vllm:e2e_request_latency_seconds", VLLM_SECONDS),
    "vllm/ttft": _VLLM.histogram("vllm:time_to_first_token_seconds", VLLM_FIRST_TOKEN),
    "vllm/tokens": _VLLM.sums(
        _VLLM_REQUESTS, ("vllm:prompt_tokens_total", "vllm:generation_tokens_total"), "tokens"
    ),
}
