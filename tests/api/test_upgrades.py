"""Rollouts as earlier versions left them (recorded by e2e/upgrades.py), gone on with by this one."""

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from e2e.upgrades import CORPUS, PROMPT_SOURCE, SCENES
from promptrollout.analysis import Evidence
from promptrollout.api.base import COMMAND_ANNOTATION
from promptrollout.api.parse import parse_status, read_status
from promptrollout.cluster.mergepatch import apply_merge_patch, merge_patch
from promptrollout.cluster.objects import ConfigMapObject, PolicyObject
from promptrollout.cluster.parsing import parse_configmap, parse_rollout
from promptrollout.controller.children import documents_in
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.observing import observe
from promptrollout.controller.parsed import Known
from promptrollout.controller.references import References
from promptrollout.controller.resolving import Resolver
from promptrollout.controller.ruling import Ruler
from promptrollout.delivery import render
from promptrollout.rollout import LoadedPayload, PodsSeen, decide, rules_in_force
from promptrollout.rollout.payload import payload_of
from tests.api.test_status import contains

KEPT = sorted(CORPUS.glob("*/*.json"))
VERSIONS = sorted({path.parent.name for path in KEPT})
KNOWN = Known(frozenset({"default"}))


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(params=KEPT, ids=named)
def path(request):
    return request.param


@pytest.fixture
def kept(path):
    return json.loads(path.read_text("utf-8"))


class Cluster:
    """What a rollout refers to: its author's ConfigMap, and the policy, unchanged since it was taken over."""

    def __init__(self, rules):
        self._rules = rules

    async def watch_configmap(self, key):
        yield _config_map(key)

    async def get_policy(self, key):
        rules = self._rules
        return PolicyObject(key, rules.uid, rules.generation, rules.spec) if rules else None

    async def watch_policy(self, key):
        yield await self.get_policy(key)


def _config_map(key):
    return ConfigMapObject(key, "", "", {"prompt.txt": PROMPT_SOURCE})


class Taken:
    """A recorded rollout in the hands of this version: each turn is the reconciler's, without the writes."""

    def __init__(self, kept):
        self.entry = Entry(parse_rollout(kept["rollout"]))
        self.now = datetime.fromisoformat(kept["recordedAt"])
        revisions = [parse_configmap(one) for one in kept["revisions"]]
        self.children = Children(payload=parse_configmap(kept["payload"]))
        for one in (*revisions, self.children.payload):
            self.children.documents |= documents_in(one.data)
        self.notes = []

    @property
    def status(self):
        return parse_status(self.entry.seen.status)

    async def turn(self, *, pods_load=False):
        """One turn, a second later."""
        self.now += timedelta(seconds=1)
        status, children = self.status, self.children
        references = References(Cluster(rules_in_force(status)), {}, lambda _: None)
        resolver = Resolver(references)
        ruler = Ruler(Cluster(rules_in_force(status)), references, resolver, KNOWN)
        try:
            started = await ruler.started(self.entry, status)
            parsed = await resolver.resolved(self.entry, started, children, status)
            ruled = await ruler.ruled(self.entry, parsed, children, status, self.now)
        finally:
            await references.close()
        if pods_load:
            delivered = status.delivered.sequence
            self.entry.written = (delivered, self.now)
            self.entry.pods = PodsSeen(("pod",), {"pod": LoadedPayload(delivered, self.now)})
        seen = replace(observe(self.entry, ruled.parsed, children, status, self.now), policy=ruled.policy)
        decision = decide(ruled.parsed.spec, status, seen, self.now)
        self.parsed, self.notes = ruled.parsed, [*self.notes, *decision.notes]
        written = apply_merge_patch(
            self.entry.seen.status, merge_patch(self.entry.seen.status, decision.status.to_wire())
        )
        self.entry.seen = replace(self.entry.seen, status=written)
        return self

    async def says(self, command):
        self.entry.seen = replace(self.entry.seen, annotations={COMMAND_ANNOTATION: f"{command}:upgraded"})
        await self.turn()
        for _ in range(4):
            await self.turn(pods_load=True)
        return self


def standing(status):
    """What an upgrade may not change: what is served to whom, and how far the trial has come."""
    delivered = status.delivered and status.delivered.but(
        written_at=None
    )  # that it has been written is learnt by looking
    return status.but(conditions=[], message="", delivered=delivered)


def test_there_is_a_corpus_of_each_version_and_it_plays_no_scene_that_this_version_does_not_know():
    assert len(VERSIONS) >= 4
    assert {path.stem for path in KEPT} == set(SCENES)


def test_a_status_is_read_whole_and_written_again_with_all_it_had(kept):
    status = kept["rollout"]["status"]
    reading = read_status(status)
    assert reading.unreadable == ()
    assert contains(reading.status.to_wire(), status)


async def test_the_first_turn_after_an_upgrade_moves_nothing_and_tells_nothing(kept):
    before = parse_status(kept["rollout"]["status"])
    taken = await Taken(kept).turn()
    assert [f"{note.reason}: {note.message}" for note in taken.notes] == []
    assert standing(taken.status) == standing(before)


async def test_the_payload_is_written_again_byte_for_byte(kept):
    taken = await Taken(kept).turn()
    if taken.parsed.spec is None:
        return
    payload = payload_of(str(taken.entry.seen.key), taken.parsed.spec, taken.status)
    assert render(payload, taken.children.documents, flagd=False) == kept["payload"]["data"]


TRIALS = [
    path for path in KEPT if path.stem in {"progressing", "ramp", "paused", "awaiting_approval", "shadow"}
]


@pytest.mark.parametrize("path", TRIALS, ids=named)
async def test_a_trial_can_be_brought_to_either_end(kept):
    wanted, stable = (kept["rollout"]["status"][f"{which}Revision"] for which in ("candidate", "stable"))
    promoted = await Taken(kept).says("promote-full")
    assert (promoted.status.phase, promoted.status.stable.revision) == ("Healthy", wanted)
    aborted = await Taken(kept).says("abort")
    assert (aborted.status.phase, aborted.status.stable.revision) == ("Degraded", stable)


@pytest.mark.parametrize("path", [path for path in KEPT if path.stem == "ramp"], ids=named)
async def test_the_evidence_goes_on_from_its_checkpoint(kept):
    taken = await Taken(kept).turn()
    analysis = parse_status(kept["rollout"]["status"]).analysis
    evidence = Evidence.from_checkpoint(taken.parsed.planned.plan, analysis.checkpoint)
    assert evidence.problems == ()
    assert evidence.exposure == analysis.checkpoint["exposure"]
    plan, kept_before = taken.parsed.planned.plan, dict(analysis.checkpoint["metrics"])
    gone = kept_before.keys() - set(plan.fingerprints)
    # Guards of coverage are another metric since they no longer count as independent; nothing else begins anew.
    anew = [m.source.split("|")[0] for m in plan.metrics if m.fingerprint not in kept_before]
    assert len(gone) <= len(anew)
    assert set(anew) <= {"sdk/score-coverage"}
    went_on = {name: one for name, one in kept_before.items() if name not in gone}
    assert contains(evidence.to_checkpoint(), {**analysis.checkpoint, "metrics": went_on})


NEWER = {"someDay": {"of": "a newer version"}}


def planted(value):
    """Every map of a status with a field that this version does not know."""
    if isinstance(value, list):
        return [planted(item) for item in value]
    if isinstance(value, dict):
        return {**{key: planted(item) for key, item in value.items()}, "xNewer": NEWER}
    return value


def unplanted(value, path="status"):
    """Where the unknown field is missing. Conditions are derived anew in each turn, by whoever takes it."""
    if path == "status.conditions":
        return []
    if isinstance(value, list):
        return [lost for index, item in enumerate(value) for lost in unplanted(item, f"{path}[{index}]")]
    if not isinstance(value, dict):
        return []
    inside = [
        lost for key, item in value.items() if key != "xNewer" for lost in unplanted(item, f"{path}.{key}")
    ]
    return [*([path] if value.get("xNewer") != NEWER else []), *inside]


async def test_fields_of_a_newer_version_outlive_a_turn_of_this_one(kept):
    newer, before = copy.deepcopy(kept), parse_status(kept["rollout"]["status"])
    newer["rollout"]["status"] = planted(kept["rollout"]["status"])
    taken = await Taken(newer).turn()
    assert unplanted(taken.entry.seen.status) == []
    assert (taken.status.delivered.sequence, taken.notes) == (before.delivered.sequence, [])
