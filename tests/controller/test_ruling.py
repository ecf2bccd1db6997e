"""Which rules a rollout goes on under: the shell's part, with the decision core, in virtual time."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.api.parse import parse_status
from promptrollout.cluster.errors import Forbidden, NotFound, Unavailable
from promptrollout.cluster.objects import ObjectKey, PolicyKey, PolicyObject, RolloutObject
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.observing import observe
from promptrollout.controller.parsed import Known
from promptrollout.controller.references import References
from promptrollout.controller.resolving import Resolver
from promptrollout.controller.ruling import Ruler
from promptrollout.rollout import LoadedPayload, PodsSeen, decide

pytestmark = pytest.mark.looptime

KEY = ObjectKey("shop", "support")
POLICY = PolicyKey("PromptRolloutPolicy", "shop", "production")
SLOW = {"canary": {"steps": [{"weight": 10, "duration": "1h"}]}}
QUICK = {"canary": {"steps": [{"weight": 50, "duration": "5m"}]}}


class Cluster:
    """One policy, as the API server has it; and a watch that may be behind."""

    def __init__(self):
        self.stored, self.error, self.reads = None, None, 0
        self._told = asyncio.Queue()

    def store(self, *, told=True, uid="u1", **spec):
        generation = self.stored.generation + 1 if self.stored else 1
        self.stored = PolicyObject(POLICY, uid, generation, spec)
        if told:
            self.tell()

    def delete(self):
        self.stored = None
        self.tell()

    def tell(self):
        self._told.put_nowait(self.stored)

    async def get_policy(self, key):
        self.reads += 1
        if self.error:
            raise self.error
        return self.stored if key == POLICY else None

    async def watch_policy(self, key):
        if self.error:
            raise self.error
        while True:
            yield await self._told.get()


class Rollout:
    """One rollout, its pods and its clock; each turn is the reconciler's, without the writes."""

    def __init__(self, cluster):
        self.cluster, self.woken = cluster, []
        self.policies = References(cluster, {}, self.woken.append)
        prompts = References(cluster, {}, self.woken.append)
        self.resolver = Resolver(prompts)
        self.known = Known(frozenset({"default"}))
        self.restart()
        spec = {
            "prompt": {"inline": {"text": "one"}},
            "policyRef": {"kind": "PromptRolloutPolicy", "name": "production"},
        }
        self.entry = Entry(RolloutObject(KEY, "r1", 1, "1", spec, {}))
        self.now = datetime(2026, 11, 24, 12, tzinfo=UTC)
        self.loaded, self.documents = {}, {}
        self.reasons = []

    def restart(self):
        """Another operator: it knows what the cluster knows."""
        self.ruler = Ruler(self.cluster, self.policies, self.resolver, self.known)

    @property
    def status(self):
        return parse_status(self.entry.seen.status)

    async def writes(self, **fields):
        seen = self.entry.seen
        spec = {key: value for key, value in {**seen.spec, **fields}.items() if value is not None}
        self.entry.seen = replace(seen, spec=spec, generation=seen.generation + 1)
        return await self.turn()

    async def wants(self, text):
        return await self.writes(prompt={"inline": {"text": text}})

    async def says(self, command):
        self.entry.seen = replace(self.entry.seen, annotations={"promptrollout.dev/command": command})
        return await self.turn()

    async def turn(self):
        """Until nothing changes; pods load at once what they are told."""
        for _ in range(20):
            before = self.entry.seen.status
            await self._once()
            if self.entry.seen.status == before:
                return self
        raise AssertionError(f"no rest: {before}")

    async def _once(self):
        status, children = self.status, Children()
        started = await self.ruler.started(self.entry, status)
        parsed = await self.resolver.resolved(self.entry, started, children, status)
        ruled = await self.ruler.ruled(self.entry, parsed, children, status, self.now)
        if status.delivered:
            self.entry.written = (status.delivered.sequence, self.now)
            self.loaded = {"pod": LoadedPayload(status.delivered.sequence, self.now)}
        self.entry.pods = PodsSeen(("pod",), dict(self.loaded))
        self.documents |= {revision.short: dict(revision.document) for revision in ruled.parsed.revisions}
        children.documents = dict(self.documents)
        seen = replace(observe(self.entry, ruled.parsed, children, status, self.now), policy=ruled.policy)
        decision = decide(ruled.parsed.spec, status, seen, self.now)
        self.parsed, self.wakes_at = ruled.parsed, decision.wake_at
        self.reasons += [note.reason for note in decision.notes]
        self.entry.seen = replace(self.entry.seen, status=decision.status.to_wire())

    @property
    def steps(self):
        return [step.weight for step in self.parsed.spec.strategy.canary.steps]

    @property
    def in_force(self):
        return self.status.policy.generation


@pytest.fixture
async def cluster():
    return Cluster()


@pytest.fixture
async def rollout(cluster):
    made = Rollout(cluster)
    yield made
    await made.ruler.close()


@pytest.fixture
async def healthy(cluster, rollout):
    cluster.store(strategy=SLOW, locked=["strategy"])
    await rollout.turn()
    assert rollout.status.phase == "Healthy"
    return rollout


@pytest.fixture
async def on_trial(healthy):
    await healthy.wants("two")
    assert (healthy.status.phase, healthy.steps) == ("Progressing", [10])
    return healthy


async def test_a_running_rollout_finishes_under_the_rules_it_began_with_and_the_next_has_the_new(
    cluster, on_trial
):
    cluster.store(strategy=QUICK)
    await asyncio.sleep(0)
    assert KEY in on_trial.woken
    await on_trial.turn()
    assert (on_trial.steps, on_trial.in_force) == ([10], 1)
    assert "StepsEdited" not in on_trial.reasons

    await on_trial.wants("three")
    assert (on_trial.steps, on_trial.in_force) == ([50], 2)
    assert on_trial.status.phase == "Progressing"


async def test_a_restarted_operator_goes_on_under_the_rules_that_status_remembers(cluster, on_trial):
    cluster.store(strategy=QUICK)
    on_trial.entry.parsed = ()
    on_trial.restart()
    await on_trial.turn()
    assert (on_trial.steps, on_trial.in_force) == ([10], 1)


async def test_an_edit_does_nothing_to_a_healthy_rollout_and_costs_no_read(cluster, healthy):
    reads, before = cluster.reads, healthy.entry.seen.status
    cluster.store(strategy=QUICK)
    await healthy.turn()
    assert healthy.entry.seen.status == before
    assert cluster.reads == reads


async def test_a_prompt_that_outruns_the_policys_watch_still_begins_under_the_new_rules(cluster, healthy):
    cluster.store(strategy=QUICK, told=False)
    await healthy.wants("two")
    assert (healthy.steps, healthy.in_force) == ([50], 2)


async def test_a_policy_deleted_during_a_trial_is_said_and_the_trial_ends_as_it_began(cluster, on_trial):
    cluster.delete()
    await asyncio.sleep(0)
    await on_trial.turn()
    assert on_trial.status.phase == "Progressing"
    assert "does not exist any more" in on_trial.status.message
    on_trial.now += timedelta(hours=2)
    await on_trial.turn()
    assert on_trial.reasons.count("PolicyGone") == 1


async def test_without_its_policy_a_new_prompt_moves_nothing_and_goes_on_when_the_policy_is_back(
    cluster, healthy
):
    served = healthy.status.delivered
    cluster.delete()
    await healthy.turn()
    assert healthy.status.phase == "Healthy"

    await healthy.wants("two")
    assert healthy.status.phase == "Invalid"
    assert "PromptRolloutPolicy production does not exist in namespace shop" in healthy.status.message
    assert "What is delivered stays as it is" in healthy.status.message
    assert healthy.status.delivered == served

    cluster.store(uid="u2", strategy=QUICK)
    await healthy.turn()
    assert (healthy.status.phase, healthy.steps) == ("Progressing", [50])
    assert healthy.status.policy.uid == "u2"


async def test_a_candidate_on_trial_stays_on_trial_while_its_successor_lacks_a_policy(cluster, on_trial):
    candidate = on_trial.status.candidate
    cluster.delete()
    await on_trial.wants("three")
    assert (on_trial.status.phase, on_trial.status.candidate) == ("Invalid", candidate)
    assert on_trial.steps == [10]
    assert on_trial.parsed.planned is not None


async def test_a_first_rollout_without_its_policy_says_so_and_begins_by_itself_later(cluster, rollout):
    cluster.tell()
    await rollout.turn()
    assert (rollout.status.phase, rollout.status.delivered) == ("Invalid", None)
    assert "create it" in rollout.status.message
    cluster.store(strategy=SLOW)
    await asyncio.sleep(0)
    assert KEY in rollout.woken
    await rollout.turn()
    assert rollout.status.phase == "Healthy"


async def test_a_locked_field_is_refused_and_the_trial_stands_where_it_is(on_trial):
    served = on_trial.status.delivered
    await on_trial.writes(strategy={"immediate": {}})
    assert on_trial.status.phase == "Invalid"
    assert "policy production locks strategy" in on_trial.status.message
    assert on_trial.status.delivered == served
    await on_trial.writes(strategy=None)
    assert on_trial.status.phase == "Progressing"


async def test_an_unlocked_policy_frees_a_rollout_that_stood_invalid_by_its_lock(cluster, on_trial):
    await on_trial.writes(strategy={"canary": {"steps": [{"weight": 20, "duration": "1h"}]}})
    assert on_trial.status.phase == "Invalid"
    cluster.store(strategy=SLOW, locked=[])
    await on_trial.turn()
    assert (on_trial.status.phase, on_trial.steps, on_trial.in_force) == ("Progressing", [20], 2)


async def test_a_policy_that_became_unusable_stops_the_next_prompt_only_and_names_its_field(
    cluster, on_trial
):
    cluster.store(strategy={"canary": {"steps": [{"weight": 5}]}})
    await on_trial.turn()
    assert on_trial.status.phase == "Progressing"
    await on_trial.wants("three")
    assert on_trial.status.phase == "Invalid"
    assert (
        "policy production: spec.strategy.canary.steps[0]: nothing ends this step" in on_trial.status.message
    )
    assert on_trial.in_force == 1


async def test_a_retry_is_a_new_attempt_under_the_rules_of_now(cluster, on_trial):
    await on_trial.says("abort:1")
    cluster.store(strategy=QUICK)
    await on_trial.turn()
    assert (on_trial.status.phase, on_trial.in_force) == ("Degraded", 1)
    await on_trial.says("retry:2")
    assert (on_trial.status.phase, on_trial.steps, on_trial.in_force) == ("Progressing", [50], 2)


async def test_a_retry_without_the_policy_goes_on_under_the_rules_it_had(cluster, on_trial):
    await on_trial.says("abort:1")
    cluster.delete()
    await on_trial.says("retry:2")
    assert (on_trial.status.phase, on_trial.steps) == ("Progressing", [10])


async def test_back_to_the_stable_prompt_needs_no_policy(cluster, on_trial):
    cluster.delete()
    await on_trial.wants("one")
    assert on_trial.status.phase == "Healthy"


async def test_another_policy_named_by_the_author_counts_at_once_and_a_missing_one_moves_nothing(
    cluster, on_trial
):
    candidate = on_trial.status.candidate
    await on_trial.writes(policyRef={"kind": "PromptRolloutPolicy", "name": "other"})
    assert on_trial.status.phase == "Invalid"
    assert "PromptRolloutPolicy other does not exist" in on_trial.status.message
    assert on_trial.status.candidate == candidate
    await on_trial.writes(policyRef=None, strategy=QUICK)
    assert (on_trial.status.phase, on_trial.status.policy) == ("Progressing", None)


async def test_a_policy_that_may_not_be_read_is_told_with_the_cure(cluster, rollout):
    cluster.error = Forbidden("get", "may not get promptrolloutpolicies")
    await rollout.turn()
    assert rollout.status.phase == "Invalid"
    assert "may not get promptrolloutpolicies" in rollout.status.message


async def test_an_api_server_that_does_not_answer_is_waited_for_and_is_nobodys_fault(cluster, rollout):
    cluster.error = Unavailable("get", "no answer")
    await rollout.turn()
    assert rollout.status.phase == "Pending"
    assert "PromptRolloutPolicy production cannot be read: no answer" in rollout.status.message
    assert rollout.wakes_at == rollout.now + timedelta(seconds=5)
    cluster.error = None
    cluster.store(strategy=SLOW)
    assert (await rollout.turn()).status.phase == "Healthy"


async def test_a_missing_definition_is_a_policy_that_does_not_exist_and_is_found_when_it_is_there(
    cluster, healthy
):
    await healthy.ruler.close()
    cluster.error = NotFound("list", "could not find the requested resource")
    await healthy.turn()
    assert healthy.status.phase == "Healthy"
    assert "does not exist any more" in healthy.status.message
    cluster.error = None
    cluster.tell()
    await asyncio.sleep(60)
    await healthy.turn()
    assert "PolicyFound" in healthy.reasons


async def test_two_sets_of_rules_at_most_are_kept_parsed(cluster, on_trial):
    for weight in (20, 30, 40):
        cluster.store(strategy={"canary": {"steps": [{"weight": weight, "duration": "1h"}]}})
        await on_trial.wants(f"text {weight}")
    assert len(on_trial.entry.parsed) <= 2
