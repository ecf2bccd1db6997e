"""Prompts of arms that stand in ConfigMaps or in a registry."""

from types import SimpleNamespace

import pytest

from promptrollout.api.status import ArmSource, RolloutStatus
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.memory import Children
from promptrollout.controller.parsed import Known, parse
from promptrollout.controller.references import Answer
from promptrollout.controller.resolving import Resolver

METRICS = [{"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"}]


class Answers:
    """What arms' references name, by arm; None: not known yet."""

    def __init__(self):
        self.known, self.asked = {}, set()

    async def first(self, rollout, reference, place=""):
        self.asked.add(place)
        return self.known.get(place)

    def leave(self, rollout, but=()):
        self.asked &= set(but)


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def resolve_prompts(answers):
    """Resolves a test whose arms have these prompts, by what is known and remembered."""
    resolver = Resolver(answers)

    async def understood(prompts, status=None, documents=None):
        share = 50 // len(prompts)
        tested = [{"name": name, "weight": share, "prompt": prompt} for name, prompt in prompts.items()]
        control = {"name": "control", "weight": 100 - share * len(prompts)}
        raw = {
            "prompt": {"inline": {"text": "Hello"}},
            "analysis": {"metrics": METRICS},
            "strategy": {"abTest": {"arms": [control, *tested], "horizon": "1h"}},
        }
        seen = RolloutObject(ObjectKey("shop", "support"), "u1", 1, "1", raw, {})
        parsed = parse(seen, Known(frozenset({"default"}), frozenset({"prompts"})))
        children = Children(documents=documents or {})
        return await resolver.resolved(
            SimpleNamespace(seen=seen), parsed, children, status or RolloutStatus()
        )

    return understood


@pytest.fixture
def resolve(answers, resolve_prompts):
    """The same of arms in ConfigMaps: what each holds, an answer about it, or None."""

    async def understood(**arms):
        for name, text in arms.items():
            answers.known[name] = text if not isinstance(text, str) else Answer(content={"text": text})
        return await resolve_prompts(
            {name: {"configMapRef": {"name": f"{name}-prompt", "key": "text"}} for name in arms}
        )

    return understood


async def test_arms_are_sealed_from_what_their_config_maps_hold_in_the_order_of_the_spec(resolve):
    found = await resolve(warm="Good morning", terse="Hi")
    assert (found.problems, found.unresolved, list(found.arms)) == ((), "", ["warm", "terse"])
    assert found.arms["terse"].document["parts"] == {"default": {"text": "Hi"}}


async def test_an_arm_that_is_not_known_yet_keeps_the_test_waiting(resolve):
    found = await resolve(warm="Good morning", terse=None)
    assert found.unresolved == "arm terse: ConfigMap terse-prompt, key text is being asked for the prompt"


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


DOWN = "registry prompts cannot be asked: no connection"
AWAY = Answer(unavailable=DOWN)


def of_registry(name, **which):
    return {"registryRef": {"registry": "prompts", "name": name, **which}}


def kept(arm, found, reference):
    """What a status remembers of an arm that was found once, and the text that was sealed then."""
    revision = found.arms[arm]
    source = ArmSource(arm=arm, reference=reference, version="4", revision=revision.short)
    return RolloutStatus(arm_sources=[source]), {revision.short: dict(revision.document)}


async def test_an_arm_of_a_registry_is_sealed_as_the_registry_has_it_or_as_the_spec_says(
    resolve_prompts, answers
):
    answers.known = {
        "warm": Answer("4", {"text": "Good morning {{name}}", "templateFormat": "mustache"}),
        "terse": Answer("2", {"text": "Hi {name}", "templateFormat": "mustache"}),
    }
    found = await resolve_prompts(
        {
            "warm": of_registry("warm", alias="production"),
            "terse": of_registry("terse", version=2, templateFormat="fstring"),
        }
    )
    assert (found.problems, found.unresolved) == ((), "")
    assert found.arms["terse"].document["templateFormat"] == "fstring"
    assert (found.sources["warm"].version, found.sources["warm"].revision) == ("4", found.arms["warm"].short)


async def test_an_arm_that_a_registry_has_told_before_stands_while_the_registry_is_down(
    resolve_prompts, answers
):
    arm = {"warm": of_registry("warm", alias="production")}
    answers.known = {"warm": Answer("4", {"text": "Good morning"})}
    before = await resolve_prompts(arm)
    answers.known = {"warm": AWAY}
    found = await resolve_prompts(arm, *kept("warm", before, "registry prompts: warm, alias production"))
    assert (found.unresolved, found.problems) == ("", ())
    assert found.arms == before.arms
    assert (found.sources["warm"].version, found.sources["warm"].unavailable) == ("4", DOWN)


async def test_a_version_that_an_arm_was_sealed_from_is_not_asked_for_again(resolve_prompts, answers):
    arm = {"warm": of_registry("warm", version=4)}
    answers.known = {"warm": Answer("4", {"text": "Good morning"})}
    before = await resolve_prompts(arm)
    answers.known = {}
    found = await resolve_prompts(arm, *kept("warm", before, "registry prompts: warm, version 4"))
    assert (found.arms, answers.asked) == (before.arms, set())


@pytest.mark.parametrize(
    "reference", ["registry prompts: warm, version 3", "registry prompts: warm, alias production as jinja2"]
)
async def test_an_arm_that_is_new_while_its_registry_is_down_keeps_the_test_waiting_and_says_so(
    resolve_prompts, answers, reference
):
    arm = {"warm": of_registry("warm", alias="production")}
    answers.known = {"warm": Answer("4", {"text": "Good morning"})}
    before = await resolve_prompts(arm)
    answers.known = {"warm": AWAY}
    found = await resolve_prompts(arm, *kept("warm", before, reference))
    assert (found.unresolved, found.arms) == (f"arm warm: {DOWN}", {})


async def test_what_a_registry_lacks_or_has_broken_is_named_at_its_arm(resolve_prompts, answers):
    answers.known = {
        "warm": Answer(problem="registry prompts: warm, version 9 does not exist"),
        "terse": Answer("1", {"text": "Hi {{"}),
    }
    found = await resolve_prompts(
        {"warm": of_registry("warm", version=9), "terse": of_registry("terse", version=1)}
    )
    assert [problem.path for problem in found.problems] == [
        "spec.strategy.abTest.arms[1].prompt.registryRef",
        "spec.strategy.abTest.arms[2].prompt.registryRef",
    ]
    assert "add it to the registry" in found.problems[0].cure


async def test_a_registry_that_is_not_configured_is_named_at_its_arm(resolve_prompts):
    arm = {"registryRef": {"registry": "elsewhere", "name": "warm", "version": 1}}
    (problem,) = (await resolve_prompts({"warm": arm})).problems
    assert problem.path == "spec.strategy.abTest.arms[1].prompt.registryRef.registry"
    assert "use one of: prompts" in problem.cure
