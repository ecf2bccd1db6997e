"""How the next version of the API comes: made by today's generator, accepted by a real API server, losing nothing."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from pydantic import Field

from e2e.processes.supervisor import wait_until
from e2e.upgrades import CORPUS
from promptrollout.api.base import VERSION
from promptrollout.api.crd import custom_resource_definition
from promptrollout.api.resource import PROMPT_ROLLOUT, PromptRollout
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.versions import VERSIONS, Version, checked
from tests.api.conftest import NAMESPACE, Server
from tests.api.test_status import contains

STORED = Version("v1alpha1", storage=True)
OLD = Version("v1alpha1", deprecated="promptrollout.dev/v1alpha1 is deprecated; use v1beta1")
NEW = Version("v1beta1", storage=True)


class NextSpec(RolloutSpec):
    """A spec with a field that v1beta1 brings."""

    cohort: str | None = Field(default=None, max_length=63, description="An optional field more.")


class NextRollout(PromptRollout):
    """The resource with that spec."""

    spec: NextSpec = Field(description="The wanted prompt, and how it takes over.")


def test_one_version_is_stored_and_the_operator_speaks_one_that_is_served():
    assert checked(VERSIONS) == VERSIONS


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ((), "exactly one version is stored, not none"),
        ((STORED, NEW), "exactly one version is stored, not v1alpha1, v1beta1"),
        ((STORED, OLD), "a name of its own"),
        ((replace(OLD, served=False), NEW), f"{VERSION}, which the operator speaks, is not served"),
    ],
)
def test_versions_that_would_break_a_cluster_are_refused(versions, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        checked(versions)


def test_all_versions_have_one_schema_so_that_conversion_loses_nothing():
    spec = custom_resource_definition(PROMPT_ROLLOUT, (OLD, NEW))["spec"]
    old, new = spec["versions"]
    assert spec["conversion"] == {"strategy": "None"}
    assert (old["name"], old["storage"], old["deprecated"]) == ("v1alpha1", False, True)
    assert (new["name"], new["storage"], new.get("deprecated")) == ("v1beta1", True, None)
    assert old["schema"] == new["schema"]
    assert old["subresources"] == new["subresources"]


class Definition:
    """A kind of its own in the shared API server, so that nobody else's definition changes."""

    plural = "promptrolloutnexts"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.resource = replace(
            PROMPT_ROLLOUT, kind="PromptRolloutNext", plural=self.plural, short_names=(), categories=()
        )

    def becomes(self, *versions: Version, model: type[PromptRollout] = PromptRollout) -> None:
        crd = custom_resource_definition(replace(self.resource, model=model), versions)
        self.server("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(crd))
        served = {version.name for version in versions if version.served}
        wait_until(lambda: served <= self.served(), f"{served} to be served", 30.0, pause=0.2)

    def served(self) -> set[str]:
        found = json.loads(self.server("get", "--raw", "/apis/promptrollout.dev"))
        named = {each["version"] for each in found["versions"]}
        return {version for version in named if self._has(version)}

    def _has(self, version: str) -> bool:
        found = json.loads(self.server("get", "--raw", f"/apis/promptrollout.dev/{version}"))
        return any(each["name"] == self.plural for each in found["resources"])

    def at(self, version: str, name: str) -> dict[str, object]:
        raw = self.server("get", f"{self.plural}.{version}.promptrollout.dev", name, "-o", "json")
        found = json.loads(raw)
        assert isinstance(found, dict)
        return found

    def stored(self) -> list[str]:
        return list(
            json.loads(self.server("get", "crd", self.resource.name, "-o", "json"))["status"][
                "storedVersions"
            ]
        )


@pytest.fixture
def definition(server):
    made = Definition(server)
    yield made
    server("delete", "crd", made.resource.name)


@pytest.mark.realcluster
def test_v1beta1_is_accepted_and_objects_of_v1alpha1_stay_whole_and_readable(definition, server):
    kept = json.loads((CORPUS / "cb4e57c" / "ramp.json").read_text("utf-8"))["rollout"]
    definition.becomes(STORED)
    written = {
        "apiVersion": "promptrollout.dev/v1alpha1",
        "kind": "PromptRolloutNext",
        "metadata": {"name": "ramp", "namespace": NAMESPACE},
        "spec": kept["spec"],
    }
    server("create", "-f", "-", stdin=json.dumps(written))
    patch = ["--subresource=status", "--type=merge", "-p", json.dumps({"status": kept["status"]})]
    server("patch", definition.plural, "ramp", *patch)

    definition.becomes(OLD, NEW, model=NextRollout)
    old, new = definition.at("v1alpha1", "ramp"), definition.at("v1beta1", "ramp")
    assert (old["spec"], old["status"]) == (new["spec"], new["status"])
    assert contains(new["spec"], kept["spec"])
    assert contains(new["status"], kept["status"])

    cohort = json.dumps({"spec": {"cohort": "eu"}})
    server("patch", f"{definition.plural}.v1beta1.promptrollout.dev", "ramp", "--type=merge", "-p", cohort)
    # The operator, which still speaks v1alpha1, writes a status: what it does not know stays.
    said = json.dumps({"status": {"message": "written by the older version"}})
    through = f"{definition.plural}.v1alpha1.promptrollout.dev"
    server("patch", through, "ramp", "--subresource=status", "--type=merge", "-p", said)
    newest = definition.at("v1beta1", "ramp")
    assert newest["spec"]["cohort"] == "eu"
    assert newest["status"]["message"] == "written by the older version"
    assert contains(newest["status"], {**kept["status"], "message": "written by the older version"})
    assert definition.stored() == ["v1alpha1", "v1beta1"]


@pytest.mark.realcluster
def test_todays_definition_keeps_every_field_of_every_recorded_rollout(server):
    """Neither refused nor pruned: what an older operator stored stays, whatever the definition is upgraded to."""
    for path in sorted(CORPUS.glob("*/*.json")):
        kept = json.loads(path.read_text("utf-8"))["rollout"]
        name = f"kept-{path.parent.name}-{path.stem.replace('_', '-')}"
        server.apply(name, kept["spec"])
        server.patch_status(name, kept["status"])
        stored = server.get(name)
        assert contains(stored["spec"], kept["spec"]), path
        assert contains(stored["status"], kept["status"]), path
