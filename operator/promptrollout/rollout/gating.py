"""Gates: what else must agree. Each is asked once about a revision, and what it says is kept in status.

Gates of one place are asked in their order, the next when the one before has passed: a person approves what an eval
harness has measured.
"""

from collections.abc import Sequence
from datetime import datetime

from promptrollout.api.gates import GatePlace, OnTimeout
from promptrollout.api.quantities import format_duration
from promptrollout.api.status import GateRun
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.ending import roll_back
from promptrollout.rollout.following import deliver
from promptrollout.rollout.gateplan import APPROVAL, Asked, GateRequest, all_gates, gates_at, run_id
from promptrollout.rollout.standing import put_off_deadline
from promptrollout.rollout.turn import Turn

PASSED, FAILED, TIMED_OUT, SKIPPED = "Passed", "Failed", "TimedOut", "Skipped"
#: Nobody waits for it any more: the trial is over, or the gate was edited.
CANCELLED = "Cancelled"
#: So many runs of earlier trials are kept for people to read.
_EARLIER = 20


def record_answers(turn: Turn) -> None:
    """Take what gates have answered into the status, whatever else stands still."""
    for run in turn.status.gates:
        said = turn.seen.gates.get(run.id)
        if run.result or said is None:
            continue
        told = run.but(score=said.score, report=said.report, message=said.message, job=said.job or run.job)
        if said.result:
            _close(turn, told, said.result)
        elif told != run:
            _replace(turn, told)


def run_before_delivery(turn: Turn) -> None:
    """Deliver the candidate once the gates before delivery have passed."""
    paused = turn.status.pause
    if turn.spec is None or paused:
        turn.wait(paused.message if paused else "")
        return
    first = turn.status.stable is None
    if pass_gates(turn, gates_at(turn.spec, GatePlace.BEFORE_DELIVERY, first=first)):
        deliver(turn)


def promotion_gates(turn: Turn) -> tuple[Asked, ...]:
    """What must agree before the candidate becomes stable."""
    return gates_at(turn.spec, GatePlace.BEFORE_PROMOTION) if turn.spec else ()


def pass_gates(turn: Turn, gates: Sequence[Asked]) -> bool:
    """Whether all of these have passed; asks the next, and ends the trial when one says no."""
    for asked in gates:
        run = _run_of(turn, asked) or _ask(turn, asked)
        if run is None:
            return False
        run = _watch_time(turn, asked, run)
        if run.result in {PASSED, SKIPPED}:
            continue
        if run.result:
            roll_back(turn, "GateFailed", f"gate {run.gate}: {run.message or run.result}")
        else:
            _wait(turn, asked, run)
        return False
    return True


def open_run(turn: Turn) -> GateRun | None:
    """The gate of the present trial that has not answered yet."""
    return next((run for run in turn.status.gates if not run.result and _is_present(turn, run)), None)


def stands_for_gate(turn: Turn) -> bool:
    """Whether a person is waited for: the deadline stands then."""
    run = open_run(turn)
    return run is not None and (run.kind == APPROVAL or run.held)


def answer(turn: Turn, run: GateRun, result: str, by: str) -> None:
    """A person's answer."""
    verb = "approved" if result == PASSED else "skipped"
    _close(turn, run.but(by=by, message=f"{verb} by {by}"), result)


def ask_again(turn: Turn, run: GateRun) -> None:
    """Ask the same once more: a gate whose time was over."""
    _close(turn, run.but(message="asked again"), CANCELLED)


def close_gates(turn: Turn) -> None:
    """Nobody waits for gates of a trial that is over, nor for what a gate asked before it was edited."""
    valid = turn.spec is not None and not turn.seen.problems
    asked = list(all_gates(turn.spec)) if turn.spec is not None else []
    for run in turn.status.gates:
        stale = valid and not any(one.is_of(run) for one in asked)
        if not run.result and (stale or not _is_present(turn, run)):
            _close(turn, run, CANCELLED)
    present = [run for run in turn.status.gates if _is_present(turn, run)]
    kept = [run.id for run in turn.status.gates if run not in present][:_EARLIER]
    if len(present) + len(kept) < len(turn.status.gates):
        turn.set(gates=[run for run in turn.status.gates if run in present or run.id in kept])


def wanted_gates(turn: Turn) -> tuple[GateRequest, ...] | None:
    """What the shell is to run; None: what it runs already, since the spec cannot be read now."""
    spec, candidate, stable = turn.spec, turn.status.candidate, turn.status.stable
    if spec is None or turn.seen.problems:
        return None
    return tuple(
        GateRequest(
            id=run.id,
            name=run.gate,
            place=run.place,
            gate=asked.gate,
            revision=run.revision,
            arms=tuple((arm.name, arm.revision) for arm in in_trial(turn.status)),
            stable=stable.revision if stable else "",
            attempt=run.attempt,
            until=run.started_at + asked.timeout,
        )
        for run in turn.status.gates
        for asked in all_gates(spec)
        if candidate and not run.result and run.kind != APPROVAL and asked.is_of(run)
    )


def _is_present(turn: Turn, run: GateRun) -> bool:
    candidate = turn.status.candidate or turn.status.rejected
    if candidate is None or (run.revision, run.attempt) != (candidate.revision, candidate.attempt):
        return False
    return bool(run.result) or turn.status.candidate is not None


def _run_of(turn: Turn, asked: Asked) -> GateRun | None:
    return next(
        (
            run
            for run in turn.status.gates
            if asked.is_of(run) and _is_present(turn, run) and run.result != CANCELLED
        ),
        None,
    )


def _ask(turn: Turn, asked: Asked) -> GateRun | None:
    candidate = turn.status.candidate
    if candidate is None:
        return None
    times = 1 + sum(1 for run in turn.status.gates if _is_present(turn, run) and asked.is_of(run))
    run = GateRun(
        id=run_id(turn.seen.uid, candidate, asked, times),
        gate=asked.name,
        kind=asked.gate.kind,
        place=asked.place,
        revision=candidate.revision,
        attempt=candidate.attempt,
        digest=asked.gate.digest(),
        asked=times,
        started_at=turn.now,
        message=asked.gate.approval.message if asked.gate.approval else "",
    )
    turn.set(gates=[run, *turn.status.gates])
    gate, about = f"gate {asked.name}", f"about revision {candidate.revision}"
    if run.kind == APPROVAL:
        wish = f": {run.message}" if run.message else ""
        said = f"{gate} ({asked.place}) waits for a person's word {about}{wish}. Say approve, skip or abort"
        turn.note("ApprovalRequired", said)
    else:
        turn.note("GateAsked", f"{gate} ({run.kind}, {asked.place}) is asked {about}")
    return run


def _watch_time(turn: Turn, asked: Asked, run: GateRun) -> GateRun:
    """End or hold a run whose time is over."""
    due = run.started_at + asked.timeout
    if run.result or run.held or turn.now < due:
        return run
    said = f"no answer within {format_duration(asked.timeout)}" + (f" ({run.message})" if run.message else "")
    if asked.gate.on_timeout is OnTimeout.FAIL:
        return _close(turn, run.but(message=said), TIMED_OUT)
    held = run.but(held=True, message=said)
    _replace(turn, held)
    cure = "it is still waited for. Say resume (asks again), skip or abort"
    turn.warn("GateTimedOut", f"gate {run.gate}: {said}; {cure}")
    return held


def _wait(turn: Turn, asked: Asked, run: GateRun) -> None:
    due = run.started_at + asked.timeout
    how = f": {run.message}" if run.message else ""
    if run.kind == APPROVAL:
        what = f"gate {run.gate} waits for someone to say approve (or skip, or abort){how}"
    elif run.held:
        what = f"gate {run.gate}{how}. It goes on when it answers; or say resume (asks again), skip or abort"
    else:
        what = f"gate {run.gate} ({run.kind}) has not answered yet{how}"
    left = "" if run.held else f"; at most {format_duration(due - turn.now)} more"
    turn.gate = run
    turn.wait(f"{what}{left}", None if run.held else due)


def _close(turn: Turn, run: GateRun, result: str) -> GateRun:
    closed = run.but(result=result, ended_at=turn.now)
    _put_off_deadline(turn, closed)
    _replace(turn, closed)
    said = f"gate {run.gate}: {run.message or result}" + (f" (score {run.score})" if run.score else "")
    if result in {PASSED, SKIPPED}:
        turn.note("GatePassed" if result == PASSED else "GateSkipped", said)
    elif result != CANCELLED:
        turn.warn("GateFailed", said)
    return closed


def _replace(turn: Turn, run: GateRun) -> None:
    turn.set(gates=[run if one.id == run.id else one for one in turn.status.gates])


def _put_off_deadline(turn: Turn, run: GateRun) -> None:
    """The deadline has waited for a person."""
    candidate = turn.status.candidate
    since = _stood_since(run, turn)
    if candidate is None or since is None or not _is_present(turn, run):
        return
    paused = turn.status.pause
    put_off_deadline(turn, since, paused.since if paused else None, candidate.progress.held_since)


def _stood_since(run: GateRun, turn: Turn) -> datetime | None:
    if run.kind == APPROVAL:
        return run.started_at
    asked = next((one for one in all_gates(turn.spec) if one.is_of(run)), None) if turn.spec else None
    return run.started_at + asked.timeout if run.held and asked else None
