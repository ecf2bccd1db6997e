"""What is said when an API server does not keep what was written."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from promptrollout.api.status import RolloutStatus
from promptrollout.cluster.mergepatch import apply_merge_patch, merge_patch
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.applying import Applier
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.parsed import Parsed
from promptrollout.controller.telemetry import Telemetry
from promptrollout.rollout import Decision


class Server:
    """Stores a status, but for the fields that its definition does not know."""

    def __init__(self, *unknown):
        self.unknown = unknown

    async def patch_status(self, observed, status):
        patch = {
            key: value
            for key, value in merge_patch(observed.status, status).items()
            if key not in self.unknown
        }
        if not patch:
            return observed
        version = str(int(observed.resource_version) + 1)
        return replace(observed, status=apply_merge_patch(observed.status, patch), resource_version=version)


class Herald:
    def __init__(self):
        self.told = []

    def tell(self, seen, note, before=None):
        self.told.append((note.type, note.reason, note.message))


@pytest.fixture
def entry():
    return Entry(RolloutObject(ObjectKey("shop", "support"), "u", 1, "1", {}, {}))


async def applied(entry, server, herald, **status):
    applier = Applier(server, lambda: datetime(2026, 11, 24, tzinfo=UTC), Telemetry(), herald)
    decision = Decision(RolloutStatus(**status))
    await applier.apply(entry, Parsed("u", 1), Children(), decision)


async def test_fields_that_an_older_definition_drops_are_named_once_with_the_cure(entry):
    server, herald = Server("verdict", "step"), Herald()
    await applied(entry, server, herald, verdict="Inconclusive", step="1/2", message="first")
    await applied(entry, server, herald, verdict="Inconclusive", step="1/2", message="second")
    (told,) = herald.told
    assert told[:2] == ("Warning", "StatusDropped")
    assert "did not keep status.step, status.verdict: its CustomResourceDefinition is older" in told[2]


async def test_a_definition_that_comes_later_is_noticed_and_an_older_one_after_it_said_again(entry):
    herald = Herald()
    await applied(entry, Server("verdict"), herald, verdict="NoData")
    await applied(entry, Server(), herald, verdict="NoData", message="kept")
    assert entry.seen.status["verdict"] == "NoData"
    await applied(entry, Server("verdict"), herald, verdict="Harmed", message="again")
    assert [reason for _, reason, _ in herald.told] == ["StatusDropped"] * 2


async def test_a_server_that_keeps_all_is_told_nothing_of(entry):
    herald = Herald()
    await applied(entry, Server(), herald, verdict="Inconclusive")
    assert herald.told == []
