"""The operator's own metrics. Labels are bounded: no name of a rollout is ever one, nor what an author writes."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from promptrollout.api.status import Phase
from promptrollout.cluster.objects import ObjectKey
from promptrollout.cluster.transport import Outcome
from promptrollout.cluster.values import Json, flag_at, mapping_at, moment_at, text_at
from promptrollout.controller.queue import Turn
from promptrollout.sources.client import QueryDone

PREFIX: Final = "promptrollout_operator"
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
_SLOW = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)
#: A transport's action begins with a verb and a resource; what does not (a review of rights) is `other`.
_ACTION = re.compile(r"(get|list|create|patch|delete|post) ([a-z]+(?:/[a-z]+)?)(?:\.[a-z.0-9]+)?(?: |$)")


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at the moment of a scrape. Times in seconds.

    Attributes:
        phases: how many rollouts are in each.
        queue_due, queue_scheduled: keys that wait for a worker, and for that or their time.
        queue_lag: how overdue the most overdue key is.
        in_work, failing: keys that a worker has in hand; keys whose last turn failed.
        compared, awaited: trials whose metrics are compared; payloads that pods have yet to load.
        gates: gates that run and have not answered yet.
        notifications: those that wait to be sent.
        sampling_age: how old the newest window is of the trial that is furthest behind.
        loop_lag: the worst delay of the event loop lately.
        leading: whether this process may write.
        ready: whether it has all it needs.
    """

    phases: Mapping[str, int] = field(default_factory=dict)
    queue_due: int = 0
    queue_scheduled: int = 0
    queue_lag: float = 0.0
    in_work: int = 0
    failing: int = 0
    compared: int = 0
    awaited: int = 0
    gates: int = 0
    notifications: int = 0
    sampling_age: float = 0.0
    loop_lag: float = 0.0
    leading: bool = True
    ready: bool = False


class Telemetry:
    """What the operator says of itself on /metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._turns = self._counter("reconcile", "Turns of the wheel, by result.", "result")
        self._errors = self._counter(
            "reconcile_errors", "Turns that failed, by the type of the error.", "type"
        )
        self._turn_seconds = self._histogram("reconcile_duration_seconds", "How long a turn took.", _QUICK)
        self._wait_seconds = self._histogram(
            "queue_wait_seconds", "How long a key that was due waited for a worker.", _QUICK
        )
        #: What was decided, by the reason of its Event.
        self.decisions = self._counter("decisions", "What was decided, by the reason of its Event.", "reason")
        self._verdicts = self._counter("verdicts", "Verdicts of the analysis on new data.", "verdict")
        self._rollbacks = self._counter("rollbacks", "Rollbacks that were begun, by reason.", "reason")
        self._rollback_seconds = self._histogram(
            "rollback_duration_seconds",
            "How long rollbacks took: from the decisive data being readable until decided, "
            "from the decision until written, and from the decision until the last pod was back at stable.",
            _SLOW,
            "until",
        )
        self._requests = self._counter(
            "api_requests",
            "Requests to the API server; code is 0 without an answer.",
            "verb",
            "resource",
            "code",
        )
        self._request_seconds = self._histogram(
            "api_request_duration_seconds", "How long the API server took to answer.", _QUICK, "verb"
        )
        self._queries = self._counter(
            "source_queries",
            "Queries to metric sources; result is ok or why there is none.",
            "source",
            "purpose",
            "result",
        )
        self._query_seconds = self._histogram(
            "source_query_duration_seconds", "How long metric sources took to answer.", _QUICK, "source"
        )
        self._query_bytes = self._counter("source_read_bytes", "What metric sources sent.", "source")
        self._events = self._counter("watch_events", "What the watch brought.", "resource", "type")
        self._repairs = self._counter("repairs", "What a watch had lost and a list repaired.", "resource")
        self._notifications = self._counter(
            "notifications",
            "Notifications by what became of them: sent, held (for a summary), failed, dropped (the queue was full).",
            "channel",
            "result",
        )
        self._gauges()
        GCCollector(self.registry)
        ProcessCollector(registry=self.registry)
        build = Info(f"{PREFIX}_build", "What runs here.", registry=self.registry)
        build.info(
            {
                "version": version("promptrollout"),
                "python": platform.python_version(),
                "kopf": version("kopf"),
            }
        )

    def turn(self, turn: Turn[ObjectKey]) -> None:
        """One turn of the wheel, as it went."""
        self._turns.labels("error" if turn.error else "ok").inc()
        self._turn_seconds.observe(turn.seconds)
        self._wait_seconds.observe(turn.lag)
        if turn.error is not None:
            self._errors.labels(type(turn.error).__name__).inc()

    def status_written(self, before: Json, after: Json) -> None:
        """A turn has made `before` into `after`: what is new in it is counted, once."""
        judged, earlier = mapping_at(after, "analysis"), mapping_at(before, "analysis")
        if moment_at(judged, "through") not in (None, moment_at(earlier, "through")):
            self._verdicts.labels(text_at(judged, "verdict") or "NoData").inc()
        new, old = mapping_at(after, "rollback"), mapping_at(before, "rollback")
        if moment_at(new, "decidedAt") != moment_at(old, "decidedAt") and not flag_at(new, "undelivered"):
            self._rollbacks.labels(text_at(new, "reason")).inc()
            old = {}
        for begin, end in (
            ("readableAt", "decidedAt"),
            ("decidedAt", "writtenAt"),
            ("decidedAt", "acknowledgedAt"),
        ):
            began, ended = moment_at(new, begin), moment_at(new, end)
            if began and ended and moment_at(old, end) is None:
                stage = end.removesuffix("At")
                self._rollback_seconds.labels(stage).observe(max((ended - began).total_seconds(), 0.0))

    def api_request(self, outcome: Outcome) -> None:
        """One request to the API server, as it went."""
        action = _ACTION.match(outcome.action)
        verb = action[1] if action else outcome.method.lower()
        verb = {"post": "create"}.get(verb, verb)
        self._requests.labels(verb, action[2] if action else "other", str(outcome.code)).inc()
        self._request_seconds.labels(verb).observe(outcome.seconds)

    def source_query(self, source: str, query: QueryDone) -> None:
        """One query to a metric source, as it went."""
        self._queries.labels(source, query.purpose, query.reason or "ok").inc()
        self._query_seconds.labels(source).observe(query.seconds)
        self._query_bytes.labels(source).inc(query.size)

    def watch_event(self, resource: str, kind: str) -> None:
        """The watch brought an event of that kind."""
        self._events.labels(resource, kind).inc()

    def repaired(self, resource: str, count: int) -> None:
        """A list repaired that many of what the watch had lost."""
        self._repairs.labels(resource).inc(count)

    def notification(self, channel: str, result: str) -> None:
        """What became of one notification; channels are the administrator's, so there are few."""
        self._notifications.labels(channel, result).inc()

    def page(self, now: Gauges) -> bytes:
        """What Prometheus scrapes."""
        for phase in Phase:
            self._rollouts.labels(phase.value).set(now.phases.get(phase.value, 0))
        for name, gauge in self._plain.items():
            gauge.set(getattr(now, name))
        return generate_latest(self.registry)

    def _gauges(self) -> None:
        self._rollouts = Gauge(f"{PREFIX}_rollouts", "Rollouts by phase.", ["phase"], registry=self.registry)
        known = {
            "queue_due": ("queue_depth", "Keys that are due and wait for a worker."),
            "queue_scheduled": ("queue_scheduled", "Keys that wait for their time or a worker."),
            "queue_lag": ("queue_lag_seconds", "How overdue the most overdue key is."),
            "in_work": ("reconciles_in_progress", "Turns under way."),
            "failing": ("reconciles_failing", "Rollouts whose last turn failed."),
            "compared": ("trials_compared", "Trials whose metrics are compared."),
            "awaited": ("payloads_awaited", "Payloads that pods have yet to load."),
            "gates": ("gates_running", "Gates that run and have not answered yet."),
            "notifications": ("notifications_waiting", "Notifications that wait to be sent."),
            "sampling_age": (
                "sampling_age_seconds",
                "How old the newest window is of the trial that is furthest behind.",
            ),
            "loop_lag": (
                "event_loop_lag_seconds",
                "The worst delay of the event loop in the last half minute.",
            ),
            "leading": ("leader", "1 if this process leads, so may write."),
            "ready": ("ready", "1 if this process has all it needs."),
        }
        self._plain = {
            name: Gauge(f"{PREFIX}_{metric}", text, registry=self.registry)
            for name, (metric, text) in known.items()
        }

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=self.registry)
