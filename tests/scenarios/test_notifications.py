"""Who is told: a real webhook on loopback, beside one that never answers."""

import json
import urllib.request

import pytest

from tests.notify.documented import verify
from tests.scenarios.conftest import DEAD_AFTER_S, SIGNING_SECRET

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(240)]

GOOD = "You are a support agent. Answer in two sentences."
BETTER = "You are a support agent. Answer in two sentences and name the next step."
SLOW = ({"weight": 10, "duration": "1h"},)
#: Half of what an attempt at the dead channel takes: what comes sooner has not waited for it.
SOON_S = DEAD_AFTER_S / 2


def reasons(mails):
    return [mail.json.text("data.reason") for mail in mails]


def test_a_rollback_is_told_once_and_a_dead_channel_delays_nothing(healthy, application, mailbox):
    wanted = ["StepStarted", "RolledBack", "RollbackComplete"]
    told = [{"channel": "dead", "reasons": ["*"]}, {"channel": "people", "reasons": wanted}]
    story = (
        healthy.steps(*SLOW)
        .analysis(metrics=[], interval="1s")
        .notify(*told)
        .a_promoted_prompt(GOOD)
        .when()
        .the_prompt_becomes(BETTER)
        .wait_for_weight(1_000)
        .commanded("abort")
    )
    assert mailbox.wait_for(application.namespace, lambda m: "RolledBack" in reasons(m), SOON_S)
    story.wait_for_phase("Degraded")
    assert mailbox.wait_for(application.namespace, lambda m: reasons(m) == wanted, SOON_S)
    story.the_operator_is_killed().the_operator_starts()
    story.the_prompt_becomes(GOOD).wait_for_phase("Healthy")
    story.then().phases_were("Delivering", "Progressing", "RollingBack", "Degraded", "Healthy")

    mails = mailbox.about(application.namespace)
    assert reasons(mails) == wanted
    rolled_back = mails[1]
    said = rolled_back.json
    assert said.text("type") == "promptrollout.RolledBack"
    assert "aborted by command" in said.text("data.message")
    assert said.text("data.phase") == "RollingBack"
    assert said.text("data.candidate")
    assert said.text("data.stable") == story.subject.status().raw.text("status.stableRevision")
    sent_at = int(rolled_back.headers["webhook-timestamp"])
    assert verify(SIGNING_SECRET, rolled_back.headers, rolled_back.body, sent_at)
    assert len({mail.headers["webhook-id"] for mail in mails}) == len(mails)


def test_a_channel_that_there_is_not_and_a_wrong_spec_are_events_that_name_the_field(
    healthy, application, mailbox, stack
):
    reference = healthy.notify({"channel": "poeple"}, {"channel": "people"}).a_promoted_prompt(GOOD).when()
    reference.kubectl(
        "patch",
        reference.subject.reference,
        "--type=merge",
        "-p",
        json.dumps({"spec": {"analysis": {"source": "no"}}}),
    )
    reference.wait_for_phase("Invalid")

    assert mailbox.wait_for(application.namespace, lambda m: reasons(m)[-1:] == ["Invalid"], SOON_S)
    reference.wait_for_event("NotificationUnknown", "spec.notify[0].channel: 'poeple' is not configured")
    reference.wait_for_event("Invalid", "spec.analysis.source: 'no' is not configured")
    reference.wait_for_event("Completed")
    with urllib.request.urlopen(stack.operator.metrics_url, timeout=5) as page:  # noqa: S310 - loopback
        counted = page.read().decode()
    assert 'promptrollout_operator_notifications_total{channel="people",result="sent"}' in counted
