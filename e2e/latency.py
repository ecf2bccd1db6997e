"""`make bench-latency`: how fast a rollback is, over at least 20 of them on a real control plane.

From the end of the window that decided, to its data read, the status seen by a watcher, the ConfigMap written and the
last pod back. Writes benchmarks/results/latency.json; the last line has the figures of the target.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from e2e.application import Application
from e2e.processes.supervisor import REPOSITORY
from e2e.recorder import ROLLOUTS
from e2e.scenario import Subject, When, given
from e2e.stack import Options, Stack, Traffic
from e2e.views import Status, moment, rollback_timings

RESULT = REPOSITORY / "benchmarks" / "results" / "latency.json"
GOOD = "You are a support agent. Answer in two sentences."
BAD = f"{GOOD} [simulate error_rate=0.5]"
STEPS = ({"weight": 20, "duration": "10m"},)
WITHIN_S = 120.0


@dataclass(frozen=True)
class Rollback:
    """One rollback's parts in seconds, by name."""

    seconds: dict[str, float]


def measure(rounds: int, pods: int) -> Sequence[Rollback]:
    application = Application(replicas=pods)
    found: list[Rollback] = []
    with Stack(Options(application=application, traffic=Traffic(rate=100.0))) as stack:
        start = given(stack).steps(*STEPS).analysis(interval="1s").a_promoted_prompt(GOOD)
        story = start.when().the_prompt_becomes(BAD)
        for number in range(1, rounds + 1):
            story.wait_for("a complete rollback", _is_attempt(number), WITHIN_S)
            found.append(_rollback(story.subject))
            print(
                f"{number:3d}  " + "  ".join(f"{k} {v:.3f}" for k, v in found[-1].seconds.items()), flush=True
            )
            if number < rounds:
                story = _again(story)
    return found


def _again(story: When) -> When:
    """The same prompt once more, with evidence that starts anew."""
    return story.commanded("retry")


def _is_attempt(number: int) -> Callable[[Status], bool]:
    def complete(status: Status) -> bool:
        attempt = status.raw.number("status.rejected.attempt")
        return (
            status.phase == "Degraded" and attempt == number and bool(status.rollback.text("acknowledgedAt"))
        )

    return complete


def _rollback(subject: Subject) -> Rollback:
    rollback = subject.status().rollback
    seconds = {name: value for name, value in rollback_timings(rollback).items() if value is not None}
    readable = moment(rollback.text("readableAt"))
    seen = _seen_at(subject, rollback.text("decidedAt"))
    if readable is not None and seen is not None:
        seconds["readable_to_status_seen"] = seen - readable.timestamp()
    return Rollback(seconds)


def _seen_at(subject: Subject, decided_at: str) -> float | None:
    """When a watcher first saw the status of this decision."""
    changes = subject.stack.recorder.changes(
        ROLLOUTS, subject.application.namespace, subject.application.rollout
    )
    seen = (c.at for c in changes if Status(c.object).rollback.text("decidedAt") == decided_at)
    return next(seen, None)


def summary(found: Sequence[Rollback]) -> dict[str, dict[str, float]]:
    """Median, 99th percentile (the worst of fewer than 100) and worst of each part, in milliseconds."""
    names = sorted({name for rollback in found for name in rollback.seconds})
    result: dict[str, dict[str, float]] = {}
    for name in names:
        values = sorted(1000 * rollback.seconds[name] for rollback in found if name in rollback.seconds)
        result[name] = {
            "n": len(values),
            "median_ms": round(statistics.median(values), 1),
            "p99_ms": round(values[min(len(values) - 1, int(0.99 * len(values)))], 1),
            "worst_ms": round(values[-1], 1),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pods", type=int, default=3)
    chosen = parser.parse_args()
    found = measure(chosen.rounds, chosen.pods)
    parts = summary(found)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"pods": chosen.pods, "parts": parts}, indent=2) + "\n")
    print(json.dumps(parts, indent=2))
    written, acknowledged = parts["readable_to_written"], parts["readable_to_acknowledged"]
    print(
        f"latency: configmap_p99_ms={written['p99_ms']} acknowledged_median_ms={acknowledged['median_ms']} "
        f"n={written['n']:.0f}"
    )


if __name__ == "__main__":
    main()
