"""Which pairs are compared: each arm with stable, and an arm that may win with each other one."""

from collections.abc import Iterator

from promptrollout.analysis import Verdict
from promptrollout.api.quantities import WHOLE
from promptrollout.api.status import ArmAnalysis, Challenger, RolloutStatus
from promptrollout.rollout.decision import Sampling
from promptrollout.rollout.delivering import acknowledged_at, on_trial
from promptrollout.rollout.observations import STABLE, Comparison
from promptrollout.rollout.strategies import ArmView
from promptrollout.rollout.turn import Turn, challengers


def in_trial(status: RolloutStatus) -> list[Challenger]:
    """Each revision that is still on trial."""
    return [arm for arm in challengers(status.candidate) if not arm.dropped] if status.candidate else []


def samplings(turn: Turn) -> tuple[Sampling, ...]:
    """The pairs to compare from now on."""
    candidate, stable, spec = turn.status.candidate, turn.status.stable, turn.spec
    delivered = turn.status.delivered
    if candidate is None or stable is None or spec is None or delivered is None:
        return ()
    if not on_trial(delivered) or not spec.analysis.metrics:
        return ()
    served: dict[str, int] = {}
    for arm in delivered.arms:
        served[arm.revision] = served.get(arm.revision, 0) + arm.weight
    revisions = {arm.name: arm.revision for arm in in_trial(turn.status)} | {STABLE: stable.revision}
    return tuple(
        Sampling(
            trial=(candidate.revision, candidate.attempt),
            candidate=revisions[arm],
            stable=revisions[against],
            exposure=delivered.exposure,
            weight=_share(served[revisions[arm]], served[revisions[against]]),
            since=acknowledged_at(turn) or delivered.changed_at,
            interval=turn.span(spec.analysis.interval),
            warm_up=turn.span(spec.analysis.warm_up),
            arm=arm,
            against=against,
            shadow=delivered.shadow is not None,
        )
        for arm, against in _pairs(turn)
    )


def arm_views(turn: Turn) -> tuple[ArmView, ...]:
    """Where each arm stands, where several are tried together."""
    candidate = turn.status.candidate
    if candidate is None or not candidate.arms:
        return ()
    said = {(each.arm, each.against): each for each in turn.comparisons}
    names = [arm.name for arm in in_trial(turn.status)]
    return tuple(
        _view(
            name,
            said.get((name, STABLE)),
            {other: said.get((name, other)) for other in names if other != name},
        )
        for name in names
    )


def _view(name: str, said: Comparison | None, rivals: dict[str, Comparison | None]) -> ArmView:
    if said is None:
        return ArmView(name, Verdict.NoData)
    lack = said.nothing_matched if said.verdict is Verdict.NoData else ""
    return ArmView(
        name,
        said.verdict,
        better=said.better is not None and said.better.reached,
        evidence=said.better.log_e if said.better else 0.0,
        rivals={other: each.verdict for other, each in rivals.items() if each is not None},
        outlook=lack or said.outlook,
    )


def _share(one: int, other: int) -> int:
    return round(WHOLE * one / (one + other)) if one + other else 0


def _pairs(turn: Turn) -> Iterator[tuple[str, str]]:
    names = [arm.name for arm in in_trial(turn.status)]
    for name in names:
        yield name, STABLE
    for finalist in names:
        if _may_win(turn, finalist):
            yield from ((finalist, other) for other in names if other != finalist)


def _may_win(turn: Turn, name: str) -> bool:
    """Whether it has once been shown non-inferior and better: from then on it is compared with the other arms too."""
    if any(each.arm == name and each.against != STABLE for each in _analyses(turn)):
        return True
    return any(
        said.arm == name
        and said.against == STABLE
        and said.verdict is Verdict.NonInferior
        and said.better is not None
        and said.better.reached
        for said in turn.comparisons
    )


def _analyses(turn: Turn) -> list[ArmAnalysis]:
    return turn.status.analysis.arms if turn.status.analysis else []
