from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.api.parse import parse_status, read_status
from promptrollout.api.status import HistoryEntry, Outcome, Phase, RolloutStatus
from tests.api.test_parse import JSON

NOON = "2026-11-23T12:00:00.000Z"

#: As version 0.1 wrote it. Never edit: later versions must read it, whole.
STORED: dict[str, object] = {
    "observedGeneration": 3,
    "phase": "Progressing",
    "message": "step 2/3 at 25%: 12m left",
    "step": "2/3",
    "weight": "25%",
    "verdict": "Inconclusive",
    "stableRevision": "aaaaaaaaaa",
    "candidateRevision": "bbbbbbbbbb",
    "stable": {"revision": "aaaaaaaaaa", "since": NOON},
    "candidate": {
        "revision": "bbbbbbbbbb",
        "attempt": 2,
        "startedAt": NOON,
        "held": 30.5,
        "progress": {
            "strategy": "canary",
            "step": 2,
            "steps": 3,
            "plan": "0123456789",
            "since": NOON,
            "held": 0.0,
        },
    },
    "delivered": {
        "sequence": 7,
        "exposure": 3,
        "salt": "5d41402abc4b2a76",
        "arms": [
            {"name": "candidate", "revision": "bbbbbbbbbb", "weight": 2500},
            {"name": "stable", "revision": "aaaaaaaaaa", "weight": 7500},
        ],
        "pins": [{"revision": "cccccccccc", "until": NOON}],
        "changedAt": NOON,
        "writtenAt": NOON,
        "acknowledged": {"pods": 4, "of": 5, "waitingFor": ["support-5"]},
    },
    "pause": {"reason": "Command", "message": "paused by command", "since": NOON},
    "analysis": {
        "verdict": "Inconclusive",
        "harm": "1.2 of 20",
        "through": NOON,
        "metrics": [{"name": "errors", "role": "Required", "verdict": "Inconclusive", "samples": 812}],
        "checkpoint": {"anything": [1, None, {"at": 2.5}]},
    },
    "rollback": {"revision": "cccccccccc", "reason": "Harmed", "message": "errors 12 %", "decidedAt": NOON},
    "lastCommand": {"id": "7", "verb": "pause", "result": "Executed", "at": NOON},
    "history": [
        {"revision": "cccccccccc", "outcome": "RolledBack", "startedAt": NOON, "endedAt": NOON},
        {"revision": "aaaaaaaaaa", "outcome": "Promoted", "startedAt": NOON, "endedAt": NOON},
    ],
    "conditions": [
        {"type": "Healthy", "status": "False", "reason": "Progressing", "lastTransitionTime": NOON}
    ],
}


def contains(whole: object, part: object) -> bool:
    """Whether all that `part` says is in `whole`, too."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(contains(whole.get(key), value) for key, value in part.items())
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(whole) == len(part)
            and all(contains(left, right) for left, right in zip(whole, part, strict=True))
        )
    return whole == part


def test_a_stored_status_is_read_whole_and_written_again():
    reading = read_status(STORED)

    assert reading.unreadable == ()
    assert contains(reading.status.to_wire(), STORED)


def test_no_status_yet_is_the_empty_status():
    assert read_status(None).status == RolloutStatus()
    assert read_status({}).unreadable == ()


def test_what_a_newer_version_remembers_is_kept_at_every_level():
    newer = {
        **STORED,
        "cohorts": {"a": 1},
        "delivered": {**dict(STORED["delivered"]), "region": "eu"},  # type: ignore[call-overload]
        "history": [
            {"revision": "c", "outcome": "Promoted", "startedAt": NOON, "endedAt": NOON, "by": "someone"}
        ],
    }

    reading = read_status(newer)

    assert reading.unreadable == ()
    assert contains(reading.status.but(step="3/3").to_wire(), {**newer, "step": "3/3"})


def test_an_outcome_of_a_newer_version_stays_in_the_history():
    status = parse_status(
        {"history": [{"revision": "c", "outcome": "Merged", "startedAt": NOON, "endedAt": NOON}]}
    )

    assert status.history[0].to_wire()["outcome"] == "Merged"
    assert status.history[0].outcome not in set(Outcome)


def test_one_unreadable_field_costs_that_field_only():
    reading = read_status({**STORED, "phase": "Confused", "observedGeneration": "many"})

    assert reading.status.phase is Phase.PENDING
    assert reading.status.delivered == parse_status(STORED).delivered
    assert [problem.path for problem in reading.unreadable] == ["status.observedGeneration", "status.phase"]


def test_what_is_worked_out_anew_keeps_nobody_from_deciding():
    conditions = [{"type": "Healthy", "status": "Perhaps", "reason": "x", "lastTransitionTime": NOON}]
    newer = {**STORED, "phase": "Meditating", "conditions": conditions, "step": ["3", "5"]}

    assert len(read_status(newer).unreadable) == 3
    assert read_status(newer).lost == ()


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({**STORED, "delivered": "all"}, "status.delivered"),
        ({**STORED, "candidate": 7}, "status.candidate"),
        ("nothing", "status"),
    ],
)
def test_what_was_served_or_tried_and_cannot_be_read_is_lost(raw: object, path: str):
    assert [problem.path for problem in read_status(raw).lost] == [path]


def test_an_optional_field_deep_inside_costs_no_more_than_itself():
    delivered = {**dict(STORED["delivered"]), "acknowledged": {"pods": "all", "of": 5}}  # type: ignore[call-overload]

    reading = read_status({**STORED, "delivered": delivered})

    assert reading.status.delivered is not None
    assert reading.status.delivered.acknowledged.pods == 0
    assert reading.status.delivered.acknowledged.of == 5
    assert [problem.path for problem in reading.unreadable] == ["status.delivered.acknowledged.pods"]


def test_what_cannot_be_without_an_unreadable_field_goes_with_it_and_is_named():
    candidate = {**dict(STORED["candidate"]), "startedAt": "yesterday"}  # type: ignore[call-overload]

    reading = read_status({**STORED, "candidate": candidate})

    assert reading.status.candidate is None
    assert reading.status.stable is not None
    assert [problem.path for problem in reading.unreadable] == ["status.candidate.startedAt"]


def test_the_readable_entries_of_a_list_stay():
    good = {"revision": "good", "outcome": "Promoted", "startedAt": NOON, "endedAt": NOON}
    bad = {"revision": 5, "outcome": "Promoted"}

    reading = read_status({"history": [bad, good, bad, "worse", good, {}]})

    assert [entry.revision for entry in reading.status.history] == ["good", "good"]
    assert len(reading.unreadable) > 0


@pytest.mark.parametrize("raw", [[], "status", 7])
def test_what_is_no_map_is_no_status_and_said(raw: object):
    reading = read_status(raw)

    assert reading.status == RolloutStatus()
    assert reading.unreadable[0].path == "status"


def test_json_too_deep_to_be_written_again_is_left_out():
    deep: object = 1
    for _ in range(5_000):
        deep = [deep]

    reading = read_status({**STORED, "weird": deep})

    assert reading.unreadable[0].path == "status.weird"
    assert contains(reading.status.to_wire(), STORED)


@given(JSON)
def test_reading_any_json_never_raises_and_can_be_written(raw: object):
    parse_status(raw).to_wire()


@given(st.sampled_from(sorted(STORED)), JSON)
def test_any_json_in_one_field_leaves_the_others_as_they_are(field: str, value: object):
    status = parse_status({**STORED, field: value})

    others = {key: value for key, value in STORED.items() if key != field}
    assert contains(status.to_wire(), others)


@given(JSON, st.sampled_from(["sequence", "arms", "salt", "changedAt", "acknowledged", "pins"]))
def test_delivered_is_never_lost_in_silence(value: object, field: str):
    delivered = {**dict(STORED["delivered"]), field: value}  # type: ignore[call-overload]

    reading = read_status({**STORED, "delivered": delivered})

    named = any(problem.path.startswith("status.delivered") for problem in reading.unreadable)
    assert named or reading.status.delivered is not None


def test_a_moment_without_zone_is_utc():
    status = parse_status({"stable": {"revision": "a", "since": "2026-11-23T12:00:00"}})

    assert status.stable is not None
    assert status.stable.since == datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1e30, "later"])
def test_a_moment_outside_any_rollout_is_unreadable(moment: object):
    reading = read_status({"stable": {"revision": "a", "since": moment}})

    assert reading.status.stable is None
    assert reading.unreadable[0].path == "status.stable.since"


def test_a_held_time_is_never_negative_nor_longer_than_any_rollout():
    def held(value: float) -> float:
        progress = {"strategy": "canary", "held": value}
        status = parse_status({"candidate": {"revision": "a", "startedAt": NOON, "progress": progress}})
        assert status.candidate is not None
        return status.candidate.progress.held

    assert held(-5.0) == 0.0
    assert held(1e300) == 3650 * 86400
    assert held(12.5) == 12.5


def test_a_status_is_never_too_long_for_the_api_server():
    entry = HistoryEntry(
        revision="a",
        outcome=Outcome.PROMOTED,
        reason="r" * 1000,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ended_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    wire = RolloutStatus(message="m" * 100_000, history=[entry] * 1000).to_wire()

    assert len(str(wire["message"])) == 8192
    assert str(wire["message"]).endswith("…")
    history = wire["history"]
    assert isinstance(history, list)
    assert len(history) == 256
    assert len(history[0]["reason"]) == 253
