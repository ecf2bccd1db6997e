"""Nobody sees the candidate until it has been shown not to be worse; harm ends it without a user having met it."""

from promptrollout.analysis import Verdict

A, B = "aaaa000000", "bbbb000000"
SHADOW = {"sample": 25, "budget": {"usdPerHour": "2.50", "maxConcurrent": 3}, "duration": "1h"}
THEN = {"canary": {"steps": [{"weight": 10, "duration": "10m"}, {"weight": 50, "duration": "10m"}]}}


def in_shadow(healthy, **changes):
    """The candidate runs in the shadow, loaded by all pods."""
    strategy = {"shadow": {**SHADOW, **changes}}
    return healthy(strategy=strategy).wants(B).pods_load().pods_load()


def evidence(told, verdict=Verdict.Inconclusive, **facts):
    return told.evidence(verdict, shadow=told.status.delivered.shadow is not None, **facts)


def test_the_candidate_gets_no_user_and_runs_beside_stable(healthy):
    told = in_shadow(healthy)
    assert told.served == {A: 10_000, B: 0}
    shadow = told.status.delivered.shadow
    assert (shadow.revision, shadow.sample, shadow.max_concurrent, shadow.usd_per_hour) == (
        B,
        2_500,
        3,
        "2.50",
    )
    assert told.status.step == "1/1"
    assert "in the shadow of 25%" in told.status.message
    assert all(each.shadow for each in told.decisions[-1].sampling)


def test_shown_non_inferior_it_is_promoted_when_its_time_is_over(healthy):
    told = evidence(in_shadow(healthy), Verdict.NonInferior).after("59m")
    assert told.served == {A: 10_000, B: 0}
    told.after("1m")
    assert told.served == {B: 10_000}
    assert told.status.delivered.shadow is None


def test_it_goes_on_into_a_canary_whose_evidence_begins_anew(healthy):
    told = evidence(in_shadow(healthy, then=THEN), Verdict.NonInferior).after("1h")
    assert told.served == {B: 1_000, A: 9_000}
    assert told.status.delivered.shadow is None
    assert told.status.step == "2/3"
    told.pods_load()
    assert told.status.verdict != "NonInferior"
    told.after("10m")
    assert told.status.step == "2/3", "the word on the shadow is no word on the canary"
    evidence(told, Verdict.NonInferior).after("1s")
    assert told.status.step == "3/3"


def test_harm_in_the_shadow_ends_it_and_no_user_has_met_it(healthy):
    told = evidence(in_shadow(healthy), Verdict.Harmed)
    assert told.phase == "RollingBack"
    assert told.served == {A: 10_000}
    assert told.status.delivered.shadow is None
    assert told.status.rejected.revision == B


def test_without_data_it_waits_and_says_so(healthy):
    told = evidence(in_shadow(healthy), Verdict.NoData, nothing_matched="no pairs").after("2h")
    assert told.served == {A: 10_000, B: 0}
    assert "no pairs" in told.status.message


def test_not_shown_in_time_on_inconclusive_decides(healthy):
    told = evidence(in_shadow(healthy)).after("1h")
    assert told.phase == "Paused"
    told.says("promote")
    assert told.served == {B: 10_000}


def test_an_edit_of_the_sample_reaches_the_pods_and_keeps_the_evidence(healthy):
    told = evidence(in_shadow(healthy))
    told.edits(strategy={"shadow": {**SHADOW, "sample": 50}})
    assert told.status.delivered.shadow.sample == 5_000
    assert told.status.verdict == "Inconclusive"


def test_a_canary_that_becomes_a_shadow_gives_its_weight_back(healthy):
    told = healthy().wants(B).pods_load().pods_load()
    assert told.served[B] == 100
    told.edits(strategy={"shadow": SHADOW})
    assert told.served == {A: 10_000, B: 0}
    assert told.status.delivered.shadow.revision == B


def test_abort_ends_the_shadow(healthy):
    told = in_shadow(healthy).says("abort")
    assert told.status.delivered.shadow is None
    assert told.served == {A: 10_000}
