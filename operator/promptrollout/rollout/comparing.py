"""Taking the analysis' word into the status, and knowing when there is none."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from promptrollout.analysis import Verdict
from promptrollout.api.quantities import format_duration
from promptrollout.api.status import AnalysisStatus, ArmAnalysis, ComparisonStatus, RolloutStatus
from promptrollout.rollout.decision import Sampling
from promptrollout.rollout.delivering import on_trial
from promptrollout.rollout.observations import STABLE, Comparison
from promptrollout.rollout.turn import Turn, challengers

#: How old a checkpoint may get before the next status write carries a new one.
CHECKPOINT_AGE = timedelta(minutes=3)
#: How late a window may be read (on top of two intervals) before steps wait for it.
READING_SLACK = timedelta(seconds=10)
#: Of several arms the best word stands for all of them.
_BEST_FIRST = [v.value for v in (Verdict.NonInferior, Verdict.Inconclusive, Verdict.Harmed, Verdict.NoData)]

_ComparisonT = TypeVar("_ComparisonT", bound=ComparisonStatus)


def record_comparisons(turn: Turn) -> None:
    """Numbers and verdicts into status; the checkpoints only when they are old, since they are large."""
    candidate = turn.status.candidate
    if candidate is None or not turn.comparisons:
        return
    blind = turn.status.analysis.unavailable_since if turn.status.analysis else None
    if candidate.arms:
        _record_arms(turn)
    else:
        analysis = turn.status.analysis or AnalysisStatus()
        turn.set(analysis=_recorded(turn, analysis, turn.comparisons[0]))
    now_blind = turn.status.analysis
    if blind is None and now_blind and now_blind.unavailable_since is not None:
        turn.warn("MetricsUnavailable", f"{now_blind.unavailable}; the weights stand until they can be read")


def _record_arms(turn: Turn) -> None:
    """Each comparison by itself, and all in sum: the best verdict, and whether any cannot be read."""
    analysis = turn.status.analysis or AnalysisStatus()
    known = {(each.arm, each.against): each for each in analysis.arms}
    live = [_recorded_arm(turn, known.get((said.arm, said.against)), said) for said in turn.comparisons]
    known |= {(each.arm, each.against): each for each in live}
    verdicts = [each.verdict for each in live if each.against == STABLE and each.verdict in _BEST_FIRST]
    blind = [each for each in live if each.unavailable_since is not None]
    turn.set(
        analysis=analysis.but(
            arms=list(known.values()),
            verdict=min(verdicts, key=_BEST_FIRST.index, default=analysis.verdict),
            through=min((each.through for each in live if each.through), default=analysis.through),
            unavailable_since=min((e.unavailable_since for e in blind if e.unavailable_since), default=None),
            unavailable="; ".join(dict.fromkeys(each.unavailable for each in blind)),
        )
    )


def _recorded_arm(turn: Turn, old: ArmAnalysis | None, seen: Comparison) -> ArmAnalysis:
    fresh = _recorded(turn, old or ArmAnalysis(arm=seen.arm, against=seen.against), seen)
    return fresh.but(better=seen.better.text) if seen.better else fresh


def _recorded(turn: Turn, old: _ComparisonT, seen: Comparison) -> _ComparisonT:
    if seen.unreadable:
        return old.but(unavailable_since=old.unavailable_since or turn.now, unavailable=seen.unreadable)
    if old.through is not None and seen.through < old.through:
        return old
    fresh = old.but(
        verdict=seen.verdict.value,
        harm=seen.harm,
        through=seen.through,
        metrics=list(seen.metrics),
        unavailable_since=None,
        unavailable="",
    )
    stale = old.checkpoint_through is None or seen.through - old.checkpoint_through >= CHECKPOINT_AGE
    return _with_checkpoint(fresh, seen) if stale else fresh


def _with_checkpoint(analysis: _ComparisonT, seen: Comparison | None) -> _ComparisonT:
    if seen is None or seen.state is None or seen.unreadable:
        return analysis
    return analysis.but(checkpoint=seen.state.to_checkpoint(), checkpoint_through=seen.through)


def refresh_checkpoints(turn: Turn) -> None:
    """New checkpoints now: at each change of weights, so that no stratum is ever split over a restart."""
    analysis = turn.status.analysis
    if analysis is None:
        return
    if not analysis.arms:
        turn.set(analysis=_with_checkpoint(analysis, turn.comparison))
        return
    said = {(each.arm, each.against): each for each in turn.comparisons}
    arms = [_with_checkpoint(each, said.get((each.arm, each.against))) for each in analysis.arms]
    turn.set(analysis=analysis.but(arms=arms))


def checkpoint_of(status: RolloutStatus, pair: Sampling) -> tuple[Mapping[str, object], datetime] | None:
    """Where the comparison of this pair can go on after a restart: the evidence, and up to when it was read."""
    analysis = status.analysis
    if analysis is None:
        return None
    arms = [each for each in analysis.arms if (each.arm, each.against) == (pair.arm, pair.against)]
    found = next(iter(arms), None) if analysis.arms else analysis
    if found is None or not found.checkpoint or found.checkpoint_through is None:
        return None
    return found.checkpoint, found.checkpoint_through


def forget_checkpoints(turn: Turn) -> None:
    """The trial is over: what its evidence was stays, from where to go on is not needed any more."""
    if analysis := turn.status.analysis:
        arms = [each.but(checkpoint=None) for each in analysis.arms]
        turn.set(analysis=analysis.but(checkpoint=None, arms=arms))


def metrics_problem(turn: Turn) -> str:
    """Why the metrics cannot be read, as a phrase; empty if they can."""
    analysis = turn.status.analysis
    if analysis is None or analysis.unavailable_since is None:
        return ""
    since = format_duration(turn.now - analysis.unavailable_since)
    return f"metrics cannot be read (for {since}): {analysis.unavailable}"


def reading_behind(turn: Turn) -> str:
    """What has yet to be read before a step may rest on the data, as a sentence; empty if nothing."""
    spec = turn.spec
    if turn.strategy is None or not turn.strategy.compares:
        return ""
    if spec is None or not spec.analysis.metrics or not on_trial(turn.status.delivered):
        return ""
    limit = 2 * turn.span(spec.analysis.interval) + READING_SLACK
    through = _read_through(turn)
    if through is None:
        turn.wake(turn.now + limit)
        return "the first window has not been read yet"
    behind = turn.now - through
    if behind <= limit:
        return ""
    turn.wake(turn.now + limit)
    return f"windows of the last {format_duration(behind)} are still to be read before the next step"


def _read_through(turn: Turn) -> datetime | None:
    """Up to when the windows of all pairs have been read; None before the first."""
    said = {each.arm: each.through for each in turn.comparisons if each.against == STABLE}
    live = [] if turn.status.candidate is None else challengers(turn.status.candidate)
    if any(arm.name not in said for arm in live if not arm.dropped):
        return None
    return min((each.through for each in turn.comparisons), default=None)
