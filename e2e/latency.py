"""`make bench-latency`: how fast a rollback is, part by part, over many rollbacks on the real stack.

Each trial delivers a prompt that fails often, and reads from the rollout's status when the decisive window ended, when
its data had been read, when the ConfigMap was written, and when the last pod was back at stable. JSON, then one line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from e2e.application import Application, Rollout
from e2e.objects import KubeObject
from e2e.recorder import ROLLOUTS
from e2e.stack import Options, Stack, Traffic
from e2e.views import Status, moment, rollback_timings

STABLE = "You are a support agent."
TRIAL_WITHIN_S = 120.0
ROLLOUT = Rollout(
    Application(replicas=4),
    STABLE,
    ({"weight": 50, "duration": "10m"},),
    {
        "interval": "2s",
        "metrics": [{"name": "errors", "preset": "sdk/errors"}],
        "correlation": {"meanRequestsPerUnit": "3", "icc": "0"},
    },
    {},
)
Timings = Mapping[str, float]


def trial(stack: Stack, number: int) -> Timings:
    """One rollback; the seconds of each part."""
    bad = f"{STABLE} Candidate {number}. [simulate error_rate=0.5]"
    _apply(stack, bad, "Degraded")
    status = _status(stack)
    timings = {name: value for name, value in rollback_timings(status.rollback).items() if value is not None}
    timings |= _status_written(stack, status.rollback)
    _apply(stack, STABLE, "Healthy")
    return timings


def _status_written(stack: Stack, rollback: KubeObject) -> Timings:
    """From the data being readable until a watcher has the status of the decision: the write, and a little more."""
    readable = moment(rollback.text("readableAt"))
    application = ROLLOUT.application
    changes = stack.recorder.changes(ROLLOUTS, application.namespace, application.rollout)
    decided = rollback.text("decidedAt")
    seen = next((c.at for c in changes if Status(c.object).rollback.text("decidedAt") == decided), None)
    if readable is None or seen is None:
        return {}
    return {"readable_to_status_written": round(seen - readable.timestamp(), 3)}


def _apply(stack: Stack, prompt: str, phase: str) -> None:
    stack.apply_rollout(replace(ROLLOUT, system_prompt=prompt).manifest())

    def reached() -> bool:
        status = _status(stack)
        return status.current and status.phase == phase

    stack.recorder.wait(reached, f"phase {phase}", TRIAL_WITHIN_S, stack.check)


def _status(stack: Stack) -> Status:
    application = ROLLOUT.application
    return Status(
        stack.recorder.latest(ROLLOUTS, application.namespace, application.rollout) or KubeObject({})
    )


def summary(trials: Sequence[Timings]) -> Mapping[str, Mapping[str, float]]:
    """Of each part: median, 99th percentile (nearest rank) and worst, in milliseconds."""
    parts = {name: sorted(one[name] for one in trials if name in one) for one in trials for name in one}
    return {
        name: {
            "median_ms": round(statistics.median(values) * 1000),
            "p99_ms": round(values[-(-99 * len(values) // 100) - 1] * 1000),
            "worst_ms": round(values[-1] * 1000),
            "n": len(values),
        }
        for name, values in parts.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollbacks", type=int, default=20)
    parser.add_argument("--output", type=Path, help="write the JSON here, too")
    arguments = parser.parse_args()
    options = Options(application=ROLLOUT.application, traffic=Traffic(rate=100.0))
    with Stack(options, say=lambda line: print(line, file=sys.stderr)) as stack:
        _apply(stack, STABLE, "Healthy")
        trials = [trial(stack, number) for number in range(1, arguments.rollbacks + 1)]
    parts = summary(trials)
    document = json.dumps({"rollbacks": len(trials), "parts": parts, "trials": trials}, indent=1)
    if arguments.output is not None:
        arguments.output.write_text(document + "\n")
    print(document)
    written, back = parts["readable_to_written"], parts["written_to_acknowledged"]
    print(
        f"latency: configmap_p99_ms={written['p99_ms']} acknowledged_median_ms={back['median_ms']} n={len(trials)}",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
