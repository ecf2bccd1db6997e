"""A run to be asked about."""

from datetime import UTC, datetime

import pytest

from promptrollout.api.gates import NamedGate
from promptrollout.cluster.objects import ObjectKey, Owner
from promptrollout.gates import Run
from promptrollout.rollout import GateRequest

OWNER = Owner("promptrollout.dev/v1alpha1", "PromptRollout", "support", "uid-1")


@pytest.fixture
def run_of():
    def make(gate, id_="0123456789", stable="aaaa000000"):
        model = NamedGate.model_validate({"name": "check", **gate})
        request = GateRequest(
            id=id_,
            name="check",
            place="BeforeDelivery",
            gate=model,
            revision="bbbb000000",
            arms=(("candidate", "bbbb000000"),),
            stable=stable,
            attempt=1,
            until=datetime(2026, 11, 24, 6, 0, tzinfo=UTC),
        )
        documents = {"bbbb000000": {"text": "new"}, "aaaa000000": {"text": "old"}}
        return Run(ObjectKey("shop", "support"), OWNER, request, "support-prompt", documents)

    return make
