"""Exposures that are added up for the next look of the background thread."""

import os
import subprocess
import sys

import pytest

from promptrollout_sdk import PromptRollout
from promptrollout_sdk.backlog import Backlog
from testkit import OLD, payload, unit_of

STABLE = {"revision": OLD.short, "arm": "stable", "step": "1", "metric": "errors"}

# Ends by itself at once: nobody looks once more.
SCRIPT = """
import sys
from promptrollout_sdk import PromptRollout, watcher
watcher.watcher._period = 3600.0
rollout = PromptRollout.from_directory(sys.argv[1])
for i in range(40):
    with rollout.assign(f"u{i}").request():
        pass
print(type(rollout.exposing).__name__)
"""
READ = """
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
for metric in registry.collect():
    for s in metric.samples:
        if s.name == "promptrollout_unit_exposure_total":
            print(s.value)
"""


@pytest.fixture
def kept(rollout):
    rollout.exposing = Backlog()
    return rollout


def serve(rollout, unit, times=1, event=""):
    for _ in range(times):
        with rollout.assign(unit).request() as r:
            if event:
                r.event(event)


def test_what_is_kept_is_counted_at_the_next_look(kept, value):
    unit = unit_of(kept, "stable")
    serve(kept, unit, 3)
    cluster = {"arm": "stable", "cluster": str(kept.assign(unit).cluster), "metric": "errors"}
    assert value("unit_exposure_total", **STABLE) == 0
    assert value("cluster_requests_total", arm="stable", cluster=cluster["cluster"]) == 3
    for now in (1.0, 2.0):
        kept.poll(now)
        assert value("unit_exposure_total", **STABLE) == 3
        assert value("cluster_unit_exposure_total", **cluster) == 3


def test_an_event_waits_for_no_look_and_its_unit_is_counted_as_without_a_backlog(kept, value):
    unit = unit_of(kept, "stable")
    serve(kept, unit, 2)
    serve(kept, unit, 2, "refusals")
    refusals = STABLE | {"metric": "refusals"}
    assert (value("unit_exposure_total", **refusals), value("unit_events_total", **refusals)) == (1, 1)
    kept.poll(1.0)
    assert (value("unit_exposure_total", **refusals), value("unit_exposure_total", **STABLE)) == (3, 4)


def test_a_rollout_that_is_closed_keeps_nothing_back(kept, value):
    unit = unit_of(kept, "stable")
    serve(kept, unit)
    kept.close()
    serve(kept, unit)
    assert value("unit_exposure_total", **STABLE) == 2


def test_a_child_does_not_count_what_its_parent_has_kept(kept, value):
    serve(kept, unit_of(kept, "stable"))
    kept.forked()
    kept.poll(1.0)
    assert value("unit_exposure_total", **STABLE) == 0


def test_in_one_process_nothing_is_kept(rollout, value):
    serve(rollout, unit_of(rollout, "stable"))
    assert value("unit_exposure_total", **STABLE) == 1


def test_a_process_that_ends_by_itself_writes_what_it_has_kept(mount, tmp_path):
    mount.deliver(payload(1))
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(*words):
        return subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", *words], check=True, env=env, capture_output=True, text=True, timeout=90
        ).stdout.split()

    assert run(SCRIPT, str(mount.path)) == ["Backlog"]
    assert sum(map(float, run(READ))) == 40


def test_without_the_background_thread_nothing_is_kept(mount, registry, monkeypatch, tmp_path):
    mount.deliver(payload(1))
    monkeypatch.setattr("promptrollout_sdk.rollout.multiprocess_directory", lambda: str(tmp_path))
    rollout = PromptRollout.from_directory(mount.path, registry=registry, watch=False)
    assert not isinstance(rollout.exposing, Backlog)
