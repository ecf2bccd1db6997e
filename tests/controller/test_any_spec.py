"""Whatever the custom resource's schema lets through is understood, or Invalid with a field path; nothing raises."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.merging import PolicyRules
from promptrollout.api.resource import POLICY
from promptrollout.api.status import Phase, RolloutStatus
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.observing import observe
from promptrollout.controller.parsed import Known, parse
from promptrollout.gates.config import GatesConfig, JobsConfig
from promptrollout.rollout import decide
from tests.api.authors import specs

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
KNOWN = Known(frozenset({"default"}), frozenset({"prompts"}), GatesConfig(jobs=JobsConfig(enabled=True)))


@given(raw=specs(), policy=st.none() | specs(POLICY))
def test_any_spec_is_understood_or_invalid_with_a_path_and_a_cure(raw, policy):
    rules = PolicyRules("PromptRolloutPolicy", "shared", policy) if policy is not None else None
    seen = RolloutObject(ObjectKey("shop", "support"), "u1", 1, "1", raw, {})
    parsed = parse(seen, KNOWN, rules)
    for problem in parsed.problems:
        assert problem.path.startswith(("spec", "policy shared: spec")), problem
        assert problem.message, problem
        assert problem.cure, problem
    assert parsed.spec is not None or parsed.problems
    found = observe(Entry(seen), parsed, Children(), RolloutStatus(), NOON)
    decision = decide(parsed.spec, RolloutStatus(), found, NOON)
    assert (decision.status.phase is Phase.INVALID) == bool(parsed.problems)
    assert decision.status.message
    if not parsed.problems and not parsed.references:
        assert decision.status.delivered is not None or decision.status.candidate is not None
