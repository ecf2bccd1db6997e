"""Series followed from window to window."""

from hypothesis import given
from hypothesis import strategies as st

from promptrollout.analysis import EventCounts
from promptrollout.sources.families import CANDIDATE, STABLE, Family, Want, batches, select
from promptrollout.sources.presets import REQUESTS
from promptrollout.sources.protocol import Subject
from promptrollout.sources.strands import KEPT_FOR, PRESENT_FOR, Memory, Strand, Track, split
from tests.sources.doubles import requests, sample, series, subject

WANT = Want.of(REQUESTS.family, subject())


def grown(strand: object, arm: str = CANDIDATE) -> list[float]:
    assert isinstance(strand, Strand)
    rows = [track.deltas for track in strand.tracks if track.arm == arm]
    return [sum(column) for column in zip(*rows, strict=True)] or [0.0] * strand.windows


def test_only_the_window_right_after_can_follow() -> None:
    memory = Memory()
    assert not memory.reaches(WANT, 90)
    memory.baseline([WANT], 90, [])
    assert memory.reaches(WANT, 90)
    memory.follow([WANT], (90, 120), [])
    assert memory.reaches(WANT, 120)
    assert not memory.reaches(WANT, 90)


def test_a_late_scrape_is_counted_in_the_next_window() -> None:
    memory = Memory()
    memory.baseline([WANT], 90, [requests("c", [(85, 10)])])
    first = memory.follow([WANT], (90, 120), [requests("c", [(100, 13)])])[WANT]
    second = memory.follow([WANT], (120, 150), [requests("c", [(115, 20), (130, 21)])])[WANT]
    assert (grown(first), grown(second)) == ([3.0], [8.0])


def test_a_new_pod_whose_first_scrape_was_late_began_at_zero() -> None:
    memory = Memory()
    memory.baseline([WANT], 90, [])
    memory.follow([WANT], (90, 120), [])
    late = memory.follow([WANT], (120, 150), [requests("c", [(118, 6), (133, 7)])])[WANT]
    assert grown(late) == [7.0]


def test_another_parameter_or_candidate_is_another_memory() -> None:
    scores = Family("promptrollout_score_count", parameter="score")
    one, other = Want.of(scores, subject(), "a"), Want.of(scores, subject(), "b")
    memory = Memory()
    memory.baseline([one], 90, [])
    assert not memory.reaches(other, 90)


def test_an_arm_is_there_until_its_last_sample_is_old() -> None:
    memory = Memory()
    memory.baseline([WANT], 0, [requests("c", [(0, 1)])])
    seen = memory.follow([WANT], (0, PRESENT_FOR - 1), [])[WANT]
    gone = memory.follow([WANT], (PRESENT_FOR - 1, PRESENT_FOR + 60), [])[WANT]
    later = memory.follow([WANT], (PRESENT_FOR + 60, PRESENT_FOR + 90), [])[WANT]
    assert [s.present for s in (seen, gone, later) if isinstance(s, Strand)] == [
        frozenset([CANDIDATE]),
        frozenset([CANDIDATE]),
        frozenset(),
    ]


def test_series_that_ended_long_ago_are_forgotten() -> None:
    memory = Memory()
    memory.baseline([WANT], 0, [requests("c", [(0, 1)])])
    assert len(memory) == 1
    memory.follow([WANT], (0, KEPT_FOR + 1), [])
    assert len(memory) == 0
    memory.forget_before(KEPT_FOR + 2)
    assert not memory.reaches(WANT, KEPT_FOR + 1)


def test_a_batch_gives_each_rollout_its_own() -> None:
    others = [Want.of(REQUESTS.family, subject(key=f"shop/{i}")) for i in range(3)]
    found = [requests("c", [(1, 1)]), requests("s", [(1, 1)]), requests("x", [(1, 1)])]
    owned = [(want.subject, arm) for want, arm, _ in split([WANT, *others], found)]
    assert owned == [("shop/support", CANDIDATE), ("shop/support", STABLE)]


def test_one_custom_counter_may_serve_two_rollouts() -> None:
    family = Family.custom('own{rev="{{revision}}"}')
    wants = [Want.of(family, subject(key=key)) for key in ("shop/a", "shop/b")]
    owned = [want.subject for want, _, _ in split(wants, [series("own", [(1, 1)], rev="c" * 10)])]
    assert owned == ["shop/a", "shop/b"]


def test_a_query_names_all_rollouts_of_the_batch_escaped() -> None:
    wants = [Want.of(REQUESTS.family, subject(key=key)) for key in ("shop/b.c", "shop/a")]
    assert select(wants) == (
        'promptrollout_requests_total{rollout=~"shop/a|shop/b\\\\.c",revision=~"cccccccccc|ssssssssss"}'
    )


def test_batches_keep_to_number_and_length_and_do_not_depend_on_order() -> None:
    wants = [
        Want.of(REQUESTS.family, Subject(f"shop/r{i:03}", f"c{i:09}", f"s{i:09}", 1, 100, ()))
        for i in range(120)
    ]
    by_number = batches(wants, 50, 10**6)
    assert [len(batch) for batch in by_number] == [50, 50, 20]
    assert batches(reversed(wants), 50, 10**6) == by_number
    by_length = batches(wants, 50, 600)
    assert all(len(select(batch)) <= 600 for batch in by_length)
    assert sum(len(batch) for batch in by_length) == 120
    assert [len(batch) for batch in batches(wants[:2], 50, 1)] == [1, 1]


def test_a_name_that_a_store_drops_from_a_function_does_not_make_a_new_series() -> None:
    labels = {"rollout": "shop/support", "pod": "a"}
    family = REQUESTS.family
    assert family.identity({**labels, "__name__": family.metric}) == family.identity(labels)
    regex = Family.custom('{__name__=~"a|b",rev="{{revision}}"}')
    assert regex.identity({**labels, "__name__": "a"}) != regex.identity({**labels, "__name__": "b"})


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4), st.lists(st.integers(0, 9), min_size=1, max_size=4)
)
def test_windows_read_in_two_halves_are_the_windows(first: list[int], second: list[int]) -> None:
    one = Strand(
        len(first), (Track(CANDIDATE, {"pod": "a"}, tuple(map(float, first))),), frozenset([CANDIDATE])
    )
    two = Strand(len(second), (Track(CANDIDATE, {"pod": "b"}, tuple(map(float, second))),))
    both = one.then(two)
    assert both.windows == len(first) + len(second)
    assert grown(both) == [float(v) for v in (*first, *second)]
    assert both.present == frozenset([CANDIDATE])


def test_events_are_read_the_same_by_another_operator_process() -> None:
    """Windows replayed from memory and from a cold look back agree."""
    found = [
        requests("c", [(t, t // 7) for t in range(0, 300, 10)]),
        requests("c", [(t, (t % 130) // 5) for t in range(0, 300, 10)], pod="restarts"),
        requests("s", [(t, 3 * t) for t in range(5, 300, 10)]),
    ]
    warm = Memory()
    live = [sample(subject(), edges, found, warm).windows[0] for edges in [(60, 120), (120, 180), (180, 240)]]
    replayed = sample(subject(), (120, 180, 240), found).windows
    assert tuple(live[1:]) == replayed
    assert isinstance(live[1].metrics["errors"].candidate, EventCounts)
