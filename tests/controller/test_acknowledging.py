"""From the pods' own metric to who has loaded what."""

from datetime import UTC, datetime

import pytest

from promptrollout.api.spec import Delivery, DeliveryMode, PodSelector
from promptrollout.cluster.objects import ObjectKey, PodView
from promptrollout.controller.acknowledging import (
    Acknowledgements,
    Awaited,
    loaded_payloads,
    selector_of,
)
from promptrollout.delivery import ArmWeight, Payload
from promptrollout.sources.protocol import LoadedBy

PAYLOAD = Payload(
    "shop/x", 7, 2, "conversation", "salt", (ArmWeight("stable", "a" * 10, 10_000),), hash="right"
)
POD = PodView(ObjectKey("shop", "pod-a"), "u1", ip="10.0.0.4", ready=True)


def word(sequence=7, digest="right", at=100.0, pod="pod-a", instance="10.0.0.4:8080"):
    return LoadedBy("shop", pod, instance, sequence, digest, at)


def test_a_pod_is_found_by_its_name():
    loaded = loaded_payloads([POD], [word(instance="")], PAYLOAD)
    assert (loaded["pod-a"].sequence, loaded["pod-a"].at) == (7, datetime.fromtimestamp(100, UTC))


def test_a_pod_without_a_pod_label_is_found_by_its_address():
    assert "pod-a" in loaded_payloads([POD], [word(pod="")], PAYLOAD)


def test_a_pod_of_another_rollouts_namespace_is_not_confused():
    other = LoadedBy("other", "pod-a", "10.9.9.9:80", 7, "right", 1.0)
    assert loaded_payloads([POD], [other], PAYLOAD) == {}


def test_another_hash_of_the_awaited_sequence_is_no_acknowledgement():
    assert loaded_payloads([POD], [word(digest="wrong")], PAYLOAD)["pod-a"].sequence < 7


def test_of_several_processes_the_one_furthest_behind_counts():
    loaded = loaded_payloads([POD], [word(7), word(6, "old", 50.0), word(7)], PAYLOAD)
    assert loaded["pod-a"].sequence == 6


def test_of_several_processes_that_all_have_it_the_last_moment_counts():
    loaded = loaded_payloads([POD], [word(at=100.0), word(at=130.0), word(at=110.0)], PAYLOAD)
    assert loaded["pod-a"].at == datetime.fromtimestamp(130, UTC)


def test_selectors_are_passed_on_whole():
    selector = PodSelector.model_validate(
        {
            "matchLabels": {"app": "x"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}],
        }
    )
    assert selector_of(selector).query() == "app=x,tier in (a,b)"


def test_a_word_on_a_later_sequence_is_of_a_rollout_that_was_deleted_and_no_acknowledgement():
    assert loaded_payloads([POD], [word(sequence=8)], PAYLOAD)["pod-a"].sequence < 7


@pytest.mark.parametrize("seconds", [1.79e12, 1e20, 1e300])
def test_a_moment_that_no_calendar_has_is_in_the_future_and_still_an_acknowledgement(seconds):
    """Milliseconds, say: it must not end the operator, and with it everybody else's rollouts."""
    loaded = loaded_payloads([POD], [word(at=seconds)], PAYLOAD)
    assert loaded["pod-a"].sequence == 7
    assert loaded["pod-a"].at > datetime(2100, 1, 1, tzinfo=UTC)


class Pods:
    async def pods(self, *_, **__):
        return (POD,)


class Words:
    """A source that says of one rollout what nothing was made for."""

    async def acknowledgements(self, rollouts):
        return {rollout: (word(),) if rollout == "shop/x" else None for rollout in rollouts}


async def test_whatever_one_rollouts_pods_say_the_others_are_asked():
    said = {}
    mode, clock = DeliveryMode.MOUNT, lambda: datetime.now(UTC)
    asking = Acknowledgements(
        Pods(), {"default": Words()}, said.__setitem__, clock, default_mode=mode, again=30
    )
    for name in ("poison", "x"):
        key = ObjectKey("shop", name)
        await asking.follow(Awaited(key, "default", f"{name}-prompt", Delivery(), PAYLOAD), written=True)
    await asking.ask()
    assert said[ObjectKey("shop", "x")].loaded["pod-a"].sequence == 7
    assert "the operator fails on it (TypeError)" in said[ObjectKey("shop", "poison")].unavailable
