"""What gunicorn does with `preload_app`: load in the master, fork workers, collect over all. Run by test_processes.py.

Arguments: the mount, the directory of the next version. Prints one JSON line.
"""

import json
import os
import sys
import time
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from promptrollout_sdk import PromptRollout
from promptrollout_sdk.metrics import forget_dead_processes

WORKERS, REQUESTS = 3, 50
mount, following = Path(sys.argv[1]), sys.argv[2]
rollout = PromptRollout.from_directory(mount, events=["refusals"])


def until(condition) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def samples(name: str) -> dict[str, float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return {
        json.dumps(s.labels, sort_keys=True): s.value
        for m in registry.collect()
        for s in m.samples
        if s.name == name
    }


def by_sequence() -> dict[str, float]:
    return {
        json.loads(labels)["sequence"]: value for labels, value in samples("promptrollout_loaded").items()
    }


def worker(release: int) -> None:
    for i in range(REQUESTS):
        with rollout.assign(f"u{os.getpid()}-{i}").request() as r:
            r.tokens(input=1)
    saw = until(lambda: rollout.sequence == 2)
    os.read(release, 1)
    os._exit(0 if saw else 3)


release, hold = os.pipe()
pids = []
for _ in range(WORKERS):
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        worker(release)
    pids.append(pid)
told = {"all_acknowledged_1": until(lambda: by_sequence().get("1") == WORKERS + 1)}
fresh = mount / "..data_tmp"
fresh.symlink_to(following)
fresh.replace(mount / "..data")
told["all_acknowledged_2"] = until(lambda: by_sequence() == {"1": 0, "2": WORKERS + 1})
told["requests"] = sum(samples("promptrollout_requests_total").values())
exposed = ("promptrollout_unit_exposure_total", "promptrollout_cluster_unit_exposure_total")
told["exposures"] = until(
    lambda: all(sum(samples(name).values()) == 2 * told["requests"] for name in exposed)
)
os.close(hold)
told["exits"] = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
forget_dead_processes()
told["loaded_after_workers_died"] = by_sequence()
told["requests_after_workers_died"] = sum(samples("promptrollout_requests_total").values())
sys.stdout.write(json.dumps(told))
