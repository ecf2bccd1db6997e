"""The table of Events against the code: each reason that is told stands in it, and each in it is told."""

import ast
import re
from pathlib import Path

import pytest

import promptrollout
from promptrollout.api.reasons import ABOUT_CHANNELS, REASONS, TOLD
from promptrollout.api.status import Phase, RolloutStatus
from promptrollout.rollout import standing
from promptrollout.rollout.announcing import announcements
from promptrollout.rollout.diagram import EVENTS, events_page

CODE = Path(promptrollout.__file__).parent
#: The methods and the class that make an Event, and which argument is its reason and which its type.
MAKERS = {"note": (0, None), "warn": (0, None), "Note": (1, 0), "emit": (2, 1)}
CONSTANTS = {"INCONCLUSIVE": standing.INCONCLUSIVE}


def told_in_code():
    """(reason, type) of everything that the code tells; a type of None may be either."""
    found = set()
    for file in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in MAKERS and len(node.args) > 1:
                    found |= _reasons(name, node)
    return found


def _reasons(name, call):
    place, type_place = MAKERS[name]
    kinds = {"note": "Normal", "warn": "Warning"}
    kind = kinds.get(name) or getattr(call.args[type_place], "value", None)
    if name == "note" and len(call.args) > 2:
        kind = None
    reasons = [
        CONSTANTS.get(part.id) if isinstance(part, ast.Name) else part.value
        for part in _parts(call.args[place])
    ]
    return {(reason, kind) for reason in reasons if isinstance(reason, str)}


def _parts(argument):
    if isinstance(argument, ast.IfExp):
        return [argument.body, argument.orelse]
    return [argument] if isinstance(argument, ast.Constant | ast.Name) else []


def test_every_reason_that_is_told_stands_in_the_table_and_the_other_way_round():
    assert {reason for reason, _ in told_in_code()} == set(REASONS)


def test_every_reason_has_the_types_that_the_table_says():
    for reason, kind in told_in_code():
        allowed = REASONS[reason].types
        assert kind in allowed if kind else allowed == ("Normal", "Warning"), reason


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_is_camel_case_and_a_warning_says_what_to_do(name):
    reason = REASONS[name]
    assert re.fullmatch(r"([A-Z][a-z]+)+", name)
    assert len(reason.when.split()) > 2
    assert reason.cure or "Warning" not in reason.types


def test_the_page_is_the_table():
    assert EVENTS.read_text() == events_page()


def test_no_channel_is_told_of_channels():
    assert not TOLD & ABOUT_CHANNELS


def status(phase, message="", **conditions):
    return RolloutStatus.model_validate(
        {
            "phase": phase,
            "message": message,
            "conditions": [
                {
                    "type": kind,
                    "status": truth,
                    "reason": reason,
                    "message": said,
                    "lastTransitionTime": "2026-11-24T10:00:00Z",
                }
                for kind, (truth, reason, said) in conditions.items()
            ],
        }
    )


def told(before, after):
    return [(note.reason, note.message) for note in announcements(before, after)]


INVALID = status("Invalid", "spec.a: is wrong", Valid=("False", "Invalid", "spec.a: is wrong"))
HEALTHY = status("Healthy", "revision a serves all", Valid=("True", "Valid", ""))


def test_a_spec_that_cannot_be_followed_is_told_with_its_path_and_so_is_the_next_mistake():
    other = status("Invalid", "spec.b: is wrong", Valid=("False", "Invalid", "spec.b: is wrong"))
    assert told(HEALTHY, INVALID) == [("Invalid", "spec.a: is wrong")]
    assert told(INVALID, INVALID) == []
    assert told(INVALID, other) == [("Invalid", "spec.b: is wrong")]
    assert [reason for reason, _ in told(INVALID, HEALTHY)] == ["Valid"]


def test_pods_that_are_late_are_told_once():
    def late(said):
        return status("Delivering", Delivered=("False", "AcknowledgementOverdue", said))

    on_time = status("Delivering", Delivered=("False", "AwaitingAcknowledgement", ""))
    assert told(on_time, late("waiting for a")) == [
        ("PodsOverdue", "delivery.acknowledge.timeout is over: waiting for a; look at those pods")
    ]
    assert told(late("waiting for a, b"), late("waiting for a")) == []


def test_metrics_that_are_back_are_told():
    blind = status("Progressing", MetricsAvailable=("False", "SourceError", "HTTP 503"))
    seeing = status("Progressing", MetricsAvailable=("True", "Read", ""))
    assert [reason for reason, _ in told(blind, seeing)] == ["MetricsAvailable"]
    assert told(seeing, seeing) == []


@pytest.mark.parametrize("phase", list(Phase))
def test_the_end_is_told_when_the_pods_have_it(phase):
    reasons = [reason for reason, _ in told(status(phase), HEALTHY)]
    assert ("Completed" in reasons) == (phase in {Phase.DELIVERING, Phase.DEGRADED})
