"""Pods that a payload has been written for: who is nudged, when again, and whom nobody nudges."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.api.spec import Delivery, DeliveryMode
from promptrollout.cluster.errors import Forbidden
from promptrollout.cluster.objects import ConfigMapMount, ObjectKey, PodView
from promptrollout.cluster.protocol import NudgeReport
from promptrollout.controller.acknowledging import Acknowledgements, Awaited
from promptrollout.delivery import ArmWeight, Payload
from promptrollout.sources.protocol import LoadedBy, Reason, SourceError

KEY = ObjectKey("shop", "support")
SCRAPE, AGAIN = 5.0, 10.0  # two scrapes
START = datetime(2026, 11, 24, 10, tzinfo=UTC)
PAYLOAD = Payload(str(KEY), 7, 2, "conversation", "s", (ArmWeight("stable", "a" * 10, 10_000),), hash="right")


def pod(name, **changes):
    mount = ConfigMapMount("support-prompt", "chat", "/etc/prompts")
    return replace(PodView(ObjectKey("shop", name), name, ready=True, mounts=(mount,)), **changes)


class Pods:
    """The part of a cluster that this is about: pods keep the last nudge, as their annotation does."""

    def __init__(self, *pods):
        self.there = {one.name: one for one in pods}
        self.nudges = []
        self.forbidden = False

    async def pods(self, _namespace, _selector=None, *, mounting=None):
        return tuple(self.there.values())

    async def nudge(self, pods, value):
        if self.forbidden:
            return NudgeReport(failed={one.key: Forbidden("patch pods", "no right") for one in pods})
        reached = [one.name for one in pods if one.nudge != value]
        self.nudges += [(name, value) for name in reached]
        self.there |= {name: replace(self.there[name], nudge=value) for name in reached}
        return NudgeReport(nudged=tuple(one.key for one in pods))


class Words:
    """What the pods' metrics say: the sequence that each has loaded."""

    def __init__(self):
        self.loaded = {}
        self.trouble = None

    async def acknowledgements(self, rollouts):
        said = tuple(
            LoadedBy("shop", name, "", sequence, "right", 1.0) for name, sequence in self.loaded.items()
        )
        return self.trouble or dict.fromkeys(rollouts, said)


class Following:
    """A payload that was just written for some pods, and a clock that scrapes drive."""

    def __init__(self, *pods, mode=DeliveryMode.NUDGE):
        self.cluster, self.words, self.seen, self.now = Pods(*pods), Words(), [], START
        self.asking = Acknowledgements(
            self.cluster,
            {"default": self.words},
            lambda _, seen: self.seen.append(seen),
            lambda: self.now,
            default_mode=mode,
            again=AGAIN,
        )

    async def written(self, payload=PAYLOAD):
        await self.asking.follow(Awaited(KEY, "default", "support-prompt", Delivery(), payload), written=True)

    async def scrape(self, **loaded):
        self.words.loaded |= {name.replace("_", "-"): sequence for name, sequence in loaded.items()}
        self.now += timedelta(seconds=SCRAPE)
        await self.asking.ask()

    def nudged(self):
        said, self.cluster.nudges = self.cluster.nudges, []
        return said


async def test_every_pod_is_nudged_once_the_payload_is_written():
    following = Following(pod("a"), pod("b"))
    await following.written()
    assert following.nudged() == [("a", "7.0"), ("b", "7.0")]


async def test_a_pod_that_missed_its_nudge_is_nudged_again_two_scrapes_later_and_the_others_are_left_alone():
    following = Following(pod("a"), pod("b"))
    await following.written()
    following.nudged()
    await following.scrape(a=7, b=6)
    assert following.nudged() == []
    await following.scrape(a=7, b=6)
    assert following.nudged() == [("b", "7.1")]


async def test_it_is_nudged_again_every_two_scrapes_until_it_has_it():
    following = Following(pod("a"))
    await following.written()
    for _ in range(6):
        await following.scrape()
    assert [value for _, value in following.nudged()] == ["7.0", "7.1", "7.2", "7.3"]
    await following.scrape(a=7)
    await following.scrape()
    await following.scrape()
    assert following.nudged() == []


async def test_a_pod_that_the_autoscaler_adds_meanwhile_is_awaited_and_nudged():
    following = Following(pod("a"))
    await following.written()
    following.nudged()
    following.cluster.there["b"] = pod("b")
    await following.scrape(a=7)
    assert following.seen[-1].ready == ("a", "b")
    await following.scrape()
    assert following.nudged() == [("b", "7.1")]


async def test_pods_that_the_autoscaler_takes_away_are_awaited_no_more():
    following = Following(pod("a"), pod("b"), pod("c"))
    await following.written()
    following.nudged()
    following.cluster.there["b"] = pod("b", terminating=True)
    following.cluster.there["c"] = pod("c", finished=True)
    await following.scrape(a=7)
    await following.scrape()
    assert following.seen[-1].ready == ("a",)
    assert following.nudged() == []


async def test_pods_that_are_not_ready_yet_are_nudged_too_and_not_waited_for():
    following = Following(pod("a"), pod("starting", ready=False), pod("ending", terminating=True))
    await following.written()
    assert following.nudged() == [("a", "7.0"), ("starting", "7.0")]
    await following.scrape(a=7)
    assert following.seen[-1].ready == ("a",)
    await following.scrape()
    assert following.nudged() == []


async def test_a_pod_that_is_not_ready_but_says_that_it_serves_an_older_payload_is_waited_for_and_nudged_again():
    following = Following(pod("a"), pod("worker", ready=False))
    await following.written()
    following.nudged()
    await following.scrape(a=7, worker=6)
    assert following.seen[-1].ready == ("a", "worker")
    await following.scrape()
    assert following.nudged() == [("worker", "7.1")]
    await following.scrape(worker=7)
    assert following.seen[-1].ready == ("a",)


async def test_a_pod_that_is_not_ready_and_falls_silent_holds_nothing_up():
    following = Following(pod("a"), pod("crashing", ready=False))
    await following.written()
    await following.scrape(a=7, crashing=6)
    del following.words.loaded["crashing"]
    await following.scrape()
    assert following.seen[-1].ready == ("a",)


async def started_late():
    """A pod that was starting when all others had the payload, and then serves what it had mounted before."""
    following = Following(pod("a"), pod("late", ready=False))
    await following.written()
    await following.scrape(a=7)
    assert following.seen[-1].ready == ("a",)
    following.asking.rest(KEY)
    said = len(following.seen)
    following.nudged()
    following.cluster.there["late"] = pod("late")
    await following.scrape(late=6)
    assert [name for name, _ in following.nudged()] == ["late"]
    assert len(following.seen) == said  # nobody waits for it
    return following


async def test_a_pod_that_starts_while_nothing_waits_any_more_is_nudged_until_it_has_the_payload():
    following = await started_late()
    await following.scrape()
    await following.scrape()
    assert [name for name, _ in following.nudged()] == ["late"]
    await following.scrape(late=7)
    following.cluster.there["late"] = pod("late", nudge="6.0")
    await following.scrape(late=6)  # nobody asks any more
    await following.scrape()
    assert following.nudged() == []


async def test_kubelets_own_look_ends_that_too():
    following = await started_late()
    for _ in range(16):
        await following.scrape()
    following.nudged()
    for _ in range(4):
        await following.scrape()
    assert following.nudged() == []


@pytest.mark.parametrize("gone", [True, False])
async def test_another_payload_or_the_rollouts_end_ends_it_at_once(gone):
    following = await started_late()
    if gone:
        following.asking.leave(KEY)
    else:
        await following.written(replace(PAYLOAD, sequence=8))
        following.nudged()
        following.asking.leave(KEY)
    for _ in range(4):
        await following.scrape()
    assert following.nudged() == []


async def test_while_prometheus_says_nothing_nobody_is_taken_for_late():
    following = Following(pod("a"))
    await following.written()
    following.nudged()
    following.words.trouble = SourceError(Reason.UNAVAILABLE, "away")
    for _ in range(4):
        await following.scrape()
    assert following.seen[-1].unavailable
    assert following.nudged() == []


@pytest.mark.parametrize("nudge", ["7.0", "7.1"])
async def test_a_repaired_payload_of_the_same_sequence_reaches_pods_that_carry_its_nudge_already(nudge):
    following = Following(pod("a", nudge=nudge))
    await following.written()
    assert [name for name, _ in following.nudged()] == ["a"]


async def test_without_the_right_to_nudge_the_kubelets_own_pace_is_waited_for(caplog):
    following = Following(pod("a"))
    following.cluster.forbidden = True
    await following.written()
    await following.scrape(a=7)
    assert "kubelet's own pace" in caplog.text
    assert following.seen[-1].loaded["a"].sequence == 7


@pytest.mark.parametrize("mode", [DeliveryMode.MOUNT, DeliveryMode.WATCH])
async def test_other_modes_touch_no_pod(mode):
    following = Following(pod("a"), mode=mode)
    await following.written()
    for _ in range(4):
        await following.scrape()
    assert following.nudged() == []


async def test_mounts_that_never_refresh_are_told_unless_the_sdk_watches_the_api_server():
    stuck = pod("a", mounts=(ConfigMapMount("support-prompt", "chat", "/x", sub_path="rollout.json"),))
    for mode, told in ((DeliveryMode.NUDGE, ("a",)), (DeliveryMode.WATCH, ())):
        following = Following(stuck, mode=mode)
        await following.written()
        await following.scrape()
        assert following.seen[-1].never_refreshed == told
