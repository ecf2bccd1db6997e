"""Argo CD's scripts, run in a real Lua 5.1 as Argo CD runs them, on statuses that a real operator has written."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from e2e import kstatus
from e2e.argocd import CUSTOMIZATION, ArgoCd, merge_patch
from e2e.objects import KubeObject
from e2e.recorded import EXPECTED, VERBS
from promptrollout.api.status import Phase

RECORDED = {
    file.stem: yaml.safe_load(file.read_text()) for file in sorted(CUSTOMIZATION.glob("testdata/*.yaml"))
}
REPOSITORY = Path(__file__).parents[2]
ARGO = ArgoCd()
COMMAND = "promptrollout.dev/command"


def recorded(name, **metadata):
    found = copy.deepcopy(RECORDED[name])
    found["metadata"] |= metadata
    return found


def test_every_phase_has_been_recorded():
    assert set(RECORDED) == set(EXPECTED)
    assert {one["status"].get("phase") for one in RECORDED.values()} == {*(p.value for p in Phase), None}


def test_argo_cds_own_test_files_hold():
    health = yaml.safe_load((CUSTOMIZATION / "health_test.yaml").read_text())["tests"]
    assert len(health) == len(RECORDED)
    for case in health:
        found = yaml.safe_load((CUSTOMIZATION / case["inputPath"]).read_text())
        assert ARGO.health(found) == (case["healthStatus"]["status"], case["healthStatus"]["message"])
    actions = yaml.safe_load((CUSTOMIZATION / "actions" / "action_test.yaml").read_text())["discoveryTests"]
    for case in actions:
        found = yaml.safe_load((CUSTOMIZATION / "actions" / case["inputPath"]).read_text())
        assert ARGO.actions(found) == {one["name"]: not one["disabled"] for one in case["result"]}, case[
            "inputPath"
        ]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_health_and_actions_are_what_the_state_means(name):
    status, enabled = EXPECTED[name]
    assert ARGO.health(RECORDED[name])[0] == status
    assert {verb for verb, offered in ARGO.actions(RECORDED[name]).items() if offered} == enabled


def test_a_gate_whose_time_is_over_can_be_asked_again_and_nothing_goes_past_one_before_delivery():
    found = recorded("awaiting_approval")
    found["status"] |= {"phase": "Paused"}
    found["status"]["candidate"]["undelivered"] = True
    offered = {verb for verb, enabled in ARGO.actions(found).items() if enabled}
    assert {"resume", "skip", "abort"} <= offered
    assert not {"promote", "promote-full", "approve", "retry", "undo"} & offered


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_argo_cd_flux_and_kubectl_agree_on_what_is_done(name):
    found = KubeObject(RECORDED[name])
    done = ARGO.health(found.raw)[0] == "Healthy"
    assert (kstatus.compute(found) == kstatus.CURRENT) == done
    assert (kstatus.compute(found, knows_ready=False) == kstatus.CURRENT) == done
    assert kstatus.kubectl_wait(found, "Healthy") == kstatus.kubectl_wait(found, "Ready") == done
    assert (kstatus.compute(found) == kstatus.FAILED) == (ARGO.health(found.raw)[0] == "Degraded")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_no_state_is_healthy_for_a_spec_that_the_operator_has_not_seen(name):
    edited = recorded(name, generation=RECORDED[name]["metadata"]["generation"] + 1)
    assert ARGO.health(edited)[0] == "Progressing"
    assert kstatus.compute(KubeObject(edited)) == kstatus.IN_PROGRESS
    assert not kstatus.kubectl_wait(KubeObject(edited), "Healthy")


def test_a_phase_without_its_condition_is_not_believed():
    found = recorded("healthy")
    for condition in found["status"]["conditions"]:
        if condition["type"] == "Healthy":
            condition["observedGeneration"] -= 1
    assert ARGO.health(found)[0] == "Progressing"
    found["status"]["conditions"] = []
    assert ARGO.health(found)[0] == "Progressing"


def test_what_is_on_its_way_out_or_from_the_future_is_not_healthy():
    assert ARGO.health(recorded("healthy", deletionTimestamp="2026-11-24T05:00:00Z"))[0] == "Progressing"
    later = recorded("healthy")
    later["status"]["phase"] = "Meditating"
    assert ARGO.health(later)[0] == "Unknown"
    never = recorded("healthy")
    del never["status"]
    assert ARGO.health(never)[0] == "Progressing"
    assert not any(ARGO.actions(never).values())


@pytest.mark.parametrize("verb", VERBS)
def test_an_action_writes_the_command_and_nothing_else(verb):
    found = recorded("paused")
    patch = ARGO.run(verb, found)
    assert list(patch) == ["metadata"]
    assert list(patch["metadata"]) == ["annotations"]
    assert list(patch["metadata"]["annotations"]) == [COMMAND]
    said, _, name = patch["metadata"]["annotations"][COMMAND].partition(":")
    assert said == verb
    assert name.startswith(f"argocd-{found['metadata']['resourceVersion']}-")


def test_two_clicks_are_two_commands_even_within_one_second():
    first = recorded("paused", resourceVersion="100")
    second = recorded("paused", resourceVersion="101")
    commands = {ARGO.run("promote", one)["metadata"]["annotations"][COMMAND] for one in (first, second)}
    assert len(commands) == 2


def test_other_annotations_stay():
    found = recorded("paused", annotations={"team": "shop", COMMAND: "pause:1"})
    assert list(ARGO.run("abort", found)["metadata"]["annotations"]) == [COMMAND]


def test_the_comparison_sees_every_other_change():
    found = recorded("paused")
    changed = copy.deepcopy(found)
    changed["spec"]["strategy"]["canary"]["steps"][0]["weight"] = 99
    assert "spec" in merge_patch(found, changed)


def test_the_scripts_and_the_snippet_are_what_their_sources_say():
    script = REPOSITORY / "gitops" / "argocd" / "generate.py"
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_snippet_for_argocd_cm_holds_the_same_scripts():
    data = yaml.safe_load((REPOSITORY / "gitops" / "argocd" / "argocd-cm.yaml").read_text())["data"]
    health = data["resource.customizations.health.promptrollout.dev_PromptRollout"]
    assert health == (CUSTOMIZATION / "health.lua").read_text()
    actions = yaml.safe_load(data["resource.customizations.actions.promptrollout.dev_PromptRollout"])
    assert actions["discovery.lua"] == (CUSTOMIZATION / "actions" / "discovery.lua").read_text()
    scripts = {one["name"]: one["action.lua"] for one in actions["definitions"]}
    files = {file.parent.name: file.read_text() for file in CUSTOMIZATION.glob("actions/*/action.lua")}
    assert scripts == files
    assert set(scripts) == set(VERBS)
