"""`flagd.json` by the real OpenFeature provider for Python and by the flagd server's own engine.

The same arm for the same unit as the SDK and the operator.
The provider for Node is tried by sdk/typescript/tests/flagd.test.ts on the same kind of file.
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from e2e.controlplane.binaries import find
from promptrollout.delivery import ArmWeight, Payload, arm_of, bucket_of, render
from promptrollout.revision import seal

REVISIONS = [seal({"text": f"prompt {name}"}) for name in ("new", "other", "old")]
DOCUMENTS = {r.short: r.document for r in REVISIONS}
ARMS = tuple(
    ArmWeight(name, r.short, weight)
    for name, r, weight in zip(("candidate", "b", "stable"), REVISIONS, (500, 2000, 7500), strict=True)
)
PAYLOAD = Payload("shop/support-answer", 7, 3, unit="conversation", salt="abc", arms=ARMS)
FLAG = "support-answer"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    file: Path = tmp_path_factory.mktemp("flagd") / "flagd.json"
    file.write_text(render(PAYLOAD, DOCUMENTS, flagd=True)["flagd.json"])
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(file), deadline_ms=10_000
    )
    api.set_provider_and_wait(provider, domain="test-flagd")
    yield api.get_client(domain="test-flagd")
    api.clear_providers()


def test_each_unit_gets_the_arm_that_the_sdk_gives_it(client):
    for i in range(2000):
        bucket = bucket_of(PAYLOAD.salt, f"user-{i}")
        context = EvaluationContext(targeting_key=f"user-{i}", attributes={"bucket": bucket})
        found = client.get_string_details(FLAG, "none", context)
        owner = arm_of(PAYLOAD.arms, bucket)
        assert (found.variant, found.value, found.error_code) == (owner.name, owner.revision, None)


@pytest.mark.parametrize("bucket", [0, 499, 500, 2499, 2500, 9999])
def test_the_edges_of_the_ranges(client, bucket):
    found = client.get_string_details(FLAG, "none", EvaluationContext(attributes={"bucket": bucket}))
    assert found.variant == arm_of(PAYLOAD.arms, bucket).name


def test_without_a_bucket_everyone_gets_stable(client):
    assert client.get_string_value(FLAG, "none", EvaluationContext("user-1")) == ARMS[-1].revision


def test_the_flag_says_whose_it_is_and_with_which_salt_to_compute_the_bucket(client):
    metadata = client.get_string_details(FLAG, "none").flag_metadata
    assert (metadata["rollout"], metadata["salt"]) == (PAYLOAD.rollout, "abc")


def test_flagd_json_is_there_when_asked_for_only():
    assert "flagd.json" not in render(PAYLOAD, DOCUMENTS)
    one = replace(PAYLOAD, arms=(ArmWeight("stable", REVISIONS[2].short, 10_000),))
    assert "flagd.json" in render(one, DOCUMENTS, flagd=True)


@pytest.mark.realcluster
@pytest.mark.timeout(600)  # the first time it is built
def test_the_engine_of_the_flagd_server_gives_each_unit_the_same_arm(tmp_path):
    program = find(["flagd-evaluator"])["flagd-evaluator"]
    file = tmp_path / "flagd.json"
    file.write_text(render(PAYLOAD, DOCUMENTS, flagd=True)["flagd.json"])
    units = [f"user-{i}" for i in range(2000)]
    buckets = [0, 499, 500, 2499, 2500, 9999, *(bucket_of(PAYLOAD.salt, unit) for unit in units)]
    contexts = [*({"bucket": bucket} for bucket in buckets), {"targetingKey": "user-1"}]
    asked = "".join(f"{json.dumps(one)}\n" for one in contexts)
    command = [program, file, FLAG]
    said = subprocess.run(  # noqa: S603 - our own program
        command, input=asked, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    found = [json.loads(line) for line in said.splitlines()]
    owners = [*(arm_of(PAYLOAD.arms, bucket) for bucket in buckets), PAYLOAD.arms[-1]]
    assert [(one["variant"], one["value"], one["error"]) for one in found] == [
        (owner.name, owner.revision, "") for owner in owners
    ]
