"""Gates on the real control plane: Jobs by the real Job controller, their pods as real processes, real webhooks."""

import pytest
import yaml

from e2e.processes.supervisor import REPOSITORY
from e2e.scenario import COMMAND
from tests.notify.documented import verify
from tests.scenarios.conftest import SIGNING_SECRET

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

EXAMPLES = REPOSITORY / "examples" / "gates"
GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
WORSE = "You are a support agent. [simulate score_mean=0.1 score_sd=0.01]"
SLOW = ({"weight": 10, "duration": "1h"},)
BY = "promptrollout.dev/commanded-by"


def job(template, name="check", **changes):
    threshold = {"threshold": changes.pop("threshold")} if "threshold" in changes else {}
    return {"name": name, "job": {"templateRef": {"name": template}, **threshold}, "timeout": "2m", **changes}


def gate_of(status, name="check"):
    return next(run for run in status.raw.items("status.gates") if run.text("gate") == name)


def answered(result, name="check"):
    def is_so(status):
        return any(
            run.text("gate") == name and run.text("result") == result
            for run in status.raw.items("status.gates")
        )

    return is_so


@pytest.fixture
def templates(stack, application):
    """The example gates in the test's namespace, asking the simulated model."""
    rendered = yaml.safe_load_all(stack.kubectl("kustomize", str(EXAMPLES)))
    manifests = [_with_model(manifest, stack.model_url) for manifest in rendered]
    stack.kubectl.apply(manifests, "-n", application.namespace)


def _with_model(manifest, url):
    if manifest["kind"] == "CronJob":
        (container,) = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", []):
            variable["value"] = url
    return manifest


def script(name, source):
    """A template whose program is one line."""
    container = {"name": "gate", "image": "python:3.12-slim", "command": ["python", "-c", source]}
    pods = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    template = {"spec": {"template": pods}}
    spec = {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": template}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}


def jobs_of(stack, application):
    listed = stack.kubectl.get("jobs", "-n", application.namespace).items("items")
    return [one.name for one in listed]


def test_an_eval_harness_lets_a_good_prompt_through_with_its_score(healthy, templates, stack, application):
    story = (
        healthy.steps(*SLOW)
        .gates(job("eval-harness", threshold="0.6"))
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(1_000)
        .then()
        .phases_were("Pending", "Delivering", "Progressing")
        .the_status("passed", answered("Passed"))
    )
    run = gate_of(story._subject.status())
    assert float(run.text("score")) >= 0.6
    assert "4 cases" in run.text("report")
    assert jobs_of(stack, application) == [run.text("job")]


def test_an_eval_harness_keeps_a_bad_prompt_from_every_pod(healthy, templates):
    story = (
        healthy.steps(*SLOW)
        .gates(job("eval-harness", threshold="0.6"))
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(WORSE)
        .wait_for_phase("Degraded")
        .then()
        .phases_were("Pending", "Degraded")
        .the_message_says("is below 0.6", "never delivered", "retry")
        .the_highest_weight_was(0)
    )
    assert story._subject.payloads() == []  # not even at weight 0
    story.users_get(story._subject.status().raw.text("status.stableRevision"))


def test_a_snapshot_is_asked_of_the_first_revision_and_tells_the_difference(healthy, templates):
    story = (
        healthy.gates(job("snapshot", always=True))
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_phase("Degraded")
        .then()
        .the_message_says("+system: You are a support agent. Answer in two sentences and name the next step.")
    )
    first = story._subject.status().raw.items("status.gates")[-1]
    assert (first.text("result"), first.text("report")) == ("Passed", "the prompt reads as recorded")


def test_a_regression_before_promotion_takes_all_weight_back(healthy, templates):
    (
        healthy.steps({"weight": 10, "duration": "2s"})
        .analysis(metrics=[], interval="1s", onInconclusive="Promote")
        .gates(job("regression", when="BeforePromotion"))
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(WORSE)
        .wait_for_phase("Degraded")
        .then()
        .phases_were("Delivering", "Progressing", "RollingBack", "Degraded")
        .weights_were(0, 1_000, 0)
        .the_message_says("gate check", "candidate 0.")
    )


def test_a_step_waits_for_a_person_and_keeps_who_it_was(quiet):
    steps = (
        {"weight": 10, "duration": "1s"},
        {"gate": {"name": "release", "approval": {"message": "look at the answers"}}},
        {"weight": 50, "duration": "1h"},
    )
    story = (
        quiet.steps(*steps)
        .analysis(metrics=[], interval="1s")
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_phase("AwaitingApproval")
        .then()
        .the_message_says("release", "approve", "look at the answers")
        .when()
    )
    reference = story.subject.reference
    story.kubectl("annotate", reference, f"{COMMAND}=approve:monday", f"{BY}=alice", "--overwrite")
    status = story.wait_for_weight(5_000).subject.status()
    assert gate_of(status, "release").text("by") == "alice (client kubectl-annotate)"
    assert "alice" in status.raw.text("status.lastCommand.message")


def test_a_job_is_created_once_though_the_operator_is_killed_while_it_runs(healthy, stack, application):
    slow = "import time, os; time.sleep(4)"
    story = (
        healthy.steps(*SLOW).gates(job("slow")).a_promoted_prompt(GOOD).when().applied(script("slow", slow))
    )
    story.the_prompt_becomes(BETTER)
    story.wait_for("the Job to run", lambda s: "runs" in s.message)
    story.the_operator_is_killed().the_operator_starts().wait_for_weight(1_000)
    assert len(jobs_of(stack, application)) == 1
    assert len(story.subject.status().raw.items("status.gates")) == 1


def test_a_job_that_never_ends_is_ended_when_its_time_is_over(healthy, stack, application):
    endless = "import time; time.sleep(3600)"
    story = healthy.gates(job("endless", timeout="4s")).a_promoted_prompt(GOOD).when()
    story.applied(script("endless", endless)).the_prompt_becomes(BETTER).wait_for_phase("Degraded")
    story.then().the_message_says("no answer within 4s").the_status("timed out", answered("TimedOut"))
    stack.kubectl(
        "wait", "--for=delete", "job", "--all", "-n", application.namespace, "--timeout=20s", timeout=30
    )


def test_a_prompt_taken_back_ends_its_job_and_the_failure_of_a_program_is_told(healthy, stack, application):
    broken = "raise SystemExit('the judge has no credentials')"
    story = healthy.gates(job("broken")).a_promoted_prompt(GOOD).when().applied(script("broken", broken))
    story.the_prompt_becomes(BETTER).wait_for_phase("Degraded")
    story.then().the_message_says("exit code 1", "the judge has no credentials")
    story.the_prompt_becomes(GOOD).wait_for_phase("Healthy")


def test_a_job_has_no_rights_and_sees_the_prompts_alone(healthy, stack, application):
    look = (
        "import json, os, pathlib; d = pathlib.Path('etc/promptrollout');"
        "seen = sorted(p.name for p in d.iterdir() if not p.name.startswith('.'));"
        "pathlib.Path('dev/termination-log').write_text(json.dumps({'report': ' '.join(seen)}))"
    )
    story = (
        healthy.steps(*SLOW).gates(job("look")).a_promoted_prompt(GOOD).when().applied(script("look", look))
    )
    story.the_prompt_becomes(BETTER).wait_for_weight(1_000)
    assert gate_of(story.subject.status()).text("report") == "candidate.json rollout.json stable.json"
    (created,) = stack.kubectl.get("jobs", "-n", application.namespace).items("items")
    pod = "spec.template.spec"
    assert created.raw["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert created.raw["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    (container,) = created.items(f"{pod}.containers")
    assert container.mapping("securityContext")["capabilities"] == {"drop": ["ALL"]}
    (owner,) = created.items("metadata.ownerReferences")
    assert owner.text("kind") == "PromptRollout"


def test_an_unknown_webhook_is_invalid_and_a_url_is_refused_by_the_server(quiet, stack):
    story = quiet.a_promoted_prompt(GOOD).gates({"name": "risk", "webhook": {"name": "risk"}}).when()
    story.the_prompt_becomes(BETTER).wait_for_phase("Invalid")
    story.then().the_message_says("spec.gates[0].webhook.name", "'risk' is not configured")


def asks(name, **changes):
    return {"name": "risk", "webhook": {"name": name}, **changes}


def test_a_webhook_is_asked_again_until_it_answers_signed_and_known_by_the_same_id(quiet, mailbox):
    gate = asks("judge", timeout="1m")
    when = quiet.steps(*SLOW).gates(gate).a_promoted_prompt(GOOD).when()
    shop, stable = when.subject.application.namespace, when.subject.status().stable
    mailbox.will_answer(
        shop, (503, {}), (202, {}), (200, {"passed": True, "score": 0.93, "report": "no risk"})
    )
    when.the_prompt_becomes(BETTER).wait_for_weight(1_000).then().phases_were(
        "Pending", "Delivering", "Progressing"
    )

    asked = mailbox.asked_about(shop)
    assert len(asked) == 3
    assert len({mail.headers["webhook-id"] for mail in asked}) == len({mail.body for mail in asked}) == 1
    assert all(mail.headers["idempotency-key"] == mail.headers["webhook-id"] for mail in asked)
    for mail in asked:
        assert verify(SIGNING_SECRET, mail.headers, mail.body, int(mail.headers["webhook-timestamp"]))
    said = asked[0].json
    assert (said.text("gate"), said.text("stable.revision")) == ("risk", stable)
    assert "name the next step" in str(said.mapping("arms")["candidate"]["document"])
    run = gate_of(when.subject.status(), "risk")
    assert (run.text("score"), run.text("report"), run.text("result")) == ("0.93", "no risk", "Passed")


def test_a_webhook_that_says_no_refuses_the_prompt_with_its_words(quiet, mailbox):
    when = quiet.steps(*SLOW).gates(asks("judge")).a_promoted_prompt(GOOD).when()
    no = {"passed": False, "report": "it promises refunds"}
    mailbox.will_answer(when.subject.application.namespace, (200, no))
    when.the_prompt_becomes(BETTER).wait_for_phase("Degraded")
    when.then().the_message_says(
        "gate risk", "it promises refunds", "never delivered"
    ).the_highest_weight_was(0)


def test_a_webhook_that_never_answers_fails_or_holds_as_the_spec_says(quiet):
    when = quiet.steps(*SLOW).gates(asks("dead-judge", timeout="3s")).a_promoted_prompt(GOOD).when()
    when.the_prompt_becomes(BETTER).wait_for_phase("Degraded")
    when.then().the_message_says("gate risk", "no answer within 3s").the_highest_weight_was(0)
    when.the_gates_become(asks("dead-judge", timeout="3s", onTimeout="Hold")).commanded(
        "retry"
    ).wait_for_phase("Paused")
    when.then().the_message_says("no answer within 3s", "resume", "skip", "abort")
    when.commanded("skip").wait_for_weight(1_000)
