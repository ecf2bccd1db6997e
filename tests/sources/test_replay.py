"""Recordings: exact, and a source of their own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrollout.analysis import counts as c
from promptrollout.sources.protocol import LoadedBy, MetricQuery, NoData, Reason, Sample, SourceError, Subject
from promptrollout.sources.recording import Recording
from promptrollout.sources.replay import RecordedSource, Recorder
from tests.sources.doubles import ERRORS, requests, sample, subject

numbers = st.floats(0, 1e12)
nodes = st.tuples(*[numbers] * 21)
counts = st.one_of(
    st.builds(c.EventCounts, numbers, numbers),
    st.builds(
        c.ScoreCounts, numbers, st.one_of(st.just(()), nodes), st.none() | numbers, st.none() | numbers
    ),
    st.builds(c.HistogramCounts, st.lists(numbers).map(tuple)),
    st.builds(c.SumCounts, numbers, numbers, st.none() | numbers),
    st.builds(c.PairedCounts, numbers, numbers, numbers, numbers, numbers),
)
events = st.builds(c.EventCounts, numbers, numbers)
pairs = st.builds(c.Pair, counts, st.none() | counts, st.none() | events, st.none() | events)
clusters = st.lists(numbers, max_size=3).map(tuple)
arms = st.builds(c.ArmClusters, clusters, clusters, st.none() | numbers)
sums = st.builds(c.ClusterCounts, numbers, numbers, arms, st.none() | arms)
windows = st.builds(
    c.Window,
    start=numbers,
    end=numbers,
    exposure=st.integers(0, 9),
    weight=st.integers(0, 10_000),
    metrics=st.dictionaries(st.text(max_size=5), pairs, max_size=3),
    late=st.lists(st.builds(c.LateCounts, st.text(max_size=5), st.integers(0, 9), pairs), max_size=2).map(
        tuple
    ),
    requests=st.none()
    | st.builds(c.ArmRequests, numbers, numbers, st.none() | st.tuples(clusters, clusters)),
    clusters=st.dictionaries(
        st.text(max_size=5), st.builds(c.MetricClusters, st.none() | sums, st.none() | sums), max_size=2
    ),
)
problems = st.one_of(
    st.builds(SourceError, st.sampled_from(Reason), st.text(max_size=9)),
    st.builds(NoData, st.text(max_size=9), st.sampled_from(["candidate", "stable", "both"])),
)


@given(st.lists(windows, max_size=3), problems, numbers)
def test_a_recording_is_the_same_after_text(
    some: list[c.Window], problem: NoData | SourceError, at: float
) -> None:
    recording = Recording(
        windows={"shop/x": tuple(some)},
        history={"shop/x": {"errors": c.History(c.EventCounts(5, 1)), "other": problem}},
        loaded={"shop/x": (LoadedBy("shop", "a", "i", 7, "h", at),)},
        problems={"shop/x": ((at, "errors", problem),)},
    )
    assert Recording.from_json(recording.to_json()) == recording


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        '{"@": "Nothing"}',
        '{"@": "Window"}',
        '{"@": "SourceError", "reason": "Bored", "message": ""}',
        '{"@": "Recording", "more": 1}',
        "[" * 100_000,
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own errors among them
        Recording.from_json(text)


FOUND = [
    requests("c", [(t, t / 10) for t in range(0, 130, 10)]),
    requests("s", [(t, t) for t in range(0, 130, 10)]),
]


class Live:
    """A source over fixed series."""

    async def sample(
        self, subjects: list[Subject], start: float, end: float, interval: float | None = None
    ) -> dict[str, Sample]:
        return {s.key: sample(s, (start, end), FOUND) for s in subjects}

    async def acknowledgements(self, rollouts: list[str]) -> dict[str, tuple[LoadedBy, ...]]:
        return {rollout: (LoadedBy("shop", "a", "i", 7, "h", 1.0),) for rollout in rollouts}

    async def history(self, subject: Subject, start: float, end: float) -> dict[str, object]:
        return {"errors": c.History(c.EventCounts(100, 2))}

    async def close(self) -> None:
        """Nothing to close."""


async def recorded() -> Recording:
    recorder = Recorder(Live())  # type: ignore[arg-type]
    for start in (0, 30, 60):
        await recorder.sample([subject()], start, start + 30)
    await recorder.sample([subject()], 60, 90)
    await recorder.history(subject(), 0, 1)
    await recorder.acknowledgements(["shop/support"])
    return recorder.recording


async def test_what_was_recorded_comes_again() -> None:
    recording = await recorded()
    source = RecordedSource(Recording.from_json(recording.to_json()))
    answer = (await source.sample([subject()], 0, 90, 30))["shop/support"]
    assert answer == Sample(recording.windows["shop/support"])
    assert [w.end for w in answer.windows] == [30, 60, 90]
    assert answer.windows[0].metrics["errors"].stable == c.EventCounts(30, 0)
    assert await source.history(subject(), 5, 6) == {"errors": c.History(c.EventCounts(100, 2))}
    assert await source.acknowledgements(["shop/support", "x/y"]) == {
        "shop/support": (LoadedBy("shop", "a", "i", 7, "h", 1.0),),
        "x/y": (),
    }


async def test_only_the_time_asked_for_is_answered() -> None:
    source = RecordedSource(await recorded())
    answer = (await source.sample([subject()], 30, 60))["shop/support"]
    assert [(w.start, w.end) for w in answer.windows] == [(30, 60)]


async def test_after_its_end_a_recording_is_unavailable() -> None:
    source = RecordedSource(await recorded())
    answers = await source.sample([subject(), subject(key="x/y")], 90, 120)
    reasons = {key: a.unreadable.reason for key, a in answers.items() if a.unreadable}
    assert reasons == {"shop/support": Reason.UNAVAILABLE, "x/y": Reason.UNAVAILABLE}
    assert all(a.windows == () for a in answers.values())


async def test_a_metric_that_was_not_recorded_has_no_data() -> None:
    source = RecordedSource(await recorded())
    answer = (await source.sample([subject(ERRORS, MetricQuery("new", preset="sdk/latency"))], 0, 30))[
        "shop/support"
    ]
    assert answer.problems == {"new": NoData("new", "both")}


async def test_troubles_are_recorded_too() -> None:
    recorder = Recorder(RecordedSource(await recorded()))
    await recorder.sample([subject()], 60, 90)
    await recorder.sample([subject()], 90, 120)
    again = RecordedSource(Recording.from_json(recorder.recording.to_json()))
    first = (await again.sample([subject()], 60, 90))["shop/support"]
    second = (await again.sample([subject()], 90, 120))["shop/support"]
    assert len(first.windows) == 1
    assert not first.problems
    assert second.unreadable == SourceError(Reason.UNAVAILABLE, "the recording of shop/support ends at 90")


async def test_a_recording_keeps_the_latest_windows_only() -> None:
    recorder = Recorder(Live(), most=2)  # type: ignore[arg-type]
    for start in (0, 30, 60):
        await recorder.sample([subject()], start, start + 30)
    assert [w.end for w in recorder.recording.windows["shop/support"]] == [60, 90]
    json.loads(recorder.recording.to_json())
