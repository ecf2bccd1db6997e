"""One turn of the wheel with a cluster that is slow: what changes meanwhile is not mixed with what was read before."""

from dataclasses import replace

import pytest

from promptrollout.api.parse import parse_status
from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.controller.reconciler import Outside, Reconciler, Tuning
from promptrollout.controller.telemetry import Telemetry
from promptrollout.revision import seal

KEY = ObjectKey("shop", "support")


class Cluster:
    """Stores what is written; `meanwhile` happens once, while the first ConfigMap is being read.

    `after_write` happens once, when a status is stored and the answer is still on its way.
    """

    def __init__(self):
        self.statuses, self.meanwhile, self.after_write = [], None, None

    async def get_configmap(self, key):
        if self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None

    async def list_configmaps(self, namespace, labels):
        for none in ():
            yield none

    async def create_configmap(self, content):
        return ConfigMapObject(content.key, "c1", "1", content.data, owners=(content.owner,))

    async def update_configmap(self, observed, content):
        return replace(observed, data=content.data, resource_version=f"{observed.resource_version}1")

    async def patch_status(self, observed, status):
        self.statuses.append(parse_status(status))
        stored = replace(observed, resource_version=str(int(observed.resource_version) + 1), status=status)
        if self.after_write is not None:
            self.after_write(stored)
            self.after_write = None
        return stored

    async def pods(self, *_, **__):
        return ()

    def emit(self, *_):
        pass


def rollout(generation, text):
    spec = {"prompt": {"inline": {"text": text}}, "strategy": {"immediate": {}}, "analysis": {"metrics": []}}
    return RolloutObject(KEY, "u1", generation, str(generation), spec, {})


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def reconciler(cluster):
    return Reconciler(cluster, Outside({}), lambda _: None, Telemetry(), Tuning(DeliveryMode.MOUNT))


async def test_an_edit_that_comes_while_the_spec_before_it_is_looked_into_is_not_taken_for_done(
    cluster, reconciler
):
    reconciler.rollout_changed(rollout(1, "one"))
    cluster.meanwhile = lambda: reconciler.rollout_changed(rollout(2, "two"))
    assert await reconciler.handle(KEY) is not None, "it is turned again"
    assert cluster.statuses == [], "nobody may take revision one for what generation 2 wants"
    await reconciler.handle(KEY)
    (status,) = cluster.statuses
    assert (status.observed_generation, status.stable.revision) == (2, seal({"text": "two"}).short)


async def test_an_edit_that_is_told_before_the_answer_to_a_write_is_not_forgotten(cluster, reconciler):
    def edited(stored):
        edit = replace(rollout(2, "two"), resource_version=str(int(stored.resource_version) + 1))
        reconciler.rollout_changed(replace(edit, status=stored.status))

    reconciler.rollout_changed(rollout(1, "one"))
    cluster.after_write = edited
    await reconciler.handle(KEY)
    await reconciler.handle(KEY)
    status = cluster.statuses[-1]
    assert (status.observed_generation, status.candidate.revision) == (2, seal({"text": "two"}).short)
