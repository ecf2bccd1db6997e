"""Runs what decisions want: one task for each run, so that no gate waits for another, nor any decision for a gate."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from promptrollout.cluster.objects import ObjectKey
from promptrollout.gates.protocol import GateError, GateKind, Run
from promptrollout.rollout import GateAnswer

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_jitter = random.SystemRandom()


@dataclass(slots=True)
class _Active:
    run: Run
    answer: GateAnswer | None = None
    task: asyncio.Task[None] | None = field(default=None)


class GateRunner:
    """Follows the gates of all rollouts.

    Args:
        kinds: by name, from `kinds_of`.
        news: called with a rollout's key when one of its gates has something to say.
    """

    def __init__(self, kinds: Mapping[str, GateKind], news: Callable[[ObjectKey], None]) -> None:
        self._kinds = kinds
        self._news = news
        self._active: dict[ObjectKey, dict[str, _Active]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many gates have not answered yet."""
        return sum(
            1
            for runs in self._active.values()
            for active in runs.values()
            if not (active.answer and active.answer.result)
        )

    def answers(self, key: ObjectKey) -> Mapping[str, GateAnswer]:
        """What the gates of a rollout have said so far, by the run's id."""
        return {id_: one.answer for id_, one in self._active.get(key, {}).items() if one.answer is not None}

    def follow(self, key: ObjectKey, runs: Sequence[Run]) -> None:
        """These are wanted and no others: start what does not run yet, end what nobody waits for."""
        active = self._active.setdefault(key, {})
        wanted = {run.id: run for run in runs}
        for gone in active.keys() - wanted.keys():
            self._end(active.pop(gone))
        for id_ in wanted.keys() - active.keys():
            active[id_] = started = _Active(wanted[id_])
            started.task = asyncio.create_task(self._work(started), name=f"gate {key} {id_}")
        if not active:
            del self._active[key]

    def leave(self, key: ObjectKey) -> None:
        """The rollout is gone, and with it what its gates have created."""
        for active in self._active.pop(key, {}).values():
            if active.task is not None:
                active.task.cancel()

    async def close(self) -> None:
        """Stop waiting; Jobs go on, and are found again."""
        tasks = [one.task for runs in self._active.values() for one in runs.values() if one.task is not None]
        tasks += self._ending
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(kind.close() for kind in self._kinds.values()))

    async def _work(self, active: _Active) -> None:
        kind, run, pause = self._kinds[active.run.request.gate.kind], active.run, _FIRST_PAUSE_S

        def tell(answer: GateAnswer) -> None:
            if active.answer != answer:
                active.answer = answer
                self._news(run.key)

        while True:
            try:
                tell(await kind.run(run, tell))
            except GateError as error:
                tell(GateAnswer("Failed", message=str(error)))
            except Exception as error:  # a gate that errs must not end the others
                said = str(error) or type(error).__name__
                log.warning("%s: gate %s: %s", run.key, run.request.name, said)
                job = active.answer.job if active.answer else ""
                tell(GateAnswer(message=f"{said}; it is tried again", job=job))
                await asyncio.sleep(_jitter.uniform(pause / 2, pause))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            return

    def _end(self, active: _Active) -> None:
        if active.task is None or active.task.done():
            return
        active.task.cancel()
        task = asyncio.create_task(self._stop(active), name=f"end of gate {active.run.id}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _stop(self, active: _Active) -> None:
        run = active.run
        try:
            await self._kinds[run.request.gate.kind].end(run)
        except Exception as error:
            log.warning("%s: gate %s could not be stopped: %s", run.key, run.request.name, error)
