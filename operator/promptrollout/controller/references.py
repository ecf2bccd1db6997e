"""What rollouts refer to (prompts that are not written inline, policies): followed once, however many refer to it.

A ConfigMap or a policy is watched by its name, as kubelet watches what its pods mount, so that others cost nothing. A
version in a registry is asked for until it is there, and never again; an alias at the registry's poll interval.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from promptrollout.cluster.errors import ClusterError, Forbidden, NotFound
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, PolicyKey, PolicyObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.registries import (
    NoSuchPromptError,
    PromptRegistry,
    RegistryReference,
    RegistryUnavailableError,
    UnusablePromptError,
)

log = logging.getLogger(__name__)
_jitter = random.SystemRandom()

#: ConfigMaps or policies that are watched, each over a connection of its own; others are looked at every `_LOOK_S`.
MOST_WATCHES = 256
_LOOK_S = 30.0
#: Seconds before a failed look is repeated, doubling up to the poll interval (or `_LOOK_S`).
_RETRY_S = 1.0
#: Seconds that the first look at a ConfigMap or a policy may take within a turn.
_FIRST_S = 10.0


@dataclass(frozen=True, slots=True)
class ConfigMapReference:
    """A ConfigMap of the rollout's own namespace."""

    key: ObjectKey

    def __str__(self) -> str:
        return f"ConfigMap {self.key.name}"


Reference = ConfigMapReference | PolicyKey | RegistryReference
#: A rollout, and which of its references: an arm's name; empty is its own prompt, or its policy.
_Place = tuple[ObjectKey, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reference has been found to name.

    Attributes:
        version: of what was found, in a registry; of a policy, all that tells it from another.
        content: a ConfigMap's data, a registry's document, or nothing of a policy; None if there is nothing usable.
        problem: why there is nothing, in a sentence; it is the author's to mend.
        unavailable: why it could not be asked the last time; then the rest is of the time before.
    """

    version: str = ""
    content: Mapping[str, object] | None = None
    problem: str = ""
    unavailable: str = ""


@dataclass(slots=True)
class _Followed:
    task: asyncio.Task[None]
    answered: asyncio.Event
    answer: Answer | None = None
    followers: set[_Place] = field(default_factory=set)


class References:
    """All that is referred to, and what became of it. Belongs to the event loop's thread."""

    def __init__(
        self,
        cluster: Cluster,
        registries: Mapping[str, PromptRegistry],
        changed: Callable[[ObjectKey], None],
        most_watches: int = MOST_WATCHES,
    ) -> None:
        """Prepares.

        Args:
            cluster: where ConfigMaps are.
            registries: by the names that specs may use.
            changed: told of each rollout whose reference has another answer.
            most_watches: ConfigMaps that may be watched at once.
        """
        self._cluster = cluster
        self._registries = registries
        self._changed = changed
        self._most_watches = most_watches
        self._followed: dict[Reference, _Followed] = {}
        self._by_place: dict[_Place, Reference] = {}

    def follow(self, rollout: ObjectKey, reference: Reference, place: str = "") -> Answer | None:
        """Follow this reference, and no other, at this place of a rollout; what is known by now."""
        if self._by_place.get((rollout, place)) != reference:
            self._leave((rollout, place))
            self._by_place[rollout, place] = reference
        followed = self._followed.get(reference)
        if followed is None:
            task = asyncio.create_task(self._for_ever(reference), name=f"follow {reference}")
            followed = self._followed[reference] = _Followed(task, asyncio.Event())
        followed.followers.add((rollout, place))
        return followed.answer

    async def first(self, rollout: ObjectKey, reference: Reference, place: str = "") -> Answer | None:
        """As `follow`; a first answer that the API server has at hand is waited for shortly."""
        known = self.follow(rollout, reference, place)
        if known is None and not isinstance(reference, RegistryReference):
            followed = self._followed[reference]
            try:
                async with asyncio.timeout(_FIRST_S):
                    await followed.answered.wait()
            except TimeoutError:
                log.warning("%s: no answer within %g s", reference, _FIRST_S)
            known = followed.answer
        return known

    def leave(self, rollout: ObjectKey, but: Collection[str] = ()) -> None:
        """The rollout refers to nothing any more, `but` at these places; what nobody refers to is not followed."""
        for place in [at for at in self._by_place if at[0] == rollout and at[1] not in but]:
            self._leave(place)

    def _leave(self, place: _Place) -> None:
        reference = self._by_place.pop(place, None)
        followed = self._followed.get(reference) if reference is not None else None
        if reference is None or followed is None:
            return
        followed.followers.discard(place)
        if not followed.followers:
            followed.task.cancel()
            del self._followed[reference]

    async def close(self) -> None:
        """Follow nothing any more, and close the registries' connections."""
        tasks = [followed.task for followed in self._followed.values()]
        self._followed.clear()
        self._by_place.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for registry in self._registries.values():
            await registry.close()

    @property
    def followed(self) -> int:
        """How many references are followed."""
        return len(self._followed)

    # How it works: one task for each reference, which ends when there is nothing more to learn.

    async def _for_ever(self, reference: Reference) -> None:
        failures = 0
        while True:
            try:
                if not isinstance(reference, RegistryReference):
                    await self._look(reference)
                    pause = _LOOK_S
                else:
                    sealed = await self._ask(reference)
                    if sealed:
                        return
                    pause = self._registries[reference.registry].poll_interval
                failures = 0
            except (ClusterError, RegistryUnavailableError) as error:
                failures += 1
                pause = self._failed(reference, error, failures)
            except Exception:
                failures += 1
                log.exception("%s: cannot be followed", reference)
                said = ClusterError(str(reference), "an error of the operator, see its log")
                pause = self._failed(reference, said, failures)
            # Not all at once, neither after a start nor after an outage.
            await asyncio.sleep(pause * _jitter.uniform(0.8, 1.2))

    def _failed(self, reference: Reference, error: Exception, failures: int) -> float:
        followed, why = self._followed.get(reference), str(error)
        before = followed.answer if followed else None
        # The API server's absence is known to all, and a watch that broke has missed nothing that is not listed again.
        if isinstance(reference, RegistryReference):
            self._answered(reference, replace(before or Answer(), unavailable=why))
        elif isinstance(reference, PolicyKey) and isinstance(error, NotFound):
            self._answered(reference, _found(None))
        elif isinstance(reference, PolicyKey) and isinstance(error, Forbidden):
            self._answered(reference, Answer(unavailable=why))
        log.debug("%s: %s", reference, why)
        most = (
            self._registries[reference.registry].poll_interval
            if isinstance(reference, RegistryReference)
            else _LOOK_S
        )
        return min(_RETRY_S * 2.0 ** min(failures - 1, 10), most)

    async def _look(self, reference: ConfigMapReference | PolicyKey) -> None:
        """Watch, which ends by an error only; beyond the limit one look."""
        watched = sum(not isinstance(one, RegistryReference) for one in self._followed)
        if isinstance(reference, PolicyKey):
            if watched > self._most_watches:
                self._answered(reference, _found(await self._cluster.get_policy(reference)))
                return
            async for policy in self._cluster.watch_policy(reference):
                self._answered(reference, _found(policy))
            return
        if watched > self._most_watches:
            self._answered(reference, _found(await self._cluster.get_configmap(reference.key)))
            return
        async for seen in self._cluster.watch_configmap(reference.key):
            self._answered(reference, _found(seen))

    async def _ask(self, reference: RegistryReference) -> bool:
        """One question to a registry; whether the answer is for good."""
        try:
            fetched = await self._registries[reference.registry].fetch(reference)
        except (NoSuchPromptError, UnusablePromptError) as error:
            self._answered(reference, Answer(problem=str(error)))
            return False
        self._answered(reference, Answer(fetched.version, fetched.document))
        return bool(reference.version)

    def _answered(self, reference: Reference, answer: Answer) -> None:
        followed = self._followed.get(reference)
        if followed is None:
            return
        followed.answered.set()
        if answer != followed.answer:
            followed.answer = answer
            for rollout in {rollout for rollout, _ in followed.followers}:
                self._changed(rollout)


def _found(seen: ConfigMapObject | PolicyObject | None) -> Answer:
    if seen is None or seen.deleted_at is not None:
        return Answer(problem="does not exist")
    if isinstance(seen, PolicyObject):
        # Its rules are read when a rollout takes them over: what the watch knows may be older than the prompt.
        return Answer(f"{seen.uid}/{seen.generation}", {})
    # Without a version: labels and annotations change it too.
    return Answer(content=dict(seen.data))
