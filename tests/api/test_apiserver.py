import json
from pathlib import Path

import pytest
import yaml

from e2e.controlplane.kubectl import CommandError
from promptrollout.api.merging import PolicyRules, merge, policy_problems
from promptrollout.api.parse import parse_spec, read_status
from promptrollout.api.resource import CLUSTER_POLICY, MAX_NAME, POLICY, Resource
from promptrollout.api.spec import PolicyKind, RolloutSpec
from tests.api.cases import BASE, RIGHT, WRONG, Wrong, spec_with
from tests.api.conftest import Server, manifest
from tests.api.test_crd import SPEC
from tests.api.test_status import STORED, contains

pytestmark = pytest.mark.realcluster

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "manifests").glob("*.yaml"))
POLICY_KINDS = {kind.value for kind in PolicyKind}
IMMEDIATE = spec_with("strategy", {"immediate": {}})


class TestTheDefinition:
    def test_is_accepted_and_served_under_its_short_name(self, server: Server):
        crd = json.loads(server("get", "crd", "promptrollouts.promptrollout.dev", "-o", "json"))
        conditions = {one["type"]: one["status"] for one in crd["status"]["conditions"]}

        assert conditions["Established"] == "True"
        assert "NonStructuralSchema" not in conditions
        assert server("get", "prollout", "-o", "name") == server("get", "promptrollouts", "-o", "name")

    def test_reads_as_documentation_at_every_level(self, server: Server):
        objects = [path.replace("[]", "") for path, schema in SPEC.items() if "properties" in schema]

        for path in objects:
            explained = server("explain", f"promptrollout.{path}")
            assert "<no description>" not in explained
            assert "<empty>" not in explained

    def test_names_every_field_recursively(self, server: Server):
        explained = server("explain", "promptrollout.spec", "--recursive")

        for path in SPEC:
            if path != "spec" and not path.endswith("[]"):
                assert path.rpartition(".")[2] in explained

    def test_says_what_happens_by_default(self, server: Server):
        assert "Default: 30s." in server("explain", "promptrollout.spec.analysis")
        assert "Default: Required." in server("explain", "promptrollout.spec.analysis.metrics")


@pytest.mark.parametrize("wrong", [one for one in WRONG if one.server], ids=lambda wrong: wrong.name)
def test_a_wrong_spec_is_refused_with_its_message(server: Server, wrong: Wrong):
    assert wrong.server in server.try_out("wrong", wrong.spec)


@pytest.mark.parametrize("wrong", [one for one in WRONG if not one.server], ids=lambda wrong: wrong.name)
def test_what_only_the_operator_refuses_is_stored(server: Server, wrong: Wrong):
    assert server.try_out("wrong", wrong.spec) == ""


@pytest.mark.parametrize("spec", RIGHT.values(), ids=RIGHT)
def test_a_right_spec_is_accepted(server: Server, spec: dict[str, object]):
    assert server.try_out("right", spec) == ""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
class TestExamples:
    def test_is_accepted_and_understood(self, server: Server, example: Path):
        server("apply", "-f", str(example))
        stored = stored_spec(server, example)
        if yaml.safe_load(example.read_text())["kind"] in POLICY_KINDS:
            assert policy_problems(PolicyRules("", "", stored)) == ()
            return
        if "policyRef" in stored:
            policy = yaml.safe_load((example.parent / "policy.yaml").read_text())
            merged = merge(stored, PolicyRules(policy["kind"], policy["metadata"]["name"], policy["spec"]))
            assert stored["policyRef"]["name"] == policy["metadata"]["name"]
            assert merged.lock_problems == ()
            stored = merged.spec
        assert isinstance(parse_spec(stored), RolloutSpec)

    def test_is_stored_as_written_but_for_defaults(self, server: Server, example: Path):
        written = yaml.safe_load(example.read_text())
        server("apply", "-f", str(example))

        assert contains(stored_spec(server, example), written["spec"])

    def test_leaves_no_difference_after_it_was_applied(self, server: Server, example: Path):
        server("apply", "-f", str(example))
        assert server.differs("-f", str(example)) == ""

        server("apply", "--server-side", "--force-conflicts", "-f", str(example))
        assert server.differs("--server-side", "--force-conflicts", "-f", str(example)) == ""


@pytest.mark.parametrize("name", ["minimal.yaml", "with-policy.yaml"])
def test_what_an_author_has_to_write_is_ten_lines(name: str):
    (example,) = [path for path in EXAMPLES if path.name == name]

    assert len(example.read_text().splitlines()) == 10


class TestPolicies:
    @pytest.mark.parametrize("resource", [POLICY, CLUSTER_POLICY], ids=lambda resource: resource.kind)
    def test_read_as_documentation(self, server: Server, resource: Resource):
        crd = json.loads(server("get", "crd", resource.name, "-o", "json"))
        assert "NonStructuralSchema" not in {one["type"] for one in crd["status"]["conditions"]}
        assert server("get", resource.short_names[0], "-o", "name") == server(
            "get", resource.plural, "-o", "name"
        )
        for field in ("", ".spec", ".spec.strategy", ".spec.analysis.metrics", ".spec.locked"):
            explained = server("explain", f"{resource.kind}{field}".lower())
            assert "<no description>" not in explained
            assert "<empty>" not in explained

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ({"locked": ["analysis.metric"]}, 'Unsupported value: "analysis.metric"'),
            ({"locked": ["gates", "gates"]}, "Duplicate value"),
            ({"strategy": {}}, "name exactly one strategy"),
            ({"analysis": {"metrics": [{"name": "m"}]}}, "either a preset or events"),
            ({"strategy": {"canary": {"steps": [{"weight": 5}]}}}, "nothing ends this step"),
            ({"progressDeadline": "soon"}, "should match"),
            ({}, ""),
            ({"locked": ["strategy", "analysis.metrics"], "rollbackWindow": 3}, ""),
        ],
    )
    def test_are_refused_when_they_are_wrong(self, server: Server, spec: dict[str, object], said: str):
        for kind in sorted(POLICY_KINDS):
            assert said in (answer := server.try_out("wrong", spec, kind))
            assert bool(said) == bool(answer)

    def test_are_stored_without_any_default(self, server: Server):
        shadow = {"shadow": {"sample": 10, "duration": "1h"}}
        spec = {"strategy": shadow, "analysis": {}, "assignment": {"onRollback": "Drain"}}
        server("apply", "--server-side", "-f", "-", stdin=manifest("bare", spec, PolicyKind.NAMESPACED))
        assert server.spec("bare", "prolloutpolicy") == spec

    def test_let_a_rollout_be_without_strategy_and_change_single_fields_of_a_metric(self, server: Server):
        own = {"prompt": BASE["prompt"], "analysis": {"metrics": [{"name": "errors", "margin": "0.01"}]}}
        assert server.try_out("own", {**own, "policyRef": {"name": "production"}}) == ""
        assert "in policyRef a policy" in server.try_out("own", own)
        assert "name" in server.try_out("own", {**own, "policyRef": {"kind": "PromptRolloutPolicy"}})
        refused = server.try_out("own", {**own, "policyRef": {"kind": "Policy", "name": "production"}})
        assert "Unsupported value" in refused


def stored_spec(server: Server, example: Path) -> dict[str, object]:
    written = yaml.safe_load(example.read_text())
    return server.spec(written["metadata"]["name"], written["kind"].lower())


class TestDefaults:
    def test_are_shown_by_the_api_server_where_they_are_the_rollouts_own(self, server: Server):
        server.apply("defaults", {"prompt": {"inline": {"text": "hi"}}, "strategy": {"immediate": {}}})

        assert server.spec("defaults") == {
            "prompt": {"inline": {"text": "hi", "templateFormat": "mustache"}},
            "strategy": {"immediate": {}},
            "delivery": {
                "acknowledge": {
                    "mode": "Metrics",
                    "quorum": "100%",
                    "timeout": "5m",
                    "assumeLoadedAfter": "90s",
                },
                "flagd": False,
            },
            "revisionHistoryLimit": 10,
        }

    @pytest.mark.parametrize("spec", RIGHT.values(), ids=RIGHT)
    def test_mean_to_the_operator_what_leaving_out_means(self, server: Server, spec: dict[str, object]):
        server.apply("meaning", spec, "--force-conflicts")
        stored = server.spec("meaning")
        server("delete", "prollout", "meaning")

        assert parse_spec(stored) == parse_spec(spec)

    def test_never_appear_inside_lists_where_argo_cd_would_see_a_difference(self, server: Server):
        spec = spec_with("analysis.metrics", [{"name": "errors", "preset": "sdk/errors"}])
        server.apply("lists", spec)

        assert contains(server.spec("lists"), spec)
        stored = server.spec("lists")["analysis"]
        assert isinstance(stored, dict)
        assert stored["metrics"] == [{"name": "errors", "preset": "sdk/errors"}]

    def test_do_not_linger_beside_metrics_that_are_named_later(self, server: Server):
        server.apply("later", {**BASE, "analysis": {"interval": "10s"}})
        server.apply("later", spec_with("analysis.metrics", [{"name": "mine", "preset": "sdk/latency"}]))

        stored = server.spec("later")["analysis"]
        assert isinstance(stored, dict)
        assert [metric["name"] for metric in stored["metrics"]] == ["mine"]


class TestTheName:
    def test_may_be_as_long_as_its_childrens_names_allow(self, server: Server):
        assert server.try_out("n" * MAX_NAME, BASE) == ""

    def test_is_refused_when_it_is_longer(self, server: Server):
        refused = server.try_out("n" * (MAX_NAME + 1), BASE)

        assert "metadata.name" in refused
        assert f"at most {MAX_NAME} characters" in refused


class TestTheConfigMapsName:
    @pytest.fixture
    def named(self, server: Server, request: pytest.FixtureRequest) -> str:
        name = f"pinned-{abs(hash(request.node.name)) % 10**8}"
        server.apply(name, spec_with("delivery.configMapName", "prompts"))
        return name

    def test_cannot_change(self, server: Server, named: str):
        with pytest.raises(CommandError, match=r"spec\.delivery\.configMapName.*configMapName cannot change"):
            server.apply(named, spec_with("delivery.configMapName", "others"))

    def test_cannot_be_dropped(self, server: Server, named: str):
        with pytest.raises(CommandError, match="configMapName cannot change"):
            server.apply(named, BASE)

    def test_may_be_written_out_where_it_was_the_default(self, server: Server):
        server.apply("spelled", BASE)
        server.apply("spelled", spec_with("delivery.configMapName", "spelled-prompt"))

        with pytest.raises(CommandError, match="configMapName cannot change"):
            server.apply("spelled", spec_with("delivery.configMapName", "something-else"))

    def test_does_not_stand_in_the_way_of_other_changes(self, server: Server, named: str):
        server.apply(named, {**spec_with("delivery.configMapName", "prompts"), "strategy": {"immediate": {}}})

        assert server.spec(named)["strategy"] == {"immediate": {}}


class TestTheStatus:
    def test_is_stored_and_read_again_whole(self, server: Server):
        server.apply("round-trip", IMMEDIATE)
        server.patch_status("round-trip", STORED)
        reading = read_status(server.get("round-trip")["status"])

        assert reading.unreadable == ()
        assert reading == read_status(STORED)

    def test_keeps_what_a_newer_operator_remembers(self, server: Server):
        newer = {
            **STORED,
            "phase": "Musing",
            "cohorts": [{"a": 1}],
            "delivered": {**dict(STORED["delivered"]), "region": "eu"},  # type: ignore[call-overload]
        }
        server.apply("newer", IMMEDIATE)
        server.patch_status("newer", newer)

        assert contains(server.get("newer")["status"], newer)

    def test_of_the_greatest_size_is_accepted(self, server: Server):
        status = read_status(STORED).status
        wire = status.but(
            message="m" * 100_000, history=status.history * 1_000, conditions=status.conditions * 1
        ).to_wire()
        server.apply("large", IMMEDIATE)
        server.patch_status("large", wire)

        assert contains(server.get("large")["status"], wire)

    def test_is_not_writable_with_the_spec(self, server: Server):
        whole = {**json.loads(manifest("apart", IMMEDIATE)), "status": STORED}
        server("apply", "--server-side", "-f", "-", stdin=json.dumps(whole))

        assert server.get("apart")["status"] == {"observedGeneration": -1}, "nobody has looked at it yet"

    def test_does_not_change_the_generation(self, server: Server):
        server.apply("generation", IMMEDIATE)
        server.patch_status("generation", STORED)

        assert server.get("generation")["metadata"]["generation"] == 1  # type: ignore[index]

    def test_can_be_selected_by_phase(self, server: Server):
        server.apply("chosen", IMMEDIATE)
        server.patch_status("chosen", {"phase": "AwaitingApproval"})

        found = server("get", "prollout", "--field-selector", "status.phase=AwaitingApproval", "-o", "name")
        assert found.split() == ["promptrollout.promptrollout.dev/chosen"]


class TestColumns:
    @pytest.fixture
    def shown(self, server: Server) -> str:
        server.apply("shown", IMMEDIATE)
        server.patch_status("shown", STORED)
        return "shown"

    def test_of_kubectl_get(self, server: Server, shown: str):
        header, line = server("get", "prollout", shown).splitlines()

        assert header.split() == ["NAME", "PHASE", "STEP", "WEIGHT", "VERDICT", "AGE"]
        assert line.split()[:5] == ["shown", "Progressing", "2/3", "25%", "Inconclusive"]

    def test_of_kubectl_get_wide(self, server: Server, shown: str):
        header, line = server("get", "prollout", shown, "-o", "wide").splitlines()

        assert header.split()[5:] == ["AGE", "STABLE", "CANDIDATE", "POLICY", "MESSAGE"]
        assert "aaaaaaaaaa" in line
        assert line.rstrip().endswith("step 2/3 at 25%: 12m left")

    def test_are_there_among_all_resources(self, server: Server, shown: str):
        assert f"promptrollout.promptrollout.dev/{shown}" in server("get", "all", "-o", "name").split()
