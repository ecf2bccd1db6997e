"""Events are told once, counted when repeated, cut when they flood, and never in the way."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.cluster.errors import Forbidden, NamespaceTerminating, NotFound, Unavailable
from promptrollout.cluster.events import (
    COMBINED,
    Count,
    EventLedger,
    EventRecorder,
    Happening,
    Tell,
    event_json,
    series_json,
    shortened,
)
from promptrollout.cluster.objects import ObjectKey, ObjectRef

START = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def about(name="support", *, version="1", reason="StepCompleted", message="step 2/5 at 5 %", kind="Normal"):
    ref = ObjectRef(
        "promptrollout.dev/v1alpha1", "PromptRollout", ObjectKey("shop", name), f"uid-{name}", version
    )
    return Happening(ref, kind, reason, message)


def test_the_first_is_told_and_a_repeat_within_a_minute_is_only_counted():
    ledger = EventLedger()
    told = ledger.record(about(), START)
    assert isinstance(told, Tell)
    assert ledger.record(about(), START + timedelta(seconds=10)) is None
    assert ledger.due(START + timedelta(seconds=20)) == []


def test_the_count_is_written_a_minute_later_into_the_same_event():
    ledger = EventLedger()
    told = ledger.record(about(), START)
    for second in (10, 20, 30):
        ledger.record(about(), START + timedelta(seconds=second))
    (count,) = ledger.due(START + MINUTE)
    assert isinstance(count, Count)
    assert (count.key, count.count, count.at) == (told.key, 4, START + timedelta(seconds=30))
    assert ledger.due(START + 2 * MINUTE) == []


def test_another_version_of_the_object_is_no_other_event():
    ledger = EventLedger()
    ledger.record(about(version="1"), START)
    assert ledger.record(about(version="2"), START) is None


def test_another_message_reason_or_object_is_another_event():
    ledger = EventLedger()
    for happening in (
        about(),
        about(message="else"),
        about(reason="Else"),
        about("other"),
        about(kind="Warning"),
    ):
        assert isinstance(ledger.record(happening, START), Tell)


def test_after_ten_quiet_minutes_it_is_told_anew():
    ledger = EventLedger()
    first = ledger.record(about(), START)
    later = START + 10 * MINUTE + timedelta(seconds=1)
    ledger.due(later)
    again = ledger.record(about(), later)
    assert isinstance(again, Tell)
    assert again.key != first.key


def test_ever_new_messages_of_one_reason_are_combined_after_ten():
    ledger = EventLedger()
    told = [ledger.record(about(message=f"pod {n} missing"), START) for n in range(40)]
    written = [tell for tell in told if isinstance(tell, Tell)]
    assert len(written) == 11
    assert written[-1].happening.message.startswith(COMBINED)
    (count,) = ledger.due(START + MINUTE)
    assert count.key == written[-1].key
    assert count.count == 30


def test_one_objects_flood_neither_passes_nor_silences_another():
    ledger = EventLedger()
    told = [ledger.record(about(reason=f"Reason{n}"), START) for n in range(80)]
    assert sum(isinstance(tell, Tell) for tell in told) == 50
    assert ledger.suppressed == 30
    assert isinstance(ledger.record(about("other"), START), Tell)


def test_a_silenced_object_may_speak_again_after_a_while():
    ledger = EventLedger()
    for n in range(60):
        ledger.record(about(reason=f"Reason{n}"), START)
    assert isinstance(ledger.record(about(reason="RolledBack"), START + MINUTE), Tell)


def test_a_clock_that_steps_back_does_no_harm():
    ledger = EventLedger()
    ledger.record(about(), START)
    assert ledger.record(about(), START - timedelta(hours=1)) is None
    assert isinstance(ledger.record(about(reason="Else"), START - timedelta(hours=1)), Tell)


def test_memory_is_bounded():
    ledger = EventLedger()
    for n in range(EventLedger.REMEMBERED + 100):
        ledger.record(about(f"r{n}"), START)
    assert len(ledger.due(START, all_of_them=True)) == 0
    assert len(ledger._series) == len(ledger._flows) == EventLedger.REMEMBERED


def test_an_event_is_what_the_api_accepts():
    tell = Tell(ObjectKey("shop", "support.1"), about(reason="R" * 200, message="ü" * 1000), START)
    body = event_json(tell, "operator-0" * 30)
    assert body["apiVersion"] == "events.k8s.io/v1"
    assert body["eventTime"] == "2026-11-23T22:00:00.000000Z"
    assert len(body["note"].encode()) <= 1024
    assert body["note"].endswith("…")
    assert len(body["reason"]) == len(body["action"]) == len(body["reportingInstance"]) == 128
    assert body["regarding"]["uid"] == "uid-support"


def test_the_name_of_an_event_stays_within_the_limit():
    told = EventLedger().record(about("a" * 253), START)
    assert len(told.key.name) <= 253


def test_a_series_says_how_often_and_when_last():
    count = Count(ObjectKey("shop", "support.1"), about(), 7, START)
    assert series_json(count) == {"series": {"count": 7, "lastObservedTime": "2026-11-23T22:00:00.000000Z"}}


def test_text_within_the_limit_is_not_touched():
    assert shortened("ü", 2) == "ü"


class Stored:
    """Events in memory; each write first meets what `answers` holds for it."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.created = []
        self.patched = []

    async def create_event(self, key, body):
        self._answer()
        self.created.append((key, body))

    async def patch_event(self, key, patch):
        self._answer()
        self.patched.append((key, patch))

    def _answer(self):
        if self.answers and (error := self.answers.pop(0)) is not None:
            raise error


class Hangs(Stored):
    async def create_event(self, key, body):
        await asyncio.Event().wait()


@pytest.fixture
def clock():
    return iter(START + n * MINUTE for n in range(100))


async def test_close_writes_what_waits_and_what_was_counted():
    stored = Stored()
    recorder = EventRecorder(stored, "operator-0", now=lambda: START)
    recorder.start()
    for _ in range(3):
        recorder.emit(about())
    await recorder.close()
    assert len(stored.created) == 1
    assert stored.patched == [
        (stored.created[0][0], series_json(Count(ObjectKey("", ""), about(), 3, START)))
    ]
    assert recorder.dropped == 0


async def test_emit_never_waits_and_never_raises_when_nobody_takes_events():
    recorder = EventRecorder(Hangs(), "operator-0", now=lambda: START, queue_size=5)
    recorder.start()
    for n in range(20):
        recorder.emit(about(f"r{n}"))
    assert recorder.dropped == 15
    await recorder.close(patience=0.01)


async def test_a_failure_costs_that_event_and_no_other(caplog):
    stored = Stored(Unavailable("create", "down"), Unavailable("create", "down"), None)
    recorder = EventRecorder(stored, "operator-0", now=lambda: START)
    recorder.start()
    for n in range(3):
        recorder.emit(about(f"r{n}"))
    await recorder.close()
    assert [key.name.split(".")[0] for key, _ in stored.created] == ["r2"]
    assert recorder.dropped == 2
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_an_event_that_was_not_written_is_told_when_it_happens_again():
    stored = Stored(Forbidden("create", "no"))
    recorder = EventRecorder(stored, "operator-0", now=lambda: START)
    recorder.start()
    recorder.emit(about())
    await recorder._queue.join()
    recorder.emit(about())
    await recorder.close()
    assert len(stored.created) == 1


async def test_the_count_of_an_event_that_has_expired_is_dropped_and_the_next_is_told_anew(clock):
    stored = Stored(None, NotFound("patch", "gone"))
    recorder = EventRecorder(stored, "operator-0", now=lambda: next(clock))
    recorder.start()
    for _ in range(2):
        recorder.emit(about())
    await recorder._queue.join()
    recorder.emit(about())
    await recorder.close()
    assert len(stored.created) == 2


async def test_a_namespace_that_is_being_deleted_is_no_complaint(caplog):
    recorder = EventRecorder(Stored(NamespaceTerminating("create", "terminating")), "o", now=lambda: START)
    recorder.start()
    recorder.emit(about())
    await recorder.close()
    assert caplog.records == []


@pytest.mark.looptime(start=0)
async def test_counts_are_written_while_nothing_else_happens():
    loop = asyncio.get_running_loop()
    stored = Stored()
    recorder = EventRecorder(stored, "o", now=lambda: START + timedelta(seconds=loop.time()))
    recorder.start()
    for _ in range(5):
        recorder.emit(about())
    await asyncio.sleep(130)
    assert [patch["series"]["count"] for _, patch in stored.patched] == [5]
    await recorder.close()
