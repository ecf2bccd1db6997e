"""The plugin as people run it: `kubectl promptrollout …`, found by kubectl on the PATH."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent."
BETTER = "You are a support agent. Answer in two sentences."
ERRORS = "You are a support agent. Reply only with JSON."
STEPS = ({"weight": 20, "duration": "4s"}, {"weight": 50, "duration": "10m"})
SLOW = ({"weight": 10, "duration": "5m"}, {"weight": 50, "duration": "10m"})


@pytest.fixture
def plugin(stack, application):
    return plugin_for(stack, application)


@pytest.fixture
def quiet_plugin(stack, quiet_shop):
    return plugin_for(stack, quiet_shop)


def plugin_for(stack, application):
    """Runs the plugin in the application's namespace: exit code, standard output, standard error."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{stack.kubectl.environment.get('PATH', os.defpath)}"
    config = str(stack.kubectl.kubeconfig)
    environment = {**stack.kubectl.environment, "PATH": path, "KUBECONFIG": config}

    def run(*words, stdin=None, namespaced=True):
        where = ["-n", application.namespace] if namespaced else []
        return subprocess.run(  # noqa: S603 - our own programs
            [str(stack.kubectl.binary), "promptrollout", *words, *where],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


def test_a_rollback_is_told_and_its_evidence_replayed(healthy, application, plugin, tmp_path):
    healthy.steps(*STEPS).analysis(interval="1s").a_promoted_prompt(GOOD).when().the_prompt_becomes(
        ERRORS
    ).wait_for_phase("Degraded", 150).wait_for("evidence", lambda s: bool(s.rollback.text("evidence")))
    name = application.rollout

    told = plugin("status", name)
    assert told.returncode == 0, told.stderr
    for part in ("Degraded", "harm shown", "errors", "█", " of 20", "RolledBack", "-ev-"):
        assert part in told.stdout
    assert "p =" not in told.stdout
    listed = plugin("get")
    assert listed.stdout.split()[:5] == ["NAME", "PHASE", "STEP", "WEIGHT", "VERDICT"]
    assert name in listed.stdout
    assert json.loads(plugin("get", name, "-o", "json").stdout)["status"]["phase"] == "Degraded"
    assert "RolledBack" in plugin("history", name).stdout

    file = tmp_path / "evidence.yaml"
    file.write_text(plugin("evidence", name).stdout)
    again = plugin("replay", str(file), namespaced=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "identical, to the bit" in again.stdout
    wide = plugin("replay", str(file), "--margin", "errors=0.5", "-o", "json", namespaced=False)
    assert wide.returncode == 0, wide.stderr
    found = json.loads(wide.stdout)
    assert found["decisions"][-1]["recomputed"] == "Harmed"
    assert found["otherwise"]["verdict"] != "Harmed"

    forged = yaml.safe_load(file.read_text())
    _, *rest = forged["data"]["windows.jsonl"].splitlines(keepends=True)
    forged["data"]["windows.jsonl"] = "".join(rest)
    refused = plugin("replay", "-", stdin=yaml.safe_dump(forged), namespaced=False)
    assert refused.returncode == 1
    assert "DIFFERENT" in refused.stdout


def test_plan_reads_prometheus_and_status_says_whether_it_can_be_decided(
    healthy, stack, application, plugin, tmp_path
):
    story = healthy.steps(*SLOW).analysis(interval="1s", metrics=[{"name": "errors", "preset": "sdk/errors"}])
    story = story.a_promoted_prompt(GOOD).when().the_prompt_becomes(BETTER).wait_for_weight(1_000)
    story.wait_for_condition("Decidable", "True", 90)
    manifest = tmp_path / "rollout.yaml"
    manifest.write_text(plugin("get", application.rollout, "-o", "yaml").stdout)
    words = ("plan", "-f", str(manifest), "--from-prometheus", stack.prometheus.url, "--since", "1m")
    planned = plugin(*words, "-o", "json", namespaced=False)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    found = json.loads(planned.stdout)
    assert found["assumed"] == []
    assert 5.0 < found["requestsPerSecond"] < 200.0
    assert found["decidable"]["status"] is True
    told = plugin("status", application.rollout).stdout
    assert "is shown non-inferior in about" in told


def test_commands_are_given_and_answered(quiet, quiet_shop, quiet_plugin):
    plugin = quiet_plugin
    story = quiet.steps(*SLOW).a_promoted_prompt(GOOD).when().the_prompt_becomes(BETTER)
    story.wait_for_weight(1_000).wait_for_condition("Delivered")
    name = quiet_shop.rollout
    paused = plugin("pause", name)
    assert paused.returncode == 0, paused.stderr
    assert "stays at its weight" in paused.stdout
    again = plugin("pause", f"prollout/{name}", "-o", "json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["result"] == "Refused"
    assert plugin("resume", name).returncode == 0
    assert "step 2/2" in plugin("promote", name).stdout
    story.wait_for_weight(5_000)
    assert "there are: candidate" in plugin("promote-full", name, "--arm", "nobody").stdout
    assert plugin("promote-full", name).returncode == 0
    story.wait_for_phase("Healthy")
    undone = plugin("undo", name)
    assert (undone.returncode, "serves all again" in undone.stdout) == (0, True)
    story.wait_for_phase("Degraded")
    wanted = story.subject.status().raw.text("status.rollback.revision")
    back = plugin("undo", name, "--to-revision", wanted)
    assert (back.returncode, "as the spec wants" in back.stdout) == (0, True)
    story.wait_for_phase("Healthy")
    missing = plugin("abort", "nobody")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "not found" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_command_that_nobody_answers_says_so(quiet, quiet_shop, quiet_plugin):
    story = quiet.a_promoted_prompt(GOOD).when().the_operator_stops()
    late = quiet_plugin("abort", quiet_shop.rollout, "--timeout", "1")
    assert late.returncode == 3
    assert "no answer from the operator" in late.stderr
    story.the_operator_starts().wait_for(
        "the command to be answered", lambda s: s.raw.text("status.lastCommand.verb") == "abort", 60
    )
