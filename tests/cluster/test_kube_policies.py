"""Policies of both kinds, read and watched by name on a real API server."""

import pytest

from promptrollout.cluster.errors import NotFound
from promptrollout.cluster.objects import PolicyKey

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]


def policy(kind, name, deadline):
    return {
        "apiVersion": "promptrollout.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"progressDeadline": deadline},
    }


@pytest.mark.parametrize("kind", ["PromptRolloutPolicy", "ClusterPromptRolloutPolicy"])
async def test_a_policy_is_told_as_it_is_and_after_each_change_and_nothing_of_others(
    cluster, namespace, kubectl, kind
):
    name, where = f"rules-{namespace}", ["-n", namespace] if kind.startswith("Prompt") else []
    key = PolicyKey(kind, namespace if where else "", name)
    kubectl.wait_for_kind(f"{kind.lower()[:-1]}ies")
    seen = cluster.watch_policy(key)
    assert await anext(seen) is None
    assert await cluster.get_policy(key) is None
    kubectl.apply(policy(kind, f"{name}-other", "1h"), *where)
    for generation, deadline in enumerate(("2h", "3h"), 1):
        kubectl.apply(policy(kind, name, deadline), *where)
        told = await anext(seen)
        assert (told.key, told.generation, told.spec) == (key, generation, {"progressDeadline": deadline})
        assert await cluster.get_policy(key) == told
    kubectl("delete", kind.lower(), name, f"{name}-other", *where)
    assert await anext(seen) is None
    await seen.aclose()


async def test_a_kind_that_the_server_does_not_know_is_no_policy_and_its_watch_says_so(
    cluster, namespace, monkeypatch
):
    monkeypatch.setattr("promptrollout.cluster.kube.POLICY_PLURALS", {"PromptRolloutPolicy": "no-such-kind"})
    key = PolicyKey("PromptRolloutPolicy", namespace, "rules")
    assert await cluster.get_policy(key) is None
    with pytest.raises(NotFound):
        await anext(cluster.watch_policy(key))
