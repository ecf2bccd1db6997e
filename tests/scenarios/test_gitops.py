"""GitOps tools and the operator on one real API server: nobody fights, and nobody takes it for done too early."""

import json

import pytest

from e2e import kstatus
from e2e.argocd import ArgoCd
from e2e.controlplane.kubectl import CommandError

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
SLOW = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
COMMAND = "promptrollout.dev/command"


def live(when):
    """The object as it is stored now."""
    return when.subject.stack.kubectl.get(
        when.subject.reference, "-n", when.subject.application.namespace, "--show-managed-fields"
    )


def wait_ends(when, condition, seconds):
    """Whether `kubectl wait` returns within so many seconds."""
    try:
        when.subject.kubectl(
            "wait", f"--for=condition={condition}", when.subject.reference, f"--timeout={seconds}s"
        )
    except CommandError as refused:
        if "timed out" not in refused.output:
            raise
        return False
    return True


def test_kubectl_wait_means_the_spec_as_it_is_also_while_no_operator_looks(quiet):
    when = quiet.steps(*SLOW).a_promoted_prompt(GOOD).when()
    assert wait_ends(when, "Healthy", 5)
    when.the_operator_stops().the_prompt_becomes(BETTER)
    try:
        stale = live(when)
        assert stale.condition("Healthy").text("status") == "True", "nobody has looked: the old word stands"
        assert not wait_ends(when, "Healthy", 2)
        assert not wait_ends(when, "Ready", 1)
        assert kstatus.compute(stale) == kstatus.IN_PROGRESS
        assert ArgoCd().health(stale.raw)[0] == "Progressing"
    finally:
        when.the_operator_starts()
    when.wait_for_weight(1_000)
    assert not wait_ends(when, "Healthy", 1)
    when.commanded("promote-full")
    assert wait_ends(when, "Healthy", 30)
    when.then().users_get(when.subject.status().stable)


def test_a_new_rollout_is_not_done_before_anybody_has_looked_at_it(quiet):
    when = quiet.when()
    when.the_operator_stops()
    try:
        when.the_prompt_becomes(GOOD)
        new = live(when)
        assert kstatus.compute(new, knows_ready=False) == kstatus.IN_PROGRESS
        assert ArgoCd().health(new.raw)[0] == "Progressing"
        assert not wait_ends(when, "Healthy", 1)
    finally:
        when.the_operator_starts()
    assert wait_ends(when, "Healthy", 30)


def test_apply_status_and_commands_have_three_owners_and_no_conflict(quiet):
    when = quiet.steps(*SLOW).a_promoted_prompt(GOOD).when()
    when.the_prompt_becomes(BETTER).wait_for_weight(1_000)
    when.commanded("pause").wait_for_phase("Paused")
    manifest = json.dumps(when.subject.rollout.manifest())
    # The author applies again, as a GitOps tool does every few minutes; no --force-conflicts.
    when.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    when.kubectl("apply", "--server-side", "--field-manager=argocd-controller", "-f", "-", stdin=manifest)
    found = live(when)
    assert found.texts("metadata.annotations")[COMMAND].startswith("pause:")
    assert found.text("status.phase") == "Paused"
    owners = {
        (one.text("manager"), one.text("subresource")): set(one.mapping("fieldsV1"))
        for one in found.items("metadata.managedFields")
    }
    assert owners["prompt-rollout-operator", "status"] == {"f:status"}
    assert owners["kubectl", ""] == {"f:spec"}
    assert owners["argocd-controller", ""] == {"f:spec"}
    when.then().the_highest_weight_was(1_000)


def test_kubectl_diff_is_empty_whatever_the_operator_has_done(quiet):
    when = quiet.steps(*SLOW).a_promoted_prompt(GOOD).when()
    manifest = json.dumps(when.subject.rollout.manifest())
    when.subject.kubectl(
        "diff", "--server-side", "-f", "-", stdin=manifest
    )  # fails where there is a difference
    when.the_prompt_becomes(BETTER).wait_for_weight(1_000)
    when.commanded("abort").wait_for_phase("Degraded")
    manifest = json.dumps(when.subject.rollout.manifest())
    when.subject.kubectl("diff", "--server-side", "-f", "-", stdin=manifest)
    # As does the older, client-side way, of its own object.
    whole = when.subject.rollout.manifest()
    spec = {key: value for key, value in whole["spec"].items() if key != "delivery"}
    own = json.dumps({**whole, "metadata": {"name": "client-side"}, "spec": spec})
    when.subject.kubectl("apply", "-f", "-", stdin=own)
    when.subject.kubectl("wait", "--for=condition=Valid", "prollout/client-side", "--timeout=20s")
    when.subject.kubectl("diff", "-f", "-", stdin=own)
    with pytest.raises(CommandError):  # the proof that diff would have told
        when.subject.kubectl("diff", "--server-side", "-f", "-", stdin=manifest.replace("sentences", "words"))


def test_actions_of_argo_cd_are_obeyed(quiet):
    argo, when = ArgoCd(), quiet.steps(*SLOW).a_promoted_prompt(GOOD).when()
    assert not any(argo.actions(live(when).raw).values())

    def click(action):
        """What Argo CD does with the live object."""
        found = live(when)
        assert argo.actions(found.raw)[action], f"{action} is offered in {found.text('status.phase')}"
        patch = json.dumps(argo.run(action, found.raw))
        when.subject.kubectl("patch", when.subject.reference, "--type=merge", "-p", patch)
        name = json.loads(patch)["metadata"]["annotations"][COMMAND].partition(":")[2]
        when.wait_for(f"{action} to be obeyed", lambda s: s.raw.text("status.lastCommand.id") == name)
        assert when.subject.status().raw.text("status.lastCommand.result") == "Executed"

    when.the_prompt_becomes(BETTER).wait_for_weight(1_000)
    click("pause")
    when.wait_for_phase("Paused")
    assert argo.health(live(when).raw)[0] == "Suspended"
    click("resume")
    when.wait_for_phase("Progressing")
    click("abort")
    when.wait_for_phase("Degraded")
    assert argo.health(live(when).raw)[0] == "Degraded"
    click("retry")
    when.wait_for_weight(1_000).wait_for_condition("Delivered")
    click("promote")
    when.wait_for_weight(5_000)
    click("promote-full")
    when.wait_for_phase("Healthy")
    assert argo.health(live(when).raw)[0] == "Healthy"
    when.the_steps_become({"gate": {"approval": {}}}, *SLOW).the_prompt_becomes(GOOD)
    when.wait_for_phase("AwaitingApproval")
    assert argo.health(live(when).raw)[0] == "Suspended"
    click("approve")
    when.wait_for_weight(1_000)
    when.then().every_weight_was_recorded_first()
