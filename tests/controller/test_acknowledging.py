"""From the pods' own metric to who has loaded what."""

from datetime import UTC, datetime

from promptrollout.api.spec import PodSelector
from promptrollout.cluster.objects import ObjectKey, PodView
from promptrollout.controller.acknowledging import loaded_payloads, selector_of
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
