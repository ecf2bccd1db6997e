"""Payloads come, change, break and recover; what was good goes on serving."""

import hashlib
import json
import logging
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client import CollectorRegistry

from promptrollout.delivery import render
from promptrollout.revision import seal
from promptrollout_sdk import Contract, PayloadError, PromptRollout
from promptrollout_sdk.source import MAX_FILE_BYTES, DirectorySource
from testkit import DOCUMENTS, NAME, NEW, OLD, Mount, payload, unit_of


def loaded(registry):
    return {
        sample.labels["sequence"]: sample.value
        for metric in registry.collect()
        if metric.name == "promptrollout_loaded"
        for sample in metric.samples
    }


def test_a_swap_of_the_mount_is_served_whole(mount, rollout, registry):
    assert rollout.sequence == 1
    mount.deliver(payload(2, weight=10_000))
    assert rollout.refresh()
    assert rollout.sequence == 2
    assert rollout.assign("anyone").render(shop="S") == [{"role": "system", "content": "New S"}]
    assert loaded(registry) == {"2": 1}


def test_an_unchanged_mount_is_not_loaded_again(rollout, value):
    at = value("loaded_timestamp_seconds", sequence="1", hash=rollout._serving.payload.hash)
    assert not rollout.refresh()
    assert at == value("loaded_timestamp_seconds", sequence="1", hash=rollout._serving.payload.hash)


def test_the_background_look_sees_the_swap(mount, rollout):
    mount.deliver(payload(2))
    rollout.poll(now=1.0)
    assert rollout.sequence == 2


GOOD = render(payload(2), DOCUMENTS)


def render_with(**changes):
    """The payload with changed fields and a right hash."""
    fields = json.loads(GOOD["rollout.json"]) | changes
    fields.pop("hash")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return GOOD | {"rollout.json": json.dumps(fields | {"hash": hashlib.sha256(text.encode()).hexdigest()})}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (GOOD | {"rollout.json": GOOD["rollout.json"][:40]}, "not_json"),
        (GOOD | {"rollout.json": GOOD["rollout.json"].replace('"sequence":2', '"sequence":3')}, "hash"),
        ({"rollout.json": GOOD["rollout.json"]}, "revision_missing"),
        (GOOD | {"rollout.json": "x" * (10 * MAX_FILE_BYTES)}, "too_large"),
        (GOOD | {f"{OLD.short}.json": "x" * (10 * MAX_FILE_BYTES)}, "too_large"),
        (render_with(schema=9), "schema"),
        (render_with(arms=[{"name": "stable", "revision": OLD.short, "weight": 9999}]), "weights"),
        (GOOD | {"rollout.json": b"\xff\xfe\x00"}, "not_json"),
        (GOOD | {"rollout.json": "[" * 200_000}, "not_json"),
        ({}, "missing"),
    ],
    ids=[
        "truncated",
        "hash",
        "no revision",
        "10 MB",
        "10 MB revision",
        "schema",
        "weights",
        "binary",
        "deep",
        "empty",
    ],
)
def test_a_broken_payload_keeps_the_last_good_one_and_recovers_by_itself(
    mount, rollout, value, caplog, files, reason
):
    mount.write(files)
    for now in (1.0, 1.05, 9.0, 20.0):
        rollout.poll(now)
    assert rollout.sequence == 1
    assert rollout.assign("u").render(shop="S")
    assert value("payload_errors_total", reason=reason) == 1
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    mount.deliver(payload(3))
    rollout.poll(21.0)
    assert rollout.sequence == 3


def test_a_directory_that_disappears_and_comes_back(mount, rollout, value, caplog):
    away = mount.path.with_name("away")
    mount.path.rename(away)
    for now in (1.0, 1.05, 3.0):
        rollout.poll(now)
    assert (rollout.sequence, value("payload_errors_total", reason="missing")) == (1, 1)
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    away.rename(mount.path)
    mount.deliver(payload(2))
    rollout.poll(5.0)
    assert rollout.sequence == 2


@contextmanager
def unprivileged():
    """Root may read everything: be nobody meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_permission_that_is_taken_away_and_given_back(registry, value, caplog):
    with TemporaryDirectory() as name:  # not below pytest's own, which nobody else may enter
        Path(name).chmod(0o755)
        mount = Mount(Path(name))
        mount.deliver(payload())
        rollout = PromptRollout.from_directory(mount.path, registry=registry, watch=False)
        mount.deliver(payload(2))
        file = (mount.path / "rollout.json").resolve()
        file.chmod(0)
        with unprivileged():
            for now in (1.0, 5.0):
                rollout.poll(now)
        assert rollout.sequence == 1
        assert value("payload_errors_total", reason="unreadable") == 1
        assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
        file.chmod(0o644)
        rollout.poll(9.0)
        assert rollout.sequence == 2


def test_a_directory_in_the_place_of_the_file(mount, rollout, value):
    mount.write({})
    (mount.path / "..data" / "rollout.json").mkdir()
    rollout.poll(1.0)
    assert (rollout.sequence, value("payload_errors_total", reason="unreadable")) == (1, 1)
    mount.deliver(payload(2))
    rollout.poll(3.0)
    assert rollout.sequence == 2


def test_without_any_payload_the_default_answers(tmp_path, registry):
    rollout = PromptRollout.from_directory(tmp_path / "none", "Hi {{name}}", registry=registry, watch=False)
    a = rollout.assign("u")
    assert (a.revision, a.arm, a.render_text(name="Ann")) == ("default", "default", "Hi Ann")
    with a.request():
        pass
    labels = {"rollout": "none", "revision": "default", "arm": "default", "step": "0", "outcome": "ok"}
    assert registry.get_sample_value("promptrollout_requests_total", labels) == 1


def test_the_defaults_metrics_stay_however_long_nobody_asks(tmp_path, registry):
    rollout = PromptRollout.from_directory(tmp_path / "none", "Hi", registry=registry, watch=False)
    for now in (100.0, 4000.0, 8000.0):
        rollout.poll(now)
    with rollout.assign("u").request():
        pass
    labels = {"rollout": "none", "revision": "default", "arm": "default", "step": "0", "outcome": "ok"}
    assert registry.get_sample_value("promptrollout_requests_total", labels) == 1


def test_a_score_of_a_default_answer_counts_also_once_there_is_a_payload(mount, registry):
    rollout = PromptRollout.from_directory(mount.path, "Hi", registry=registry, watch=False)
    token = rollout.assign("u").token
    mount.deliver(payload())
    rollout.refresh()
    rollout.score(token, "helpfulness", 0.5)
    labels = {"rollout": mount.path.name, "revision": "default", "arm": "default", "step": "0"}
    assert registry.get_sample_value("promptrollout_score_count", labels | {"score": "helpfulness"}) == 1


def test_a_relative_path_holds_when_the_process_changes_its_directory(mount, registry, monkeypatch):
    mount.deliver(payload())
    monkeypatch.chdir(mount.path)
    rollout = PromptRollout.from_directory(".", registry=registry, watch=False)
    monkeypatch.chdir("/")
    mount.deliver(payload(2))
    rollout.poll(1.0)
    assert (rollout.sequence, rollout._source.name) == (2, mount.path.name)


class Swapping(DirectorySource):
    """A mount that kubelet swaps just when its files are read: so many times the version to be read is gone."""

    def __init__(self, mount, times):
        super().__init__(mount.path)
        self.mount, self.left = mount, times

    def open(self):
        read = super().open()
        if self.left:
            self.left -= 1
            gone = (self.mount.path / "..data").resolve()
            self.mount.deliver(payload(2 + self.left))
            shutil.rmtree(gone)
        return read


@pytest.mark.parametrize("default", [None, "the code's"])
def test_a_mount_that_is_swapped_while_it_is_first_read_is_read_again_before_anybody_is_answered(
    mount, registry, caplog, default
):
    mount.deliver(payload())
    rollout = PromptRollout(Swapping(mount, times=2), default, registry=registry, watch=False)
    assert rollout.sequence == 2
    assert [r for r in caplog.records if r.levelno == logging.WARNING] == []
    labels = {"rollout": NAME, "reason": "missing"}
    assert registry.get_sample_value("promptrollout_payload_errors_total", labels) is None


def test_a_mount_that_is_swapped_without_end_is_left_to_the_next_look(mount, registry):
    mount.deliver(payload())
    source = Swapping(mount, times=1000)
    rollout = PromptRollout(source, "the code's", registry=registry, watch=False)
    assert rollout.sequence is None
    source.left = 0
    rollout.poll(0.05)
    assert rollout.sequence is not None


def test_without_payload_and_default_the_start_fails_and_says_why(tmp_path):
    with pytest.raises(PayloadError, match="does not exist"):
        PromptRollout.from_directory(tmp_path, registry=CollectorRegistry(), watch=False)


@pytest.mark.parametrize("contract", [Contract(parts=["planner"]), Contract(variables=["question"])])
def test_a_payload_that_the_application_cannot_serve_is_not_acknowledged(mount, registry, contract):
    mount.deliver(payload())
    rollout = PromptRollout.from_directory(mount.path, "x", registry=registry, contract=contract, watch=False)
    assert rollout.sequence is None
    assert loaded(registry) == {}
    labels = {"rollout": mount.path.name, "reason": "contract"}
    assert registry.get_sample_value("promptrollout_payload_errors_total", labels) == 1


def test_a_plain_directory_is_read_too(tmp_path, registry):
    for name, text in render(payload(), DOCUMENTS).items():
        (tmp_path / name).write_text(text)
    rollout = PromptRollout.from_directory(tmp_path, registry=registry, watch=False)
    for name, text in render(payload(2, salt="other"), DOCUMENTS).items():
        (tmp_path / name).write_text(text)
    rollout.poll(1.0)
    assert rollout.sequence == 2


def test_a_change_of_weights_compiles_no_prompt_again(mount, rollout):
    before = rollout._serving.payload.prompts[OLD.short]
    mount.deliver(payload(2, weight=2500))
    rollout.refresh()
    assert rollout._serving.payload.prompts[OLD.short] is before


def test_everything_is_at_zero_when_a_payload_is_loaded(rollout, value):
    arm = {"revision": NEW.short, "arm": "candidate", "step": "1"}
    for outcome in ("ok", "error", "aborted"):
        assert value("requests_total", **arm, outcome=outcome) == 0
    assert value("request_duration_seconds_count", **arm) == 0
    assert value("score_count", **arm, score="helpfulness") == 0
    assert value("score_nodes_total", **arm, score="helpfulness", node="20") == 0
    assert value("unit_exposure_total", **arm, metric="errors") == 0
    assert value("cluster_requests_total", arm="candidate", cluster="15") == 0
    assert value("cluster_events_total", arm="stable", cluster="0", metric="refusals") == 0
    assert value("cluster_score_sum", arm="stable", cluster="7", score="helpfulness") == 0


def test_old_steps_leave_the_registry(mount, rollout, registry):
    for sequence in range(2, 60):
        mount.deliver(payload(sequence, weight=sequence))
        rollout.poll(now=100.0 * sequence)
    steps = {
        s.labels["step"] for m in registry.collect() if m.name == "promptrollout_requests" for s in m.samples
    }
    assert "59" in steps
    assert "1" not in steps
    assert len(steps) <= 11


def test_a_step_that_is_idle_for_an_hour_leaves_the_registry(mount, rollout, value):
    mount.deliver(payload(2))
    rollout.refresh()
    old = {"revision": OLD.short, "arm": "stable", "step": "1", "outcome": "ok"}
    rollout.poll(now=100.0)
    assert value("requests_total", **old) == 0
    rollout.poll(now=4000.0)
    rollout.poll(now=8000.0)
    assert value("requests_total", **old) is None
    assert value("requests_total", **(old | {"step": "2"})) == 0


def test_while_a_500_kb_payload_is_loaded_requests_go_on(mount, rollout):
    big = seal({"text": "word {{shop}} " * 36_000, "variables": ["shop"]})
    arms = tuple(
        a if a.name == "candidate" else a.__class__("stable", big.short, 9500) for a in payload().arms
    )
    mount.deliver(payload(2, arms=arms), DOCUMENTS | {big.short: big.document})
    unit = unit_of(rollout, "stable")
    loading = threading.Thread(target=rollout.refresh)
    answered = 0
    loading.start()
    while loading.is_alive():
        with rollout.assign(unit).request():
            answered += 1
    loading.join()
    assert rollout.assign(unit).render_text(shop="S").startswith("word S")
    assert answered > 20, "no lock is shared with the loader, only the interpreter's turns of 5 ms"
