"""One logical request: from `with a.request()` to the end of the block, however many calls or retries are inside."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from math import inf
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from promptrollout_sdk.counting import ERRORS, OUTCOMES
from promptrollout_sdk.errors import said

if TYPE_CHECKING:
    from promptrollout_sdk.assignment import Assignment

T = TypeVar("T")
Aborts = type[BaseException] | Iterable[type[BaseException]]


class Request:
    """Counts and times one request, once; nothing it does raises, and it swallows no exception."""

    __slots__ = (
        "_aborts",
        "_assignment",
        "_cost",
        "_ended",
        "_events",
        "_first",
        "_outcome",
        "_started",
        "_tokens",
    )

    def __init__(self, assignment: Assignment, aborts: Aborts) -> None:
        self._assignment = assignment
        self._aborts = aborts
        self._ended = False
        self._outcome = ""
        self._events: tuple[str, ...] = ()
        self._first = 0.0
        self._tokens = (0.0, 0.0)
        self._cost = 0.0
        self._started = perf_counter()

    def first_token(self) -> None:
        """The first token has arrived; later calls are ignored."""
        if not self._first:
            self._first = perf_counter()

    def tokens(self, *, input: int = 0, output: int = 0) -> None:  # noqa: A002 - the field's names
        """Tokens used by a call; the calls of one request add up."""
        self._in_time("tokens")
        tokens_in, tokens_out = self._tokens
        self._tokens = (tokens_in + self._amount("input", input), tokens_out + self._amount("output", output))

    def cost(self, *, usd: float) -> None:
        """What a call cost; the calls of one request add up."""
        self._in_time("cost")
        self._cost += self._amount("usd", usd)

    def event(self, name: str) -> None:
        """Something happened that is compared between arms; `name` is one of the rollout's `events`."""
        self._in_time("event")
        self._events = (*self._events, name if isinstance(name, str) else said(name))

    def outcome(self, name: str) -> None:
        """Say what the request came to (ok, error or aborted), whatever exception ends it."""
        self._in_time("outcome")
        self._outcome = name

    def stream(self, chunks: Iterable[T]) -> Iterator[T]:
        """Hands the chunks on and notes the first."""
        for chunk in chunks:
            self.first_token()
            yield chunk

    async def astream(self, chunks: AsyncIterable[T]) -> AsyncIterator[T]:
        """Hands the chunks on and notes the first."""
        async for chunk in chunks:
            self.first_token()
            yield chunk

    def __enter__(self) -> Self:
        self._started = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = perf_counter() - self._started
        if self._ended:
            return
        self._ended = True
        try:
            self._count(self._outcome or ("ok" if error is None else self._outcome_of(error)), elapsed)
        except Exception:  # the answer matters more than its count
            self._assignment.rollout.problem("count", "a request could not be counted", trace=True)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _outcome_of(self, error: BaseException) -> str:
        try:
            aborts = self._aborts if isinstance(self._aborts, type) else tuple(self._aborts)
            return "aborted" if _is_abort(error, aborts) else "error"
        except TypeError:
            self._assignment.rollout.problem(
                "aborts", f"`aborts` must be exception types, was {said(self._aborts)}"
            )
            return "error"

    def _amount(self, name: str, value: float) -> float:
        """What is told of tokens and cost, if it can be added up: one inf or nan would spoil a counter for ever."""
        try:
            if 0 <= (number := float(value)) < inf:
                return number
        except Exception:  # noqa: S110 - whatever it is, it is no number
            pass
        self._assignment.rollout.problem(
            "usage", f"{name} must be a number from 0, was {said(value)}: not counted"
        )
        return 0

    def _in_time(self, what: str) -> None:
        if self._ended:
            self._assignment.rollout.problem(
                "ended",
                f"{what} was told after the request had ended: not counted, tell it inside the `with`",
            )

    def _count(self, outcome: str, elapsed: float) -> None:
        a = self._assignment
        if outcome not in OUTCOMES:
            a.rollout.problem("outcome", f"unknown outcome {said(outcome)}; one of {', '.join(OUTCOMES)}")
            outcome = "error"
        if a.render_failed and outcome == "ok":
            outcome = "error"
        series = a.series
        series.idle = 0
        series.outcomes[outcome].inc()
        if outcome != "aborted":  # how long an aborted request would have taken, nobody knows
            series.duration.observe(elapsed)
        if self._first:
            series.first_token.observe(self._first - self._started)
        tokens_in, tokens_out = self._tokens
        if tokens_in > 0:
            series.tokens_in.inc(tokens_in)
        if tokens_out > 0:
            series.tokens_out.inc(tokens_out)
        if self._cost > 0:
            series.cost.inc(self._cost)
            if a.in_shadow:
                a.rollout.shadows.spend(self._cost)
        events = self._events
        if outcome == "error":
            events = (*events, ERRORS)
        a.count_unit(self._known(events) if events else ())

    def _known(self, events: tuple[str, ...]) -> tuple[str, ...]:
        """Each event once; what the rollout was not told of cannot be compared."""
        a = self._assignment
        known = a.series.unit_events
        for name in dict.fromkeys(events):
            if name not in known:
                a.rollout.problem("event", f"event {name!r} is not among the rollout's `events`")
            elif name != ERRORS:
                a.series.events[name].inc()
        return tuple(name for name in dict.fromkeys(events) if name in known)


def _is_abort(error: BaseException, aborts: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Whether the caller went away or the process ends, which is not the prompt's doing.

    What is no Exception (cancellation in asyncio and trio, a closed generator, a signal) is no error by Python's own
    convention. A group, as task groups raise it, is what all of it is.
    """
    if isinstance(error, aborts):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(_is_abort(one, aborts) for one in error.exceptions)
    return not isinstance(error, Exception)
