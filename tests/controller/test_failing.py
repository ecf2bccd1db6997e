"""What people see of a rollout whose turns fail, and of a payload that somebody has frozen."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.api.base import COMMAND_ANNOTATION
from promptrollout.api.reasons import TOLD
from promptrollout.cluster.errors import Conflict, Fenced, Forbidden, Invalid, Unavailable
from promptrollout.cluster.mergepatch import apply_merge_patch, merge_patch
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.cluster.protocol import NudgeReport
from promptrollout.controller.reconciler import Outside, Reconciler, Tuning
from promptrollout.controller.telemetry import Telemetry

KEY = ObjectKey("shop", "support")
PAYLOAD = ObjectKey("shop", "support-prompt")
SPEC = {
    "prompt": {"inline": {"text": "Hello"}},
    "strategy": {"immediate": {}},
    "delivery": {"acknowledge": {"mode": "None", "assumeLoadedAfter": "1s"}},
}
QUOTA = Forbidden("create configmaps shop/support-prompt", "exceeded quota: few, limited: configmaps=1")


class Cluster:
    """Stores what it is given; refuses what it is told to, by the name of the method."""

    def __init__(self):
        self.rollout = RolloutObject(KEY, "u1", 1, "1", SPEC, {})
        self.configmaps = {}
        self.refused = {}
        self.events = []
        self.statuses = []
        self.version, self.nudges = 1, 0
        self.now = datetime(2026, 11, 24, 10, tzinfo=UTC)

    def clock(self):
        return self.now

    def _asked(self, what, key=None):
        for refusal in (self.refused.get(what), self.refused.get((what, key))):
            if refusal is not None:
                raise refusal
        self.version += 1
        return str(self.version)

    async def get_rollout(self, key):
        return self.rollout

    async def patch_status(self, observed, status):
        patch = merge_patch(observed.status, status)
        if not patch:
            return observed
        version = self._asked("patch_status")
        self.rollout = replace(
            observed, status=apply_merge_patch(observed.status, patch), resource_version=version
        )
        self.statuses.append(self.rollout.status)
        return self.rollout

    async def get_configmap(self, key):
        return self.configmaps.get(key)

    async def list_configmaps(self, namespace, labels, *, contents=True):
        for found in list(self.configmaps.values()):
            if labels.items() <= found.labels.items():
                yield found

    async def create_configmap(self, content):
        version = self._asked("create_configmap", content.key)
        made = ConfigMapObject(
            content.key, f"uid-{version}", version, content.data, content.labels,
            owners=(content.owner,), immutable=content.immutable,
        )  # fmt: skip
        self.configmaps[content.key] = made
        return made

    async def update_configmap(self, observed, content):
        if observed.data == content.data:
            return observed
        if observed.immutable:
            raise Invalid(f"patch configmaps {content.key}", "field is immutable when `immutable` is set")
        version = self._asked("update_configmap")
        self.configmaps[content.key] = replace(observed, data=content.data, resource_version=version)
        return self.configmaps[content.key]

    async def delete_configmap(self, observed):
        self._asked("delete_configmap")
        del self.configmaps[observed.key]

    async def pods(self, *_, **__):
        return ()

    async def nudge(self, pods, value):
        self.nudges += 1
        return NudgeReport()

    def emit(self, regarding, kind, reason, message):
        self.events.append((reason, message))


class Silent:
    """A metric source that is never asked: nothing is compared, and no pod is waited for."""


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def reconciler(cluster):
    outside = Outside({"default": Silent()})
    made = Reconciler(cluster, outside, lambda _: None, Telemetry(), Tuning(), cluster.clock)
    made.rollout_changed(cluster.rollout)
    return made


async def turns(reconciler, number=1):
    """As the queue gives them: what a turn raises is told by the next look at the cluster."""
    raised = []
    for _ in range(number):
        try:
            await reconciler.handle(KEY)
        except Exception as error:
            raised.append(error)
    return raised


def told(cluster):
    return [message for reason, message in cluster.events if reason == "TurnFailed"]


def message(cluster):
    return cluster.rollout.status.get("message", "")


async def test_a_refusal_is_told_the_second_time_once_and_stands_in_the_message(reconciler, cluster):
    cluster.refused["create_configmap", PAYLOAD] = QUOTA
    assert await turns(reconciler) == [QUOTA]
    assert told(cluster) == []
    assert await turns(reconciler, 3) == [QUOTA] * 3
    (said,) = told(cluster)
    assert said == message(cluster)
    assert "create configmaps shop/support-prompt: exceeded quota: few" in said
    assert "See why that is refused" in said
    assert "TurnFailed" in TOLD


async def test_while_it_lasts_the_message_does_not_flicker(reconciler, cluster):
    cluster.refused["create_configmap", PAYLOAD] = QUOTA
    await turns(reconciler, 2)
    written = len(cluster.statuses)
    await turns(reconciler, 5)
    assert len(cluster.statuses) == written


async def test_when_it_is_over_the_message_is_taken_back_with_the_next_turn_which_comes_at_once(
    reconciler, cluster
):
    cluster.refused["create_configmap", PAYLOAD] = QUOTA
    await turns(reconciler, 3)
    cluster.refused.clear()
    again = await reconciler.handle(KEY)
    assert again <= cluster.now
    await reconciler.handle(KEY)
    assert "stuck" not in message(cluster)
    assert message(cluster)
    assert len(told(cluster)) == 1


async def test_even_a_rollout_without_any_status_says_what_is_in_its_way(reconciler, cluster):
    cluster.list_configmaps = _forbidden_list
    await turns(reconciler, 2)
    assert cluster.rollout.status["phase"] == "Pending"
    assert "list configmaps: no right" in message(cluster)


async def _forbidden_list(*_, **__):
    raise Forbidden("list configmaps", "no right")
    yield


async def test_a_server_without_an_answer_is_said_as_such(reconciler, cluster):
    cluster.refused["create_configmap", PAYLOAD] = Unavailable("create configmaps", "no answer within 30 s")
    await turns(reconciler, 2)
    assert told(cluster) == ["stuck: create configmaps: no answer within 30 s. It is tried again by itself"]


async def test_a_status_that_cannot_be_written_is_told_by_the_event_alone(reconciler, cluster):
    cluster.refused["patch_status"] = Forbidden("patch promptrollouts/status", "no right")
    assert [type(error) for error in await turns(reconciler, 2)] == [Forbidden] * 2
    assert len(told(cluster)) == 1


async def test_who_does_not_lead_any_more_tells_nothing(reconciler, cluster):
    cluster.refused["patch_status"] = Fenced("patch promptrollouts/status", "not the leader")
    await turns(reconciler, 3)
    assert told(cluster) == []


async def test_a_defect_of_the_operator_is_told_too_and_what_is_served_stays(reconciler, cluster):
    cluster.refused["create_configmap", PAYLOAD] = KeyError("weight")
    await turns(reconciler, 2)
    (said,) = told(cluster)
    assert "KeyError: 'weight'" in said
    assert "what is served stays" in said


async def test_a_rival_who_always_writes_first_is_told_at_last(reconciler, cluster):
    cluster.refused["patch_status"] = Conflict("patch promptrollouts/status", "the object has been modified")
    assert await turns(reconciler, 10) == []
    assert {type(error) for error in await turns(reconciler, 2)} == {Conflict}
    (said,) = told(cluster)
    assert "has been modified" in said


async def test_a_payload_that_somebody_has_made_immutable_is_made_anew_and_told(reconciler, cluster):
    await turns(reconciler)
    frozen = replace(cluster.configmaps[PAYLOAD], immutable=True, resource_version="1000")
    cluster.configmaps[PAYLOAD] = frozen
    reconciler.configmap_changed(frozen, gone=False)
    assert await turns(reconciler) == []
    restored = cluster.configmaps[PAYLOAD]
    assert (restored.immutable, restored.data) == (False, frozen.data)
    assert restored.uid != frozen.uid
    (said,) = [text for reason, text in cluster.events if reason == "PayloadRepaired"]
    assert "immutable" in said
    assert "restarted" in said


CANARY = {"canary": {"steps": [{"weight": 50, "duration": "1h"}]}}


def edited(cluster, reconciler, text, **spec):
    """Its author has changed the rollout."""
    changed = {**SPEC, "strategy": CANARY, "prompt": {"inline": {"text": text}}, **spec}
    changes(cluster, reconciler, spec=changed, generation=cluster.rollout.generation + 1)


def changes(cluster, reconciler, **fields):
    cluster.version += 1
    cluster.rollout = replace(cluster.rollout, resource_version=str(cluster.version), **fields)
    reconciler.rollout_changed(cluster.rollout)


def weights(cluster):
    arms = json.loads(cluster.configmaps[PAYLOAD].data["rollout.json"])["arms"]
    return {arm["name"]: arm["weight"] for arm in arms}


async def over_time(reconciler, cluster, seconds=5):
    raised = []
    for _ in range(seconds):
        cluster.now += timedelta(seconds=1)
        raised += await turns(reconciler)
    return raised


async def test_a_prompt_that_cannot_be_kept_holds_up_neither_an_abort_nor_what_is_served(reconciler, cluster):
    await over_time(reconciler, cluster)
    edited(cluster, reconciler, "Hello again")
    await over_time(reconciler, cluster)
    assert weights(cluster) == {"candidate": 5_000, "stable": 5_000}

    cluster.refused["create_configmap"] = QUOTA
    edited(cluster, reconciler, "Hello for the third time")
    assert await turns(reconciler) == [QUOTA]
    assert "what is wanted cannot be kept: create configmaps" in message(cluster)
    assert "exceeded quota: few" in message(cluster)
    assert weights(cluster) == {"candidate": 5_000, "stable": 5_000}

    changes(cluster, reconciler, annotations={COMMAND_ANNOTATION: "abort:1"})
    assert set(await over_time(reconciler, cluster)) == {QUOTA}
    assert weights(cluster) == {"stable": 10_000}
    assert cluster.rollout.status["rollback"]["reason"] == "Aborted"
    assert len(told(cluster)) == 1

    cluster.refused.clear()
    await over_time(reconciler, cluster)
    assert weights(cluster) == {"candidate": 5_000, "stable": 5_000}
    assert "stuck" not in message(cluster)


async def test_pods_are_told_of_a_change_even_if_old_revisions_cannot_be_deleted(reconciler, cluster):
    cluster.refused["delete_configmap"] = Forbidden("delete configmaps shop/support-rev-1", "no right")
    for number in range(4):
        edited(cluster, reconciler, f"Hello {number}", strategy={"immediate": {}}, revisionHistoryLimit=1)
        nudges, raised = cluster.nudges, await over_time(reconciler, cluster)
        assert cluster.nudges > nudges
    assert {type(error) for error in raised} == {Forbidden}
    assert message(cluster).startswith("stuck: delete configmaps")
