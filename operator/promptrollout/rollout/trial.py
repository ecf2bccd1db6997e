"""A candidate on trial: roll back on harm, hold while blind, otherwise do what the strategy says."""

from dataclasses import asdict
from datetime import datetime, timedelta

from promptrollout.analysis import Verdict
from promptrollout.api.quantities import format_weight
from promptrollout.api.spec import OnInconclusive
from promptrollout.api.status import Candidate, Progress, ShadowRun
from promptrollout.rollout.comparing import (
    metrics_problem,
    reading_behind,
    record_comparisons,
    refresh_checkpoints,
)
from promptrollout.rollout.contest import arm_views, in_trial
from promptrollout.rollout.delivering import (
    acknowledged_at,
    arms_of,
    candidate_weight,
    describe_waiting,
    overdue,
    running_pins,
    serve,
)
from promptrollout.rollout.ending import drop, promote, roll_back
from promptrollout.rollout.following import named
from promptrollout.rollout.gateplan import step_gate
from promptrollout.rollout.gating import pass_gates, promotion_gates, run_before_delivery, stands_for_gate
from promptrollout.rollout.observations import STABLE
from promptrollout.rollout.standing import (
    DECISION,
    INCONCLUSIVE,
    METRICS,
    MISMATCH,
    REJUDGED,
    elapsed,
    hold_clock,
    pause,
    release_clock,
    unpause,
)
from promptrollout.rollout.strategies import Advance, Ask, Finish, Move, Split, Strategy, Undecided, View
from promptrollout.rollout.turn import Turn


def heed_analysis(turn: Turn) -> None:
    """Take the numbers into the status; on harm roll back, whatever else is the matter (also with the spec).

    Of several arms the harmed one is dropped, and what is rolled back is the last.
    """
    record_comparisons(turn)
    for said in turn.comparisons:
        if said.against != STABLE or said.verdict is not Verdict.Harmed:
            continue
        why = said.harm_reason or "the evidence says that it harms"
        if len(in_trial(turn.status)) > 1:
            drop(turn, said, "Harmed", why)
        else:
            roll_back(turn, "Harmed", why)


def run_trial(turn: Turn) -> None:
    """One turn of a candidate's trial."""
    strategy = turn.strategy
    if turn.status.candidate is None or strategy is None:
        return
    follow_edit(turn, strategy)
    if _past_deadline(turn, strategy):
        return
    if turn.status.candidate.undelivered:
        run_before_delivery(turn)
        return
    loaded_at = acknowledged_at(turn)
    if loaded_at is None:
        _await_pods(turn)
        return
    _start_clock(turn, loaded_at)
    _count_anew(turn)
    if _stands_still(turn, strategy) or not _gate_of_step_passed(turn, strategy):
        return
    if promoting := turn.status.candidate.promoting:
        _promote_past_gates(turn, "Command", "promoted by command from the last step", promoting)
        return
    _apply(turn, strategy, strategy.next(view_of(turn)))


def _gate_of_step_passed(turn: Turn, strategy: Strategy) -> bool:
    step = turn.status.candidate.progress.step if turn.status.candidate else 0
    gate = strategy.gate(step)
    return gate is None or pass_gates(turn, (step_gate(gate, step),))


def _promote_past_gates(turn: Turn, reason: str, message: str, arm: str) -> None:
    """Promote when the gates before promotion have passed."""
    if pass_gates(turn, promotion_gates(turn)):
        if reason == INCONCLUSIVE:
            turn.note(INCONCLUSIVE, message)
        promote(turn, reason, message, arm)


def view_of(turn: Turn) -> View:
    """Where the trial stands, for the strategy."""
    candidate, spec, seen = turn.status.candidate, turn.spec, turn.comparison
    if candidate is None or spec is None or turn.strategy is None:
        raise ValueError("there is no candidate on trial")
    verdict = seen.verdict if seen else Verdict.NoData
    outlook = seen.outlook if seen else ""
    return View(
        # A status may have been edited by hand.
        step=min(max(candidate.progress.step, 0), turn.strategy.steps),
        weight=candidate_weight(turn.status.delivered),
        elapsed=elapsed(candidate.progress, turn.now),
        verdict=verdict,
        samples=max(seen.samples - candidate.progress.answered, 0) if seen else 0,
        compares=bool(spec.analysis.metrics),
        outlook=(seen.nothing_matched or outlook) if seen and verdict is Verdict.NoData else outlook,
        arms=arm_views(turn),
    )


def _answered(turn: Turn) -> int:
    """The candidate's answers since the trial began, as far as they have been read."""
    said, known = turn.comparison, turn.status.analysis
    if said and not said.unreadable:
        return said.samples
    return max((metric.samples for metric in known.metrics), default=0) if known else 0


def advance(turn: Turn, strategy: Strategy, to: Advance | Split) -> None:
    """Record the step and give the candidate (or each arm) its weight, in the same status."""
    unpause(turn)
    release_clock(turn)
    candidate, stable = turn.status.candidate, turn.status.stable
    if candidate is None or stable is None:
        return
    progress = Progress(strategy=strategy.name, step=to.step, steps=strategy.steps, plan=strategy.digest())
    turn.set(candidate=candidate.but(progress=progress))
    mirror = to.mirror if isinstance(to, Advance) else None
    if mirror is None and turn.status.delivered and turn.status.delivered.shadow:
        turn.set(analysis=None)  # what nobody has seen says nothing of what users make of it
    refresh_checkpoints(turn)
    shadow = ShadowRun(revision=candidate.revision, **asdict(mirror)) if mirror else None
    serve(turn, arms_of(stable.revision, candidate, to.weights), pins=running_pins(turn), shadow=shadow)
    if acknowledged_at(turn) is not None and (served := turn.status.candidate):
        # The weight has not changed, so its loading is long ago: this step's time begins now.
        _begin_step(turn, served, turn.now)
        turn.wake(turn.now)
    step, weights = f"step {to.step}/{strategy.steps}", _weights(to)
    turn.wait(f"{step} {_at(turn)}: waiting for the pods to load it")
    turn.note("StepStarted", f"{step}: {weights} ({named(candidate)})")


def _at(turn: Turn) -> str:
    delivered = turn.status.delivered
    shadow = delivered.shadow if delivered else None
    if shadow:
        return f"in the shadow of {format_weight(shadow.sample)}"
    return f"at {format_weight(candidate_weight(delivered))}"


def _weights(to: Advance | Split) -> str:
    if isinstance(to, Advance) and to.mirror:
        return f"candidate in the shadow of {format_weight(to.mirror.sample)} of requests"
    return ", ".join(f"{name} at {format_weight(weight)}" for name, weight in to.weights.items())


def _apply(turn: Turn, strategy: Strategy, move: Move) -> None:
    if isinstance(move, Undecided):
        _undecided(turn, strategy, move)
        return
    if turn.status.pause and turn.status.pause.reason in REJUDGED and not isinstance(move, Ask):
        unpause(turn)
    # A step is never taken on what is known of the past only: first the windows since, then the step.
    unseen = isinstance(move, Advance) and move.mirror is not None
    if isinstance(move, Advance | Split | Finish) and not unseen and _must_wait(turn, strategy):
        return
    if isinstance(move, Advance | Split):
        advance(turn, strategy, move)
    elif isinstance(move, Finish):
        _promote_past_gates(turn, move.reason, move.message, move.arm)
    elif isinstance(move, Ask):
        pause(turn, DECISION, move.message)
        turn.wait(move.message)
    else:
        turn.wait(move.message, turn.now + move.left if move.left and move.left > timedelta(0) else None)


def _must_wait(turn: Turn, strategy: Strategy) -> bool:
    """Whether no weight may rise yet by itself, and says why: windows to be read first, or the calendar."""
    if behind := reading_behind(turn):
        turn.wait(behind)
        return True
    if shut := strategy.shut(turn.now):
        turn.wait(f"{_where(turn)}: {shut.message}", turn.now + shut.left if shut.left else None)
        return True
    return False


def _undecided(turn: Turn, strategy: Strategy, move: Undecided) -> None:
    choice = turn.spec.analysis.on_inconclusive if turn.spec else OnInconclusive.HOLD
    if behind := reading_behind(turn):
        turn.wait(behind)
    elif choice is OnInconclusive.ROLLBACK:
        roll_back(turn, INCONCLUSIVE, f"{move.message}; analysis.onInconclusive is Rollback")
    elif choice is OnInconclusive.PROMOTE:
        if _must_wait(turn, strategy):
            return
        forced = strategy.forced(view_of(turn))
        if isinstance(forced, Advance | Split):
            turn.note("Inconclusive", f"{move.message}; analysis.onInconclusive is Promote")
            advance(turn, strategy, forced)
        elif isinstance(forced, Finish):
            why = f"{move.message}; analysis.onInconclusive is Promote"
            _promote_past_gates(turn, INCONCLUSIVE, why, forced.arm)
        else:
            _ask_about(turn, f"{move.message}; {forced.message}")
    else:
        _ask_about(turn, move.message)


def _ask_about(turn: Turn, what: str) -> None:
    message = (
        f"{what}. It goes on by itself when the evidence is enough; or say promote, promote-full or abort"
    )
    pause(turn, INCONCLUSIVE, message)
    turn.wait(message)


def follow_edit(turn: Turn, strategy: Strategy) -> None:
    """After an edit of the steps, go on where today's weight fits in; the edit itself raises nothing."""
    candidate = turn.status.candidate
    if candidate is None:
        return
    progress = candidate.progress
    if (progress.strategy, progress.plan) == (strategy.name, strategy.digest()):
        return
    step = strategy.relocate(candidate_weight(turn.status.delivered), progress.step)
    if step != progress.step and progress.since is not None:
        release_clock(turn)
        candidate = turn.status.candidate or candidate
        progress = candidate.progress.but(since=turn.now, held=0.0, answered=_answered(turn))
    changed = progress.but(strategy=strategy.name, step=step, steps=strategy.steps, plan=strategy.digest())
    turn.set(candidate=candidate.but(progress=changed))
    turn.note("StepsEdited", f"the steps were edited; it goes on at step {step}/{strategy.steps}")


def _past_deadline(turn: Turn, strategy: Strategy) -> bool:
    candidate, spec = turn.status.candidate, turn.spec
    if candidate is None or spec is None or turn.status.pause or candidate.progress.held_since:
        return False
    if stands_for_gate(turn):
        return False
    allowed = turn.span(spec.progress_deadline) + strategy.grace + timedelta(seconds=candidate.held)
    deadline = candidate.started_at + allowed + strategy.uncounted(candidate.started_at, turn.now)
    if turn.now < deadline:
        turn.wake(deadline)
        return False
    roll_back(
        turn,
        "ProgressDeadlineExceeded",
        f"not promoted within spec.progressDeadline ({spec.progress_deadline}); it was waiting for: "
        f"{turn.status.message or 'nothing yet'}",
    )
    return True


def _await_pods(turn: Turn) -> None:
    what = describe_waiting(turn)
    late = overdue(turn)
    if late:
        what += f"; that is longer than delivery.acknowledge.timeout ({_timeout(turn)}): look at those pods"
    if turn.strategy and turn.strategy.compares and (blind := metrics_problem(turn)):
        what += f"; {blind}"
    turn.wait(what)
    if turn.status.pause is None:
        release_clock(turn)


def _timeout(turn: Turn) -> str:
    return turn.spec.delivery.acknowledge.timeout if turn.spec else ""


def _start_clock(turn: Turn, loaded_at: datetime) -> None:
    candidate = turn.status.candidate
    if candidate and candidate.progress.since is None:
        _begin_step(turn, candidate, loaded_at)


def _count_anew(turn: Turn) -> None:
    """An edited metric forgets what it has counted."""
    candidate, said = turn.status.candidate, turn.comparison
    if candidate and said and not said.unreadable and said.samples < candidate.progress.answered:
        turn.set(candidate=candidate.but(progress=candidate.progress.but(answered=said.samples)))


def _begin_step(turn: Turn, candidate: Candidate, since: datetime) -> None:
    progress = candidate.progress.but(since=since, answered=_answered(turn))
    turn.set(candidate=candidate.but(progress=progress))


def _stands_still(turn: Turn, strategy: Strategy) -> bool:
    """Pause, sample-ratio mismatch or blindness: the weight and the clock stand."""
    problem = metrics_problem(turn) if strategy.compares else ""
    paused = turn.status.pause
    if strategy.compares and (mismatch := _mismatch(turn)):
        pause(turn, MISMATCH, f"{mismatch}. Mend the assignment, then resume; or abort")
    elif problem and _blind_too_long(turn):
        pause(turn, METRICS, f"{problem}. It goes on by itself when they can be read; or abort")
    elif paused and paused.reason == METRICS and not problem:
        unpause(turn)
        turn.note("Resumed", "the metrics can be read again, so the trial goes on")
    paused = turn.status.pause
    still = bool(problem) or (paused is not None and paused.reason not in REJUDGED)
    if still:
        hold_clock(turn)
        turn.wait(paused.message if paused else f"{_where(turn)}: held, {problem}")
    else:
        release_clock(turn)
    return still


def _mismatch(turn: Turn) -> str:
    """How the sample ratio differs from the weights of now; that of earlier weights is over."""
    loaded_at = acknowledged_at(turn)
    if loaded_at is None:
        return ""
    return next(
        (said.mismatch for said in turn.comparisons if said.mismatch and said.through >= loaded_at), ""
    )


def _blind_too_long(turn: Turn) -> bool:
    analysis, spec = turn.status.analysis, turn.spec
    if analysis is None or analysis.unavailable_since is None or spec is None:
        return False
    limit = analysis.unavailable_since + turn.span(spec.analysis.metrics_timeout)
    if turn.now < limit:
        turn.wake(limit)
    return turn.now >= limit


def _where(turn: Turn) -> str:
    candidate = turn.status.candidate
    if candidate is None:
        return ""
    return f"step {candidate.progress.step}/{candidate.progress.steps} {_at(turn)}"
