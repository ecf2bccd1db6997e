"""Threads and processes: nothing is lost, nothing deadlocks, each worker acknowledges."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from promptrollout.delivery import render
from promptrollout_sdk import PromptRollout
from promptrollout_sdk.watcher import Watcher
from testkit import DOCUMENTS, payload


def test_forked_workers_count_into_one_and_each_acknowledges(mount, tmp_path):
    mount.deliver(payload(1))
    following = tmp_path / "..version_next"
    following.mkdir()
    for name, text in render(payload(2), DOCUMENTS).items():
        (following / name).write_text(text)
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = Path(__file__).with_name("prefork.py")
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, script, tmp_path, following.name],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "all_acknowledged_1": True,
        "all_acknowledged_2": True,
        "requests": 150,
        "exposures": True,
        "exits": [0, 0, 0],
        "loaded_after_workers_died": {"1": 0, "2": 1},
        "requests_after_workers_died": 150,
    }


def test_threads_lose_no_count_while_payloads_change(mount, rollout, registry):
    def serve(name: str) -> None:
        for i in range(500):
            with rollout.assign(f"{name}-{i}").request():
                pass

    threads = [threading.Thread(target=serve, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for sequence in range(2, 12):
        mount.deliver(payload(sequence))
        rollout.refresh()
    for thread in threads:
        thread.join()
    metric = next(m for m in registry.collect() if m.name == "promptrollout_requests")
    counted = sum(s.value for s in metric.samples if s.name == "promptrollout_requests_total")
    assert counted == 2000


def test_the_background_thread_looks_by_itself_and_ends_with_its_last_rollout(mount, registry):
    mount.deliver(payload(1))
    rollout = PromptRollout.from_directory(mount.path, registry=registry, watch=False)
    looked = threading.Event()
    rollout.poll = lambda now: looked.set()
    watcher = Watcher(period=0.001)
    watcher.add(rollout)
    thread = watcher._thread
    assert looked.wait(20)
    watcher.remove(rollout)
    thread.join(20)
    assert not thread.is_alive()
    assert rollout.assign("u").revision in DOCUMENTS
