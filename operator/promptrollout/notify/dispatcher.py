"""Sends what channels are told: a bounded queue and a task for each, so that nothing waits for a channel."""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

from promptrollout.api.base import to_rfc3339
from promptrollout.notify.config import ChannelConfig
from promptrollout.notify.limiting import Allowance, Happened, HeldBack
from promptrollout.notify.protocol import Letter, Notification, Notifier, NotifierError

if TYPE_CHECKING:  # it brings Jinja2, which an operator without channels does not need
    from promptrollout.notify.templates import Templates

_log = logging.getLogger(__name__)
_jitter = random.SystemRandom()

#: What became of a notification: `held` stands for the next summary, as `failed` and `dropped` (the queue was full) do.
Result = Literal["sent", "held", "failed", "dropped"]
RESULTS: Final[tuple[Result, ...]] = ("sent", "held", "failed", "dropped")
#: Letters that wait for a channel; more are dropped, and counted in the next summary.
QUEUE_SIZE = 100
#: Seconds after which a letter is not tried again.
GIVE_UP_S = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
#: A letter that comes later than this says when it happened.
_LATE_S = 60.0
#: How many rollouts a summary names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom to tell what becomes of notifications.

    Attributes:
        result: for the metrics, with the channel's name.
        failed: a notification was given up; with the channel's name and why.
    """

    result: Callable[[str, Result], None]
    failed: Callable[[str, Notification, str], None]


@dataclass(frozen=True, slots=True)
class _Posted:
    """A letter, since when (by the loop's clock) it waits, and if it is a summary, of what."""

    letter: Letter
    at: float
    held: HeldBack | None = None


class Channel:
    """One channel: what it may be told, what waits, and the task that sends it."""

    def __init__(
        self, name: str, config: ChannelConfig, notifier: Notifier, templates: "Templates", hooks: Hooks
    ) -> None:
        self.name = name
        self.config = config
        self.templates = templates
        self._notifier = notifier
        self._hooks = hooks
        self._waiting: deque[_Posted] = deque()
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._busy = False
        self._complaint = ""
        self._task: asyncio.Task[None] | None = None
        self._allowance: Allowance | None = None

    @property
    def waiting(self) -> int:
        """Letters that are not sent yet."""
        return len(self._waiting) + self._busy

    def start(self) -> None:
        """Begin to send, and say what is wrong with the channel's settings."""
        if self.templates.problem:
            _log.error("channel %s: %s; the default is used instead", self.name, self.templates.problem)
        self._task = asyncio.create_task(self._run(), name=f"channel {self.name}")

    def post(self, told: Notification) -> None:
        """Have it sent, or count it for the summary. Returns at once."""
        happened, now = _happened(told), self._now()
        if not self._allowed(now).admit(happened, now):
            self._hooks.result(self.name, "held")
        elif len(self._waiting) >= QUEUE_SIZE:
            self._allowed(now).lost(happened, now)
            self._hooks.result(self.name, "dropped")
        else:
            self._waiting.append(_Posted(self.templates.letter(told), now))
            self._settled.clear()
        self._news.set()

    async def finish(self) -> None:
        """Until nothing waits, or the channel does not answer."""
        if not self._complaint and self._task is not None:
            await self._settled.wait()

    async def close(self) -> None:
        """Stop; what waits is lost, and said in the log."""
        if self.waiting:
            _log.warning("channel %s: %d notifications were not sent", self.name, self.waiting)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._notifier.close()

    async def _run(self) -> None:
        await self._check()
        while True:
            posted = await self._next()
            self._busy = True
            self._settled.clear()
            try:
                await self._deliver(posted)
            except Exception:  # one letter must not end the channel
                _log.exception("channel %s: a letter was lost", self.name)
            finally:
                self._busy = False
                if not self._waiting:
                    self._settled.set()

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(self.config.timeout):
                problem = await self._notifier.check()
        except Exception as error:
            problem = type(error).__name__
        if problem:
            _log.error("channel %s: %s", self.name, problem)

    async def _next(self) -> _Posted:
        while True:
            self._news.clear()
            if self._waiting:
                return self._waiting.popleft()
            now = self._now()
            if held := self._allowed(now).summary(now):
                return _Posted(summary_letter(held), now, held)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._allowed(now).summary_in(now)):
                    await self._news.wait()

    async def _deliver(self, posted: _Posted) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(self.config.timeout + 5.0):
                    await self._notifier.send(_dated(posted, self._now()))
            except Exception as error:
                final, wait = self._why(error)
                pause_now = wait if wait is not None else _jitter.uniform(pause / 2, pause)
                age = self._now() - posted.at
                if final or age + pause_now > GIVE_UP_S:
                    self._give_up(posted)
                    return
                await asyncio.sleep(pause_now)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            if self._complaint:
                _log.info("channel %s: it can be reached again", self.name)
            self._complaint = ""
            self._hooks.result(self.name, "sent")
            return

    def _why(self, error: Exception) -> tuple[bool, float | None]:
        """Whether it is final, and how long to wait; each new complaint is logged once."""
        if isinstance(error, NotifierError):
            said, final, wait = str(error), error.final, error.after
        else:  # its text may hold anything
            said = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            final, wait = False, None
        if said != self._complaint:
            _log.warning("channel %s: %s%s", self.name, said, "" if final else "; it is tried again")
        self._complaint = said
        self._settled.set()
        return final, None if wait is None else min(max(wait, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _give_up(self, posted: _Posted) -> None:
        self._hooks.result(self.name, "failed")
        now, told = self._now(), posted.letter.notification
        if posted.held is not None:
            self._allowed(now).restore(posted.held, now)
        if told is not None:
            self._allowed(now).lost(_happened(told), now)
            self._hooks.failed(self.name, told, self._complaint)

    def _allowed(self, now: float) -> Allowance:
        """Made late: the clock is the loop's."""
        if self._allowance is None:
            self._allowance = Allowance(self.config.per_minute, self.config.burst, now)
        return self._allowance

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class Dispatcher:
    """All channels."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self.channels = channels

    @property
    def waiting(self) -> int:
        """Letters that are not sent yet."""
        return sum(channel.waiting for channel in self.channels.values())

    def start(self) -> None:
        """Begin to send."""
        for channel in self.channels.values():
            channel.start()

    def post(self, name: str, told: Notification) -> None:
        """Have a channel told. Returns at once; a channel that there is not is told nothing."""
        if channel := self.channels.get(name):
            channel.post(told)

    async def close(self, patience: float = 3.0) -> None:
        """Send what is waiting, for at most so many seconds, and stop."""
        finishing = [asyncio.create_task(channel.finish()) for channel in self.channels.values()]
        if finishing:
            _, late = await asyncio.wait(finishing, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self.channels.values()))


def summary_letter(held: HeldBack) -> Letter:
    """What a channel is told of what was held back or could not be sent."""
    reasons = ", ".join(f"{count} {name}" for name, count in held.reasons)
    named = ", ".join(name for name, _ in held.rollouts[:_NAMED])
    more = f" and {len(held.rollouts) - _NAMED} more" if len(held.rollouts) > _NAMED else ""
    many = "notifications were" if held.count > 1 else "notification was"
    text = f"{reasons}; of {named}{more}. See kubectl get events, and kubectl get promptrollouts"
    return Letter(uuid4().hex, datetime.now(UTC), f"{held.count} more {many} not sent one by one", text)


def _happened(told: Notification) -> Happened:
    return Happened(f"{told.namespace}/{told.rollout}", told.reason, told.message)


def _dated(posted: _Posted, now: float) -> Letter:
    letter = posted.letter
    if now - posted.at < _LATE_S:
        return letter
    return replace(letter, text=f"{letter.text}\n(it happened at {to_rfc3339(letter.at)})")
