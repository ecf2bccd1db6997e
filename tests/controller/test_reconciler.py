"""One turn of the wheel with a cluster that is slow: what changes meanwhile is not mixed with what was read before."""

from dataclasses import replace

from promptrollout.api.parse import parse_status
from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.controller.reconciler import Outside, Reconciler, Tuning
from promptrollout.controller.telemetry import Telemetry
from promptrollout.revision import seal

KEY = ObjectKey("shop", "support")


class Cluster:
    """Stores what is written; `meanwhile` happens once, while the first ConfigMap is being read."""

    def __init__(self):
        self.statuses, self.meanwhile = [], None

    async def get_configmap(self, key):
        if self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None

    async def list_configmaps(self, namespace, labels):
        for none in ():
            yield none

    async def create_configmap(self, content):
        return ConfigMapObject(content.key, "c1", "1", content.data, owners=(content.owner,))

    async def patch_status(self, observed, status):
        self.statuses.append(parse_status(status))
        return replace(observed, resource_version=f"{observed.resource_version}0", status=status)

    async def pods(self, *_, **__):
        return ()

    def emit(self, *_):
        pass


def rollout(generation, text):
    spec = {"prompt": {"inline": {"text": text}}, "strategy": {"immediate": {}}, "analysis": {"metrics": []}}
    return RolloutObject(KEY, "u1", generation, str(generation), spec, {})


async def test_an_edit_that_comes_while_the_spec_before_it_is_looked_into_is_not_taken_for_done():
    cluster, due = Cluster(), []
    reconciler = Reconciler(cluster, Outside({}), due.append, Telemetry(), Tuning(DeliveryMode.MOUNT))
    reconciler.rollout_changed(rollout(1, "one"))
    cluster.meanwhile = lambda: reconciler.rollout_changed(rollout(2, "two"))
    assert await reconciler.handle(KEY) is not None, "it is turned again"
    assert cluster.statuses == [], "nobody may take revision one for what generation 2 wants"
    await reconciler.handle(KEY)
    (status,) = cluster.statuses
    assert (status.observed_generation, status.stable.revision) == (2, seal({"text": "two"}).short)
