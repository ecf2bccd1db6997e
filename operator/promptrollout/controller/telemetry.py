"""The operator's own metrics. Labels are bounded: no rollout's name is ever one."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from promptrollout.api.status import Phase

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SLOW = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


class Telemetry:
    """What the operator says of itself on /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "prompt_rollout_reconcile", "Turns of the wheel, by result.", ["result"], registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            "prompt_rollout_reconcile_seconds", "How long a turn took.", buckets=_FAST, registry=self.registry
        )
        self.queue_wait_seconds = Histogram(
            "prompt_rollout_queue_wait_seconds",
            "How long a key waited for its turn beyond its time.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.decisions = Counter(
            "prompt_rollout_decision",
            "What was decided, by reason of its Event.",
            ["reason"],
            registry=self.registry,
        )
        self.rollback_seconds = Histogram(
            "prompt_rollout_rollback_seconds",
            "From the decision to roll back until the last pod was back at stable.",
            buckets=_SLOW,
            registry=self.registry,
        )
        self._rollouts = Gauge(
            "prompt_rollout_rollouts", "Rollouts by phase.", ["phase"], registry=self.registry
        )
        self._depth = Gauge(
            "prompt_rollout_queue_depth", "Keys that wait for a turn.", registry=self.registry
        )
        self._lag = Gauge(
            "prompt_rollout_queue_lag_seconds", "How overdue the most overdue key is.", registry=self.registry
        )
        self._comparing = Gauge(
            "prompt_rollout_trials_compared",
            "Trials whose metrics are being compared.",
            registry=self.registry,
        )

    def observe(self, *, queue_depth: Callable[[], float], queue_lag: Callable[[], float]) -> None:
        """Have the queue's gauges read when they are scraped."""
        self._depth.set_function(queue_depth)
        self._lag.set_function(queue_lag)

    def show(self, phases: Iterable[str], compared: int) -> bytes:
        """The page that Prometheus scrapes; `phases` are those of all rollouts."""
        tally = Tally(phases)
        for phase in Phase:
            self._rollouts.labels(phase.value).set(tally[phase.value])
        self._comparing.set(compared)
        return generate_latest(self.registry)
