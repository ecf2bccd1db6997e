"""What the operator costs: memory, CPU, API requests and Prometheus queries; idle, and with many active rollouts.

    python -m benchmarks.footprint [--rollouts 50] [--many 300] [--seconds 60]

Everything is real but the pods: the rollouts have none, so that only the operator's own work is seen. Writes
benchmarks/results/footprint.json; the last line has the figures with `rollouts` on trial.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.application import Application
from e2e.objects import Json
from e2e.processes.supervisor import wait_until
from e2e.stack import Options, Stack

RESULT = Path(__file__).parent / "results" / "footprint.json"
NAMESPACE = "many"
INTERVAL = "10s"
#: Rollouts that one kubectl applies: it has a minute for it.
_AT_ONCE = 50
_MEMORY = re.compile(r"^(Rss|Pss): +(\d+) kB$", re.MULTILINE)
_REQUESTS = re.compile(r"^promptrollout_operator_api_requests_total\{[^}]*\} (\S+)$", re.MULTILINE)
_QUERIES = re.compile(r'^prometheus_http_requests_total\{[^}]*handler="/api/v1/query"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Reading:
    """Counters at one moment."""

    at: float
    cpu_s: float
    rss_mib: float
    pss_mib: float
    requests: float
    queries: float


@dataclass(frozen=True)
class Phase:
    """What one phase cost; rates are of the whole operator, minute by minute."""

    name: str
    rollouts: int
    seconds: float
    rss_mib: float
    pss_mib: float
    cpu_s_per_min: float
    api_requests_per_min: float
    prometheus_queries_per_min: float


def rollout(number: int, text: str) -> Json:
    return {
        "apiVersion": "promptrollout.dev/v1alpha1",
        "kind": "PromptRollout",
        "metadata": {"name": f"rollout-{number}", "namespace": NAMESPACE},
        "spec": {
            "prompt": {"inline": {"text": text}},
            "strategy": {"canary": {"steps": [{"weight": 1, "duration": "24h"}]}},
            "analysis": {"interval": INTERVAL},
        },
    }


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - loopback
        return str(answer.read().decode())


def answers(stack: Stack) -> bool:
    try:
        return stack.operator is not None and bool(page(stack.operator.metrics_url))
    except OSError:
        return False


def read(stack: Stack) -> Reading:
    operator = stack.operator
    if operator is None or operator.process is None:
        raise ValueError("the stack has no operator")
    pid = operator.process.pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = dict(_MEMORY.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    requests = _REQUESTS.findall(page(operator.metrics_url))
    queries = _QUERIES.findall(page(f"{stack.prometheus.url}/metrics"))
    return Reading(
        time.monotonic(),
        (int(fields[11]) + int(fields[12])) / 100,
        int(memory["Rss"]) / 1024,
        int(memory["Pss"]) / 1024,
        sum(map(float, requests)),
        sum(map(float, queries)),
    )


def measure(stack: Stack, name: str, rollouts: int, seconds: float) -> Phase:
    """The difference of two readings; API requests are the operator's own, its watches not counted."""
    before = read(stack)
    time.sleep(seconds)
    after = read(stack)
    minutes = (after.at - before.at) / 60
    phase = Phase(
        name,
        rollouts,
        round(after.at - before.at, 1),
        round(after.rss_mib, 1),
        round(after.pss_mib, 1),
        round((after.cpu_s - before.cpu_s) / minutes, 2),
        round((after.requests - before.requests) / minutes, 1),
        round((after.queries - before.queries) / minutes, 1),
    )
    print(phase, flush=True)
    return phase


def phases_of(stack: Stack, phase: str) -> int:
    listed = stack.kubectl.get("promptrollouts", "-n", NAMESPACE).items("items")
    return sum(one.text("status.phase") == phase for one in listed)


def bring(stack: Stack, numbers: range, text: str, phase: str, total: int) -> None:
    """Give these rollouts a prompt, and wait until `total` rollouts are in a phase."""
    for first in range(numbers.start, numbers.stop, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, numbers.stop))
        stack.kubectl.apply([rollout(n, text) for n in some])
    wait_until(lambda: phases_of(stack, phase) == total, f"{total} rollouts to be {phase}", 400, pause=2)


def run(rollouts: int, many: int, seconds: float) -> Sequence[Phase]:
    options = Options(application=Application(namespace="first", replicas=1), traffic=None)
    with Stack(options) as stack:
        stack.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        wait_until(lambda: answers(stack), "the operator's metrics page", 60, pause=0.5)
        empty = measure(stack, "nothing to do", 0, seconds)
        bring(stack, range(rollouts), "one", "Healthy", rollouts)
        idle = measure(stack, "idle", rollouts, seconds)
        bring(stack, range(rollouts), "two", "Progressing", rollouts)
        active = measure(stack, "active", rollouts, seconds)
        rest = range(rollouts, many)
        bring(stack, rest, "one", "Healthy", len(rest))
        bring(stack, rest, "two", "Progressing", many)
        return [empty, idle, active, measure(stack, "many", many, seconds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=50)
    parser.add_argument("--many", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60.0)
    chosen = parser.parse_args()
    found = run(chosen.rollouts, chosen.many, chosen.seconds)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"interval": INTERVAL, "phases": [asdict(p) for p in found]}, indent=2) + "\n"
    )
    active = found[2]
    each = active.api_requests_per_min / active.rollouts
    print(
        f"footprint: rollouts={active.rollouts} rss_mib={active.rss_mib} cpu_s_per_min={active.cpu_s_per_min} "
        f"api_requests_per_min_per_rollout={each:.1f} prometheus_queries_per_min={active.prometheus_queries_per_min}"
    )


if __name__ == "__main__":
    main()
