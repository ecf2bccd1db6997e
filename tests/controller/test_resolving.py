"""Prompts of arms that stand in ConfigMaps."""

from types import SimpleNamespace

import pytest

from promptrollout.api.status import RolloutStatus
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.parsed import Known, parse
from promptrollout.controller.references import Answer
from promptrollout.controller.resolving import Resolver

METRICS = [{"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"}]


class Answers:
    """What ConfigMaps hold, by name; None: not known yet."""

    def __init__(self):
        self.known, self.asked = {}, set()

    async def first(self, rollout, reference, place=""):
        self.asked.add(place)
        return self.known.get(reference.key.name)

    def leave(self, rollout, but=()):
        self.asked &= set(but)


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def resolve(answers):
    resolver = Resolver(answers)

    async def understood(**arms):
        prompts = {name: {"configMapRef": {"name": f"{name}-prompt", "key": "text"}} for name in arms}
        tested = [{"name": n, "weight": 50 // len(arms), "prompt": p} for n, p in prompts.items()]
        control = {"name": "control", "weight": 100 - 50 // len(arms) * len(arms)}
        raw = {
            "prompt": {"inline": {"text": "Hello"}},
            "analysis": {"metrics": METRICS},
            "strategy": {"abTest": {"arms": [control, *tested], "horizon": "1h"}},
        }
        for name, text in arms.items():
            answers.known[f"{name}-prompt"] = (
                text if not isinstance(text, str) else Answer(content={"text": text})
            )
        seen = RolloutObject(ObjectKey("shop", "support"), "u1", 1, "1", raw, {})
        parsed = parse(seen, Known(frozenset({"default"})))
        return await resolver.resolved(SimpleNamespace(seen=seen), parsed, None, RolloutStatus())

    return understood


async def test_arms_are_sealed_from_what_their_config_maps_hold_in_the_order_of_the_spec(resolve):
    found = await resolve(warm="Good morning", terse="Hi")
    assert (found.problems, found.unresolved, list(found.arms)) == ((), "", ["warm", "terse"])
    assert found.arms["terse"].document["parts"] == {"default": {"text": "Hi"}}


async def test_an_arm_that_is_not_known_yet_keeps_the_test_waiting(resolve):
    found = await resolve(warm="Good morning", terse=None)
    assert found.unresolved == "ConfigMap terse-prompt is being asked for the prompt of arm terse"


async def test_a_config_map_that_is_missing_or_lacks_the_key_is_named_at_its_arm(resolve):
    found = await resolve(warm=Answer(problem="does not exist"), terse=Answer(content={"other": "Hi"}))
    assert [problem.path for problem in found.problems] == [
        "spec.strategy.abTest.arms[1].prompt.configMapRef",
        "spec.strategy.abTest.arms[2].prompt.configMapRef",
    ]
    assert "does not exist" in found.problems[0].message
    assert "there are: other" in found.problems[1].cure


async def test_arms_that_turn_out_to_be_the_same_cannot_be_told_apart(resolve):
    (problem,) = (await resolve(warm="Hi", terse="Hi")).problems
    assert problem.path == "spec.strategy.abTest.arms[2].prompt"
    assert "is the same prompt as spec.strategy.abTest.arms[1].prompt" in problem.message


async def test_what_a_spec_names_no_more_is_asked_for_no_more(resolve, answers):
    await resolve(warm="Good morning", terse="Hi")
    assert answers.asked == {"warm", "terse"}
    await resolve(terse="Hi")
    assert answers.asked == {"terse"}
