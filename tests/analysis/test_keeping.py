"""Evidence as kept: what was decided can be recomputed, to the bit, however it was split, bounded or restarted."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrollout.analysis import (
    ArmClusters,
    ArmRequests,
    ClusterCounts,
    Correlation,
    EventCounts,
    Evidence,
    History,
    LateCounts,
    LineMargin,
    MetricClusters,
    Pair,
    Role,
    ScoreCounts,
    Window,
    assess,
    fold,
)
from promptrollout.analysis.encoding import (
    EncodingError,
    decode_history,
    decode_plan,
    decode_window,
    encode_history,
    encode_plan,
    encode_window,
)
from promptrollout.analysis.keeping import (
    EVIDENCE_LIMIT,
    About,
    Decided,
    figures,
    judge,
    keep,
    read,
    replay,
)
from promptrollout.analysis.ledger import (
    CHUNK_WINDOWS,
    FROM_CHECKPOINT,
    Ledger,
    decompress,
    lines,
    read_lines,
)
from promptrollout.analysis.plan import AnalysisPlan
from tests.analysis.builders import all_kinds_plan, all_kinds_seed, all_kinds_window, events_plan

ABOUT = About("shop/support", "bbbb", "aaaa", 1, "0")


def decided(plan, evidence, kind="RolledBack"):
    said = assess(plan, evidence)
    return Decided(
        kind, "Harmed", "2026-11-24T00:00:00.000Z", evidence.last_end, 1, 1000, "why", figures(said)
    )


def story(plan, seed, windows, batch=1, limit=10**9):
    """A ledger that saw `windows`, `batch` at a time."""
    evidence = Evidence.initial(plan, seed)
    ledger = Ledger.begin(plan, evidence, seed)
    for i in range(0, len(windows), batch):
        evidence = fold(plan, evidence, windows[i : i + batch])
        ledger = ledger.plus(windows[i : i + batch], evidence, limit)
    return ledger, evidence


def all_kinds(count, harm=0.0, seed=3):
    rng = np.random.default_rng(seed)
    plan = all_kinds_plan()
    past = {name: p if isinstance(p, History) else History(p) for name, p in all_kinds_seed(rng).items()}
    return plan, past, [all_kinds_window(rng, i, harm=harm) for i in range(count)]


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.tuples(numbers, numbers), st.lists(numbers, min_size=16, max_size=16), st.integers(0, 10_000))
@settings(max_examples=50)
def test_windows_survive_the_wire_to_the_bit(pair, clusters, weight):
    arm = ArmClusters(tuple(clusters), tuple(reversed(clusters)), 0.1)
    sums = MetricClusters(ClusterCounts(0.0, 60.0, arm, arm), None)
    counts = Pair(EventCounts(*pair), EventCounts(*pair), EventCounts(*pair))
    window = Window(
        1764000000.25,
        1764000030.5,
        3,
        weight,
        {"errors": counts, "s": Pair(ScoreCounts(3.0, tuple(clusters), None, pair[0]), None)},
        (LateCounts("errors", 2, counts),),
        ArmRequests(*pair, (tuple(clusters), tuple(clusters))),
        {"errors": sums},
    )
    back = decode_window(json.loads(json.dumps(encode_window(window), allow_nan=False)))
    assert back == window
    assert repr(dataclasses.asdict(back)) == repr(dataclasses.asdict(window))


def test_a_number_that_is_none_stays_one_and_is_refused_again():
    window = Window(
        0.0, 60.0, 1, 1000, {"errors": Pair(EventCounts(math.nan, 1.0), EventCounts(math.inf, 1.0))}
    )
    text = json.dumps(encode_window(window), allow_nan=False)
    back = decode_window(json.loads(text)).metrics["errors"]
    assert math.isnan(back.candidate.total)
    plan = events_plan()
    evidence = fold(plan, Evidence.initial(plan), [decode_window(json.loads(text))])
    assert evidence.rejected == 1
    assert np.isfinite(evidence.array(0)).all()


def test_plans_and_histories_survive_with_their_fingerprints():
    plan = all_kinds_plan()
    back = decode_plan(json.loads(json.dumps(encode_plan(plan))))
    assert back == plan
    assert back.fingerprints == plan.fingerprints
    past = History(EventCounts(100.0, 2.5), EventCounts(9.0, 1.0), (MetricClusters(None, None),))
    assert decode_history(json.loads(json.dumps(encode_history(past)))) == past


@pytest.mark.parametrize("harm", [0.0, 0.4])
def test_a_replay_gives_the_same_numbers_to_the_bit(harm):
    plan, seed, windows = all_kinds(40, harm)
    ledger, evidence = story(plan, seed, windows)
    files = keep(ledger, ABOUT, decided(plan, evidence))
    kept = read(files.data, files.binary)
    assert kept.windows == tuple(windows)
    (again,) = replay(kept)
    assert again.identical
    assert again.same_verdict
    assert again.assessment.verdict == assess(plan, evidence).verdict


def test_the_same_files_come_of_any_batches():
    plan, seed, windows = all_kinds(2 * CHUNK_WINDOWS)
    one, evidence = story(plan, seed, windows, batch=1)
    for batch in (3, CHUNK_WINDOWS, len(windows)):
        other, after = story(plan, seed, windows, batch=batch)
        assert after == evidence
        assert decompress(other.compressed()) == decompress(one.compressed())


def test_each_window_is_compressed_when_it_comes_and_all_together_when_they_are_written():
    plan, seed, windows = all_kinds(2 * CHUNK_WINDOWS - 1)
    ledger, _ = story(plan, seed, windows)
    assert sum(map(len, ledger.tail)) < 0.7 * len(lines(windows[CHUNK_WINDOWS:]))
    assert len(ledger.compressed()) < 0.95 * (ledger.size + sum(map(len, ledger.tail)))
    assert read_lines(decompress(ledger.compressed())) == tuple(windows)


def test_evidence_stays_within_its_bound_and_begins_at_a_checkpoint():
    plan, seed, windows = all_kinds(5 * CHUNK_WINDOWS + 7)
    ledger, evidence = story(plan, seed, windows, batch=5, limit=60_000)
    limit = 80_000
    files = keep(ledger, ABOUT, decided(plan, evidence), limit=limit)
    assert files.size <= limit < EVIDENCE_LIMIT
    kept = read(files.data, files.binary)
    assert kept.dropped
    assert 0 < len(kept.windows) < len(windows)
    (again,) = replay(kept)
    assert again.identical


def test_after_a_restart_it_begins_at_the_checkpoint():
    plan, seed, windows = all_kinds(30, harm=0.2)
    before = fold(plan, Evidence.initial(plan, seed), windows[:10])
    restored = Evidence.from_checkpoint(plan, json.loads(json.dumps(before.to_checkpoint())))
    after = fold(plan, restored, windows[10:])
    ledger = Ledger.begin(plan, restored, dropped=FROM_CHECKPOINT).plus(windows[10:], after)
    files = keep(ledger, ABOUT, decided(plan, after))
    kept = read(files.data, files.binary)
    assert kept.dropped == FROM_CHECKPOINT
    assert replay(kept)[0].identical
    assert after == fold(plan, Evidence.initial(plan, seed), windows)


def test_earlier_decisions_of_the_trial_are_in_the_later_evidence():
    plan, seed, windows = all_kinds(20, harm=0.1)
    halfway = fold(plan, Evidence.initial(plan, seed), windows[:10])
    step = decided(plan, halfway, "Step")
    ledger, evidence = story(plan, seed, windows)
    files = keep(ledger, ABOUT, decided(plan, evidence), [step])
    first, last = replay(read(files.data, files.binary))
    assert (first.decision["kind"], last.decision["kind"]) == ("Step", "RolledBack")
    assert first.identical
    assert last.identical


def test_a_forged_number_is_noticed():
    plan, seed, windows = all_kinds(10)
    ledger, evidence = story(plan, seed, windows)
    files = keep(ledger, ABOUT, decided(plan, evidence))
    lines = files.data["windows.jsonl"].splitlines()
    head = json.loads(lines[4])
    head[4]["errors"][0][2] += 1
    lines[4] = json.dumps(head)
    forged = {**files.data, "windows.jsonl": "\n".join(lines) + "\n"}
    (again,) = replay(read(forged, {}))
    assert not again.identical
    assert again.worst > 0.0


def test_other_margins_give_another_verdict():
    rng = np.random.default_rng(1)
    plan = events_plan(Role.Required)
    seed = {"errors": History(EventCounts(5000, 100))}
    windows = [
        Window(
            60.0 * i,
            60.0 * i + 60.0,
            1,
            5000,
            {"errors": Pair(EventCounts(60, int(rng.binomial(60, 0.10))), EventCounts(60, 1))},
        )
        for i in range(30)
    ]
    ledger, evidence = story(plan, seed, windows)
    assert assess(plan, evidence).verdict == "Harmed"
    files = keep(ledger, ABOUT, decided(plan, evidence))
    kept = read(files.data, files.binary)
    wide = AnalysisPlan(
        (
            dataclasses.replace(
                plan.metrics[0], margin=LineMargin(1.2, 0.3), promote_margin=LineMargin(1.4, 0.3)
            ),
        )
    )
    assert judge(kept, kept.plan).verdict == "Harmed"
    assert judge(kept, wide).verdict == "NonInferior"
    assert judge(kept, wide) == assess(wide, fold(wide, Evidence.initial(wide, seed), windows))


def test_an_edit_of_the_metrics_begins_a_new_ledger_at_what_was_known():
    plan, seed, windows = all_kinds(20)
    ledger, evidence = story(plan, seed, windows[:10])
    edited = AnalysisPlan(
        (
            dataclasses.replace(plan.metrics[0], correlation=Correlation.declared(3.0)),
            *plan.metrics[1:],
        )
    )
    aligned = evidence.aligned(edited)
    ledger = ledger.under(edited, aligned)
    after = fold(edited, aligned, windows[10:])
    ledger = ledger.plus(windows[10:], after)
    files = keep(ledger, ABOUT, decided(edited, after))
    assert replay(read(files.data, files.binary))[0].identical


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"plan.json": None}, "plan.json is missing"),
        ({"decision.json": "{"}, "decision.json"),
        ({"decision.json": '{"schema": "x"}'}, "schema"),
        ({"windows.jsonl": None}, "neither"),
        ({"windows.jsonl": "[1]\n"}, "line 1"),
        ({"plan.json": '{"metrics": 3}'}, "a list was expected"),
    ],
)
def test_what_is_no_evidence_is_refused_with_the_place(change, says):
    plan = events_plan(correlation=Correlation.independent())
    ledger, evidence = story(plan, {}, [all_kinds_window(np.random.default_rng(0), 0)])
    files = keep(ledger, ABOUT, decided(plan, evidence))
    data = {name: text for name, text in {**files.data, **change}.items() if text is not None}
    with pytest.raises(EncodingError, match=says):
        read(data, {})


def test_a_bomb_is_refused():
    with pytest.raises(EncodingError, match="more than"):
        decompress(gzip.compress(b"0" * 10_000), limit=5_000)
    with pytest.raises(EncodingError, match="gzip"):
        decompress(b"no gzip")
    with pytest.raises(EncodingError, match="too early"):
        decompress(gzip.compress(b"0" * 10_000)[:-9])
