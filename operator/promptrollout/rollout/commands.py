"""What people ask for. Each id is executed once; what cannot be done is refused with the reason."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

from promptrollout.api.status import Candidate, Challenger, CommandResult, Outcome, Progress, Rollback
from promptrollout.rollout.comparing import metrics_problem
from promptrollout.rollout.contest import in_trial
from promptrollout.rollout.delivering import expose_anew
from promptrollout.rollout.ending import promote, roll_back
from promptrollout.rollout.following import goal_of, named, start_trial
from promptrollout.rollout.gateplan import APPROVAL
from promptrollout.rollout.gating import PASSED, SKIPPED, answer, ask_again, open_run, promotion_gates
from promptrollout.rollout.observations import Command
from promptrollout.rollout.returning import UNDONE, go_back, proven
from promptrollout.rollout.standing import (
    COMMAND,
    INCONCLUSIVE,
    METRICS,
    MISMATCH,
    pause,
    release_clock,
    unpause,
)
from promptrollout.rollout.strategies import Advance, Finish, Goal, Refuse, Split
from promptrollout.rollout.trial import advance, follow_edit, view_of
from promptrollout.rollout.turn import Turn

#: So many commands before the last are remembered.
_EARLIER = 20


class RefusedError(Exception):
    """A command that makes no sense now; its text says why."""


def obey(turn: Turn) -> None:
    """Execute the command if its id is new; say what became of it in status.lastCommand."""
    command = turn.seen.command
    if command is None or not command.id:
        return
    last, said = turn.status.last_command, command.said
    if last and (last.id, last.verb) == (command.id, said):
        return
    earlier = [_mark(last.verb, last.id), *last.earlier][:_EARLIER] if last else []
    try:
        _need_new(command, earlier)
        result, message = "Executed", _obeyed(turn, command)
        turn.note("CommandExecuted", f"{said}: {message}")
    except RefusedError as refusal:
        result, message = "Refused", str(refusal)
        turn.warn("CommandRefused", f"{said}: {message}")
    turn.set(
        last_command=CommandResult(
            id=command.id, verb=said, result=result, message=message, at=turn.now, earlier=earlier
        )
    )


def _mark(said: str, name: str) -> str:
    """A command that was answered, in ten hex digits: ids may be long."""
    return hashlib.sha256(f"{said}:{name}".encode()).hexdigest()[:10]


def _need_new(command: Command, earlier: Sequence[str]) -> None:
    if _mark(command.said, command.id) in earlier:
        raise RefusedError("this was answered before, and each id counts once; give it a new one")


def _obeyed(turn: Turn, command: Command) -> str:
    verb = _VERBS.get(command.verb)
    if verb is None:
        known = ", ".join(sorted({*_VERBS, *(f"{verb}/{what}" for verb, what in _TAKE_ARGUMENTS.items())}))
        raise RefusedError(f"{command.said!r} is no command; known are {known}")
    if command.argument and command.verb not in _TAKE_ARGUMENTS:
        raise RefusedError(f"{command.verb} takes nothing after a slash")
    return verb(turn)


def _need_candidate(turn: Turn) -> str:
    candidate, rejected = turn.status.candidate, turn.status.rejected
    if candidate is None:
        again = f": {named(rejected)} was rejected; say retry first" if rejected else ""
        raise RefusedError(f"there is no candidate on trial{again}")
    return named(candidate)


def _need_wanted(turn: Turn) -> None:
    """Who says promote may have seen the old prompt or the new one: neither must become stable by a guess."""
    candidate, seen = turn.status.candidate, turn.seen
    if candidate is None or turn.spec is None or seen.problems or seen.blocked or seen.unresolved:
        return
    goal = goal_of(turn)
    if goal is None or goal.id != candidate.revision:
        raise RefusedError(
            f"the spec wants something else by now, and {named(candidate)} gives way to it; "
            "say it again if you mean what comes next"
        )


def _need_spec(turn: Turn) -> None:
    if turn.spec is None or turn.seen.problems:
        raise RefusedError("the spec is invalid (see status.message); mend it first")
    if turn.seen.unresolved:
        raise RefusedError(
            "it is not known yet which prompt is wanted (see status.message); try again when it is"
        )
    if turn.seen.blocked:
        raise RefusedError("nothing can be delivered now (see status.message); mend that first")


def _pause(turn: Turn) -> str:
    revision = _need_candidate(turn)
    if turn.status.pause and turn.status.pause.reason == COMMAND:
        raise RefusedError("it is paused already")
    pause(turn, COMMAND, "paused by command; say resume, promote, promote-full or abort")
    return f"{revision} stays at its weight; harm still rolls it back"


def _resume(turn: Turn) -> str:
    _need_candidate(turn)
    if turn.status.pause is None and (run := open_run(turn)) and run.held:
        ask_again(turn, run)
        return f"gate {run.gate} is asked again"
    paused, candidate = turn.status.pause, turn.status.candidate
    if paused is None or candidate is None:
        raise RefusedError("it is not paused")
    if paused.reason == METRICS and metrics_problem(turn):
        raise RefusedError("the metrics still cannot be read; it goes on by itself when they can")
    unpause(turn)
    if paused.reason == INCONCLUSIVE:
        # One more time of the same step; otherwise it would be undecided again at once.
        release_clock(turn)
        candidate = turn.status.candidate or candidate
        again = candidate.progress.but(since=turn.now, held=0.0)
        turn.set(candidate=candidate.but(progress=again))
        return "the step's time starts anew"
    if paused.reason == MISMATCH:
        # The numbers of the broken assignment stay with its exposure; otherwise it would pause again at once.
        expose_anew(turn)
        return "the sample ratio is counted anew"
    return "it goes on where it stood"


def _abort(turn: Turn) -> str:
    revision = _need_candidate(turn)
    roll_back(turn, "Aborted", "aborted by command", Outcome.ABORTED)
    return f"{revision} is rolled back; it stays so until the prompt changes or someone says retry"


def _retry(turn: Turn) -> str:
    _need_spec(turn)
    rejected = turn.status.rejected
    if rejected is None or turn.began.rejected is None:
        # What is rolled back in this very turn, nobody can have meant.
        raise RefusedError("nothing was rolled back or aborted")
    goal = goal_of(turn)
    if goal is None or rejected.revision != goal.id:
        raise RefusedError(f"the spec no longer wants {named(rejected)}")
    start_trial(turn, goal, rejected.attempt + 1)
    return f"{named(rejected)} starts again at step 1, attempt {rejected.attempt + 1}"


def _promote(turn: Turn) -> str:
    _need_candidate(turn)
    _need_spec(turn)
    _need_wanted(turn)
    _need_no_gate(turn)
    strategy, delivered = turn.strategy, turn.status.delivered
    if strategy is None or delivered is None:
        raise RefusedError("the spec names no strategy")
    if delivered.acknowledged.at is None:
        raise RefusedError("the pods have not loaded the last change yet; try again when they have")
    follow_edit(turn, strategy)
    move = strategy.forced(view_of(turn))
    if isinstance(move, Refuse):
        raise RefusedError(move.message)
    if isinstance(move, Advance | Split):
        advance(turn, strategy, move)
        return f"step {move.step}/{strategy.steps}"
    unpause(turn)
    if (candidate := turn.status.candidate) and promotion_gates(turn):
        turn.set(candidate=candidate.but(promoting=move.arm))
        return "it is promoted when the gates before promotion have passed"
    promote(turn, "Command", "promoted by command from the last step", move.arm)
    return "promoted"


def _need_no_gate(turn: Turn) -> None:
    run, candidate = open_run(turn), turn.status.candidate
    if run is not None:
        raise RefusedError(
            f"gate {run.gate} has not passed; say {'approve or ' * (run.kind == APPROVAL)}skip first"
        )
    if candidate is not None and candidate.undelivered:
        raise RefusedError("the gates before delivery have not passed")


def _approve(turn: Turn) -> str:
    revision, run = _need_candidate(turn), open_run(turn)
    if run is None or run.kind != APPROVAL:
        raise RefusedError("no approval is waited for")
    by = turn.seen.command.by if turn.seen.command else ""
    answer(turn, run, PASSED, by)
    return f"{revision} is approved at gate {run.gate} by {by}"


def _skip(turn: Turn) -> str:
    revision, run = _need_candidate(turn), open_run(turn)
    if run is None:
        raise RefusedError("no gate is waited for; promote goes to the next step")
    by = turn.seen.command.by if turn.seen.command else ""
    answer(turn, run, SKIPPED, by)
    return f"gate {run.gate} is left out for {revision} by {by}"


def _promote_full(turn: Turn) -> str:
    _need_candidate(turn)
    _need_wanted(turn)
    if turn.status.candidate and turn.status.candidate.undelivered:
        raise RefusedError("the gates before delivery have not passed; say skip to leave one out")
    live = {arm.name: arm.revision for arm in in_trial(turn.status)}
    asked = turn.seen.command.argument if turn.seen.command else ""
    if asked and asked not in live:
        raise RefusedError(f"there is no {asked!r} on trial; there are: {', '.join(live)}")
    name = asked or (next(iter(live)) if len(live) == 1 else _which(turn))
    promote(turn, "Command", "promoted in full by command", name)
    return f"revision {live[name]} is stable now"


def _which(turn: Turn) -> str:
    """Of several arms, the one that a person must mean: only the strategy can say."""
    _need_spec(turn)
    move = turn.strategy.forced(view_of(turn)) if turn.strategy else Refuse("the spec names no strategy")
    if isinstance(move, Finish):
        return move.arm
    raise RefusedError(move.message if isinstance(move, Refuse) else "the arms have no weight yet")


def _undo(turn: Turn) -> str:
    """Straight back to an earlier stable revision, or (`undo/<revision>`) to any that the history has."""
    _need_undoable(turn)
    stable, command = turn.status.stable, turn.seen.command
    if turn.status.candidate is not None:
        raise RefusedError("a candidate is on trial; say abort first, stable serves all then")
    if stable is None or command is None:
        raise RefusedError("nothing has been delivered yet")
    before = [revision for revision in proven(turn) if revision in turn.seen.texts]
    target = command.argument or next(iter(before), "")
    if not target:
        raise RefusedError("the history has no earlier stable revision; name one as undo/<revision>")
    if target == stable.revision:
        raise RefusedError(f"revision {target} is stable already")
    known = sorted({entry.revision for entry in turn.status.history} & turn.seen.texts - {stable.revision})
    if target not in known:
        there = ", ".join(known) or "none"
        raise RefusedError(
            f"the text of revision {target} is not in the history any more; there are: {there}"
        )
    old = turn.status.rejected
    go_back(turn, target, "Undo", undone=stable.revision)
    if not _stays_undone(turn, old, stable.revision, target):
        return f"revision {target} serves all again, as the spec wants"
    return f"revision {target} serves all again; it stays so until the prompt changes or someone says retry"


def _need_undoable(turn: Turn) -> None:
    """A spec that is wrong keeps nobody from going back, as long as it is known what must not be tried again."""
    if (
        turn.spec is None
        or turn.strategy is None
        or turn.seen.blocked
        or (turn.strategy.rivals and not turn.seen.wanted)
    ):
        _need_spec(turn)


def _stays_undone(turn: Turn, old: Candidate | None, undone: str, target: str) -> bool:
    """What the spec still wants must not be tried again by itself; if that is not known now: what was undone."""
    goal, strategy = goal_of(turn) if turn.seen.wanted else Goal(undone), turn.strategy
    if goal is None or strategy is None:
        return False
    progress = Progress(strategy=strategy.name, steps=strategy.steps, plan=strategy.digest())
    arms = [Challenger(name=name, revision=revision) for name, revision in goal.arms]
    fresh = Candidate(revision=goal.id, arms=arms, started_at=turn.now, progress=progress)
    message = f"revision {undone} is undone by command: revision {target} serves all again"
    turn.set(
        rejected=old if old and old.revision == goal.id else fresh,
        rollback=Rollback(revision=undone, reason=UNDONE, message=message, decided_at=turn.now),
    )
    return True


_VERBS: Mapping[str, Callable[[Turn], str]] = {
    "pause": _pause,
    "resume": _resume,
    "abort": _abort,
    "retry": _retry,
    "promote": _promote,
    "promote-full": _promote_full,
    "approve": _approve,
    "skip": _skip,
    "undo": _undo,
}
#: And what it is.
_TAKE_ARGUMENTS: Mapping[str, str] = {"undo": "REVISION", "promote-full": "ARM"}
