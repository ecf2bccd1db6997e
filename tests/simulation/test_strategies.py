"""Every strategy in virtual time: shadows, A/B tests, gates, calendars, and judges that come late or not at all."""

from __future__ import annotations

import pytest

from promptrollout.api.spec import RolloutSpec
from promptrollout.simulation import (
    Course,
    CoverageWorld,
    EventWorld,
    Outcome,
    Plans,
    Report,
    ScoreWorld,
    Traffic,
    World,
    simulate,
)
from promptrollout.sources.planning import Planned, plan_of

HOUR = 3600.0
ERRORS = {"name": "errors", "preset": "sdk/errors"}
HELPFUL = {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"}
CANARY = {
    "canary": {
        "steps": [{"weight": 20, "duration": "1h"}, {"weight": 50, "until": "Evidence", "timeout": "9h"}]
    }
}
ARMS = [{"name": "control", "weight": 34}] + [
    {"name": name, "weight": 33, "prompt": {"inline": {"text": name}}} for name in ("bullets", "brief")
]


def spec_of(strategy: dict[str, object], *metrics: dict[str, object], **more: object) -> RolloutSpec:
    analysis = {
        "interval": "60s",
        "metrics": list(metrics or (ERRORS,)),
        "correlation": {"meanRequestsPerUnit": "1", "icc": "0"},
        **dict(more.pop("analysis", {})),  # type: ignore[call-overload]
    }
    prompt = {"inline": {"text": "unused: the simulation names revisions itself"}}
    return RolloutSpec.model_validate({"prompt": prompt, "strategy": strategy, "analysis": analysis, **more})


def plans_of(spec: RolloutSpec, rivals: int = 0) -> Plans:
    live = plan_of(spec.analysis, rivals)
    assert isinstance(live, Planned)
    shadow = plan_of(spec.analysis, shadow=True) if spec.strategy.shadow else None
    return Plans(live.plan, shadow.plan if isinstance(shadow, Planned) else None, live.contests)


def run(spec: RolloutSpec, world: World, runs: int = 6, rivals: int = 0, seed: int = 0) -> Report:
    return simulate(spec, plans_of(spec, rivals), world, runs=runs, seed=seed)


def shadow(then: dict[str, object] | None = None) -> dict[str, object]:
    return {"shadow": {"sample": 20, "duration": "3h", **({"then": then} if then else {})}}


@pytest.mark.parametrize(("candidate", "outcome"), [(0.8, Outcome.Promoted), (0.7, Outcome.RolledBack)])
def test_a_shadow_decides_on_pairs_and_no_user_meets_the_candidate(
    candidate: float, outcome: Outcome
) -> None:
    world = World(Traffic(2.0), {"helpful": ScoreWorld(0.8, candidate)}, seconds=6 * HOUR)
    report = run(spec_of(shadow(), HELPFUL), world)
    assert report.share(outcome).value == 1.0
    for one in report.runs:
        assert one.candidate_requests == one.bad_requests == 0.0
        assert one.shadow_runs > 100


def test_pairs_that_resemble_each_other_tell_more_than_two_arms_do() -> None:
    def waits(pairing: float) -> float:
        world = {"helpful": ScoreWorld(0.8, 0.74, pairing=pairing)}
        report = run(spec_of(shadow(), HELPFUL), World(Traffic(2.0), world, seconds=6 * HOUR), runs=8)
        assert report.share(Outcome.RolledBack).value == 1.0
        return report.endings[0].seconds.median

    assert waits(0.95) < 0.6 * waits(0.0)


def test_a_canary_after_a_shadow_finds_what_only_users_make_of_it() -> None:
    spec = spec_of(shadow(CANARY), HELPFUL)
    good = World(Traffic(5.0), {"helpful": ScoreWorld(0.8, 0.8)}, seconds=12 * HOUR)
    assert run(spec, good).share(Outcome.Promoted).value == 1.0
    turns = World(
        Traffic(5.0), {"helpful": ScoreWorld(0.8, 0.65, course=Course(onset=3.2 * HOUR))}, seconds=12 * HOUR
    )
    report = run(spec, turns)
    assert report.share(Outcome.RolledBack, "Harmed").value == 1.0
    assert all(one.seconds > 3.2 * HOUR and one.bad_requests > 0.0 for one in report.runs)


def ab_test(on_winner: str = "Promote") -> dict[str, object]:
    return {"abTest": {"arms": ARMS, "horizon": "10h", "onWinner": on_winner}}


@pytest.mark.parametrize(
    ("on_winner", "outcome", "reason"),
    [("Promote", Outcome.Promoted, "Won"), ("Hold", Outcome.Paused, "AwaitingDecision")],
)
def test_the_better_arm_of_a_test_wins(on_winner: str, outcome: Outcome, reason: str) -> None:
    better = {"brief": {"errors": EventWorld(0.1, 0.04)}}
    world = World(Traffic(5.0), {"errors": EventWorld(0.1, 0.1)}, seconds=9 * HOUR, arms=better)
    report = run(spec_of(ab_test(on_winner)), world, rivals=2)
    assert {(one.outcome, one.reason, one.arm) for one in report.runs} == {(outcome, reason, "brief")}
    assert not report.harmful


def test_a_harmful_arm_of_a_test_is_dropped_alone() -> None:
    worse = {"bullets": {"errors": EventWorld(0.1, 0.3)}}
    world = World(Traffic(5.0), {"errors": EventWorld(0.1, 0.1)}, seconds=4 * HOUR, arms=worse)
    report = run(spec_of(ab_test()), world, rivals=2)
    assert {one.dropped for one in report.runs} == {("bullets",)}
    assert report.share(Outcome.Running).value == 1.0
    assert report.to_dict()["dropped"] == {"bullets": 1.0}
    # Its users get stable again: it met them for some minutes of the four hours.
    assert all(one.bad_requests < 0.2 * one.candidate_requests for one in report.runs)


def test_conversations_keep_their_arm_when_another_is_dropped() -> None:
    worse = {"bullets": {"errors": EventWorld(0.1, 0.4)}}
    traffic = Traffic(5.0, requests_per_unit=6.0)
    world = World(traffic, {"errors": EventWorld(0.1, 0.1)}, seconds=3 * HOUR, arms=worse)
    spec = spec_of(ab_test(), analysis={"correlation": {"meanRequestsPerUnit": "6"}})
    report = run(spec, world, runs=3, rivals=2)
    assert {one.dropped for one in report.runs} == {("bullets",)}
    assert report.share(Outcome.Paused).count == 0  # no sample ratio mismatch


def test_immediate_is_over_when_the_pods_have_it() -> None:
    world = World(Traffic(5.0), {"errors": EventWorld(0.1, 0.9)}, seconds=HOUR)
    report = run(spec_of({"immediate": {}}), world, runs=2)
    assert report.share(Outcome.Promoted, "Immediate").value == 1.0
    assert report.runs[0].seconds < 60.0


def test_gates_take_the_time_that_they_take() -> None:
    gates = [
        {"name": "eval", "at": "BeforeDelivery", "webhook": {"name": "eval"}},
        {"name": "sign-off", "at": "BeforePromotion", "approval": {}},
    ]
    spec = spec_of(CANARY, gates=gates)
    world = {"errors": EventWorld(0.02, 0.02)}
    quick, slow = (
        run(spec, World(Traffic(20.0), world, seconds=20 * HOUR, gates=seconds), runs=3)
        for seconds in (0.0, 1800.0)
    )
    assert quick.share(Outcome.Promoted).value == slow.share(Outcome.Promoted).value == 1.0
    for one, other in zip(quick.runs, slow.runs, strict=True):
        assert other.seconds >= one.seconds + 1800.0


def test_weights_rise_only_when_the_calendar_is_open() -> None:
    canary = {
        "schedule": {"timeZone": "UTC", "windows": ["Mon-Fri 09:00-17:00"]},
        "steps": [{"weight": 20, "duration": "1h"}, {"weight": 50, "until": "Evidence", "timeout": "9h"}],
    }
    world = {"errors": EventWorld(0.02, 0.02)}

    def rises(day: int, hour: float) -> float:
        report = run(
            spec_of({"canary": canary}),
            World(Traffic(5.0), world, seconds=70 * HOUR, day=day, hour=hour),
            runs=1,
        )
        return report.runs[0].path[0][0]

    assert rises(0, 10.0) < 60.0
    assert rises(0, 7.0) == pytest.approx(2 * HOUR, abs=60.0)
    assert rises(4, 18.0) == pytest.approx(63 * HOUR, abs=60.0)


def judged(candidate: float, delay: float) -> World:
    metrics = {
        "helpful": ScoreWorld(0.8, 0.8, judged=0.8, candidate_judged=candidate, delay=delay),
        "helpful-coverage": CoverageWorld("helpful"),
    }
    return World(Traffic(5.0), metrics, seconds=10 * HOUR)


@pytest.mark.parametrize("delay", [0.0, 1200.0])
def test_a_judge_that_fails_on_the_candidates_answers_is_noticed_by_its_coverage(delay: float) -> None:
    spec = spec_of(CANARY, HELPFUL)
    assert run(spec, judged(0.8, delay)).share(Outcome.RolledBack).count == 0
    assert run(spec, judged(0.5, delay)).share(Outcome.RolledBack, "Harmed").value == 1.0


def test_a_candidate_alone_may_be_more_correlated() -> None:
    traffic = Traffic(5.0, requests_per_unit=8.0)
    spread = {}
    for icc in (0.0, 0.6):
        world = World(
            traffic,
            {"errors": EventWorld(0.02, 0.02, Course(candidate_icc=icc))},
            seconds=8 * HOUR,
        )
        report = run(spec_of(CANARY), world, runs=24)
        spread[icc] = report.share(Outcome.RolledBack).count
    # Taken for independent, as this spec does, what resembles itself looks like harm.
    assert spread[0.0] <= 2 < spread[0.6]
