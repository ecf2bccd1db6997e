import asyncio
from dataclasses import replace

import pytest

from promptrollout.cluster.errors import AlreadyExists, Conflict
from promptrollout.cluster.lease import LeaderElection, LeadershipLostError
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.leader import Leader, leader
from promptrollout.controller.settings import Settings

KEY = ObjectKey("ops", "prompt-rollout")


class Leases:
    """A lease in memory, with the API server's rule: only the version that was read can be changed."""

    def __init__(self):
        self.record = None

    async def get_lease(self, key, deadline):
        return self.record

    async def create_lease(self, key, record, deadline):
        if self.record is not None:
            raise AlreadyExists("create", "there is one")
        self.record = replace(record, version="1")
        return self.record

    async def update_lease(self, key, record, deadline):
        if record.version != self.record.version:
            raise Conflict("update", "changed")
        self.record = replace(record, version=str(int(record.version) + 1))
        return self.record

    def steal(self):
        self.record = replace(self.record, holder="another", version="100")


def candidate(leases, name="one"):
    return Leader(LeaderElection(leases, KEY, name, on_lost=lambda reason: None))


async def test_without_an_election_a_process_always_leads():
    alone = leader(Settings(), Leases(), "pod-0")
    await alone.acquire()
    holding = asyncio.create_task(alone.hold())
    await asyncio.sleep(0)
    assert (alone.leading, alone.problem, holding.done()) == (True, "", False)
    holding.cancel()
    await alone.release()


async def test_a_restarted_pod_is_another_candidate_than_before():
    settings = Settings(leader_election=True, lease_namespace="ops")
    leases = Leases()
    holders = set()
    for _ in range(2):
        one = leader(settings, leases, "pod-0")
        await one.acquire()
        holders.add(leases.record.holder)
        await one.release()
    assert len(holders) == 2
    assert all(holder.startswith("pod-0_") for holder in holders)


@pytest.mark.looptime
async def test_standing_by_is_no_problem_and_release_lets_the_next_lead():
    leases = Leases()
    first, second = candidate(leases), candidate(leases, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0)
    assert (first.leading, second.leading, second.problem) == (True, False, "")
    await first.release()
    assert (first.leading, first.problem) == (False, "")
    await asyncio.wait_for(waiting, 10)
    assert second.leading


async def test_whoever_never_led_releases_nothing():
    leases = Leases()
    first = candidate(leases)
    await first.acquire()
    await candidate(leases, "two").release()
    assert leases.record.holder == "one"


@pytest.mark.looptime
async def test_a_stolen_lease_is_a_problem_and_ends_the_holding():
    leases = Leases()
    first = candidate(leases)
    await first.acquire()
    leases.steal()
    with pytest.raises(LeadershipLostError):
        await first.hold()
    assert first.problem == "the lease was not renewed in time"
