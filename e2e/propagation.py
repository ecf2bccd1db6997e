"""`make bench-propagation`: how long a change takes from the ConfigMap's write to the pods, on a real node, per mode.

For each mode several changes are made at random moments. `file`: until a container sees the new file in its mount (no
such thing with Watch); `acknowledged`: until the last pod has loaded it, by its own word in its metric. `rollback`:
from the decision of a rollback to the file in each container. Modes that are not measured keep their results.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.application import Application, Rollout
from e2e.objects import KubeObject
from e2e.realnode.arrivals import file_lags, rollback_lags
from e2e.realnode.stack import RealStack
from e2e.recorder import ROLLOUTS
from e2e.stack import Options
from e2e.views import Status, moment

MODES = ("Nudge", "Watch", "Mount")
REPLICAS = 3
WITHIN_S = 200.0
_MAX_PAUSE_S = 4.0
_HALF = 5_000  # of 10,000


@dataclass(frozen=True)
class Lags:
    """Seconds after the write: one value for each change and pod, and one for each change."""

    rollback: Sequence[float]
    file: Sequence[float]
    acknowledged: Sequence[float]


def measure(stack: RealStack, mode: str, changes: int, seed: int) -> Lags:
    """Make so many changes in a namespace of this mode's own; the first delivery is not counted."""
    application = Application(namespace=mode.lower(), replicas=REPLICAS, watches=mode == "Watch")
    stack.deploy(application)
    stack.wait_for_pods(application)
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    acknowledged = []
    for number in range(changes + 1):
        status = _change(stack, application, mode, number)
        delivered = KubeObject(status.raw.mapping("status.delivered"))
        written, loaded = moment(delivered.text("writtenAt")), moment(delivered.text("acknowledged.at"))
        if number and written and loaded:
            acknowledged.append((loaded - written).total_seconds())
        time.sleep(draw.uniform(0.5, _MAX_PAUSE_S))
    file = [] if mode == "Watch" else file_lags(stack, application)
    rollback: Sequence[float] = []
    if mode == "Nudge":  # with Mount each would take minutes
        for number in range(changes):
            _roll_back(stack, application, number)
        rollback = rollback_lags(stack, application)
    stack.kubectl("delete", "namespace", application.namespace, "--wait=false")
    return Lags(rollback, file, acknowledged)


def _change(stack: RealStack, application: Application, mode: str, number: int) -> Status:
    prompt = f"You are a support agent. Change {number}."
    steps = ({"weight": 50, "duration": "1h"},)
    manifest = dict(Rollout(application, prompt, steps, {}, {"mode": mode}).manifest())
    spec = {**manifest["spec"], "strategy": {"immediate": {}}}
    written = stack.apply_rollout({**manifest, "spec": spec})

    def status() -> Status:
        latest = stack.recorder.latest(ROLLOUTS, application.namespace, application.rollout)
        return Status(latest or written)

    def loaded() -> bool:
        return status().current and status().phase == "Healthy"

    stack.recorder.wait(loaded, f"{mode}: change {number} to be loaded by all pods", WITHIN_S, stack.check)
    return status()


def _roll_back(stack: RealStack, application: Application, number: int) -> None:
    prompt = f"You are a support agent. Candidate {number}."
    steps = ({"weight": 50, "duration": "1h"},)
    stack.apply_rollout(Rollout(application, prompt, steps, {}, {"mode": "Nudge"}).manifest())

    def status() -> Status:
        latest = stack.recorder.latest(ROLLOUTS, application.namespace, application.rollout)
        return Status(latest or KubeObject({}))

    def wait(what: str, came_true: Callable[[Status], bool]) -> None:
        stack.recorder.wait(lambda: came_true(status()), what, WITHIN_S, stack.check)

    wait("the candidate's weight", lambda s: s.current and s.weight == _HALF)
    command = f"promptrollout.dev/command=abort:bench-{number}"
    where = ("-n", application.namespace)
    stack.kubectl("annotate", f"promptrollout/{application.rollout}", command, "--overwrite", *where)
    wait("all pods to be back", lambda s: s.phase == "Degraded" and bool(s.rollback.text("acknowledgedAt")))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile (nearest rank), worst, in seconds, and how many."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "median_s": round(statistics.median(ordered), 3),
        "p90_s": round(ordered[-(-9 * len(ordered) // 10) - 1], 3),
        "worst_s": round(ordered[-1], 3),
        "n": len(ordered),
    }


def _kept(output: Path | None) -> dict[str, dict[str, dict[str, float]]]:
    """What an earlier run has found."""
    if output is None or not output.exists():
        return {}
    kept: dict[str, dict[str, dict[str, float]]] = json.loads(output.read_text())["modes"]
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=20, help="with Nudge and Watch")
    parser.add_argument("--mount-changes", type=int, default=4, help="with Mount: up to 90 s each")
    parser.add_argument("--modes", default=",".join(MODES), help="which of them, with commas between")
    parser.add_argument("--output", type=Path, help="write the JSON here, too")
    arguments = parser.parse_args()
    # An end from outside must leave no pods behind: it unwinds the stack as any other error does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = Options(application=Application(namespace="first", replicas=1), traffic=None)
    results = _kept(arguments.output)
    with RealStack(options, say=lambda line: print(line, file=sys.stderr)) as stack:
        for seed, mode in enumerate(arguments.modes.split(",")):
            changes = arguments.mount_changes if mode == "Mount" else arguments.changes
            lags = measure(stack, mode, changes, seed)
            results[mode] = {name: summary(values) for name, values in asdict(lags).items() if values}
            print(f"{mode}: {results[mode]}", file=sys.stderr)
    found = {mode: results[mode] for mode in MODES if mode in results}
    document = json.dumps({"node": "kubelet, containerd, runc", "pods": REPLICAS, "modes": found}, indent=1)
    if arguments.output is not None:
        arguments.output.write_text(document + "\n")
    print(document)
    medians = " ".join(f"{mode.lower()}_s={lags['acknowledged']['median_s']}" for mode, lags in found.items())
    nudged = found.get("Nudge", {}).get("rollback", {}).get("median_s")
    print(f"propagation: decision_to_file_nudge_s={nudged} acknowledged {medians}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
