"""Taking the analysis' word into the status, and knowing when there is none."""

from datetime import timedelta

from promptrollout.api.quantities import format_duration
from promptrollout.api.status import AnalysisStatus
from promptrollout.rollout.delivering import candidate_weight
from promptrollout.rollout.turn import Turn

#: How old a checkpoint may get before the next status write carries a new one.
CHECKPOINT_AGE = timedelta(minutes=3)
#: How late a window may be read (on top of two intervals) before steps wait for it.
READING_SLACK = timedelta(seconds=10)


def record_comparison(turn: Turn) -> None:
    """Numbers and verdict into status; the checkpoint only when it is old, since it is large."""
    seen = turn.comparison
    if seen is None:
        return
    old = turn.status.analysis or AnalysisStatus()
    if seen.unreadable:
        since = old.unavailable_since or turn.now
        if old.unavailable_since is None:
            turn.warn("MetricsUnavailable", f"{seen.unreadable}; the rollout holds")
        turn.set(analysis=old.but(unavailable_since=since, unavailable=seen.unreadable))
        return
    if old.through is not None and seen.through < old.through:
        return
    fresh = old.but(
        verdict=seen.verdict.value,
        harm=seen.harm,
        through=seen.through,
        metrics=list(seen.metrics),
        unavailable_since=None,
        unavailable="",
    )
    stale = old.checkpoint_through is None or seen.through - old.checkpoint_through >= CHECKPOINT_AGE
    if seen.state is not None and stale:
        fresh = fresh.but(checkpoint=seen.state.to_checkpoint(), checkpoint_through=seen.through)
    turn.set(analysis=fresh)


def refresh_checkpoint(turn: Turn) -> None:
    """A new checkpoint now: at each change of weights, so that no stratum is ever split over a restart."""
    seen, analysis = turn.comparison, turn.status.analysis
    if seen and analysis and seen.state is not None and not seen.unreadable:
        turn.set(
            analysis=analysis.but(checkpoint=seen.state.to_checkpoint(), checkpoint_through=seen.through)
        )


def metrics_problem(turn: Turn) -> str:
    """Why the metrics cannot be read, as a phrase; empty if they can."""
    analysis = turn.status.analysis
    if analysis is None or analysis.unavailable_since is None:
        return ""
    since = format_duration(turn.now - analysis.unavailable_since)
    return f"metrics cannot be read (for {since}): {analysis.unavailable}"


def reading_behind(turn: Turn) -> str:
    """What has yet to be read before a step may rest on the data, as a sentence; empty if nothing."""
    spec, seen = turn.spec, turn.comparison
    if turn.strategy is None or not turn.strategy.compares:
        return ""
    if spec is None or not spec.analysis.metrics or candidate_weight(turn.status.delivered) == 0:
        return ""
    limit = 2 * turn.span(spec.analysis.interval) + READING_SLACK
    if seen is None:
        turn.wake(turn.now + limit)
        return "the first window has not been read yet"
    behind = turn.now - seen.through
    if behind <= limit:
        return ""
    turn.wake(turn.now + limit)
    return f"windows of the last {format_duration(behind)} are still to be read before the next step"
