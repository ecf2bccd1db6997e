"""Who has loaded what: pods are nudged after a write, and asked through their metrics until all have it."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from promptrollout.api.spec import Delivery, DeliveryMode, PodSelector
from promptrollout.cluster.errors import ClusterError
from promptrollout.cluster.objects import LabelRequirement, LabelSelector, ObjectKey, PodView
from promptrollout.cluster.protocol import Cluster
from promptrollout.delivery import Payload
from promptrollout.rollout import LoadedPayload, PodsSeen
from promptrollout.sources.protocol import LoadedBy, MetricSource, SourceError

_FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)

log = logging.getLogger(__name__)

#: After that kubelet has looked at every pod by itself (syncFrequency 60 s, times 1 to 1.5).
KUBELETS_OWN_PACE = timedelta(seconds=90)


@dataclass(slots=True)
class Awaited:
    """A payload that pods have yet to load.

    `there` are all pods, `pods` those that are waited for, `loaded` what each has said; `late_until` is set once
    nothing waits for it any more.
    """

    key: ObjectKey
    source: str
    config_map: str
    delivery: Delivery
    payload: Payload
    nudges: int = 0
    nudged_at: datetime | None = None
    there: tuple[PodView, ...] = field(default=())
    pods: tuple[PodView, ...] = field(default=())
    loaded: dict[str, LoadedPayload] = field(default_factory=dict)
    late_until: datetime | None = None

    def lack(self, pods: Iterable[PodView]) -> list[PodView]:
        """Those that have not said that they have it."""
        return [
            pod
            for pod in pods
            if pod.name not in self.loaded or self.loaded[pod.name].sequence < self.payload.sequence
        ]


class Acknowledgements:
    """Follows deliveries until the pods have loaded them.

    Args:
        sources: the configured metric sources by name.
        news: called with a key and what its pods say, when that has changed.
        default_mode: how changes reach the pods where the spec does not say.
        again: seconds after which a pod that has not answered is nudged again (two scrapes: a nudge can
            overtake kubelet's own copy of the ConfigMap).
    """

    def __init__(
        self,
        cluster: Cluster,
        sources: Mapping[str, MetricSource],
        news: Callable[[ObjectKey, PodsSeen], None],
        clock: Callable[[], datetime],
        *,
        default_mode: DeliveryMode,
        again: float,
    ) -> None:
        self._cluster = cluster
        self._sources = sources
        self._news = news
        self._clock = clock
        self._default_mode = default_mode
        self._again = again
        self._awaited: dict[ObjectKey, Awaited] = {}
        self._late: dict[ObjectKey, Awaited] = {}
        self._said: dict[ObjectKey, PodsSeen] = {}
        self._changed = asyncio.Event()

    @property
    def awaited(self) -> int:
        """How many deliveries are not loaded by all pods yet."""
        return len(self._awaited)

    async def follow(self, awaited: Awaited, *, written: bool) -> None:
        """Wait for this payload from now on; `written`: it has just been written, so nudge now."""
        old = self._awaited.get(awaited.key)
        if old is not None and old.payload.hash == awaited.payload.hash and not written:
            old.delivery, old.source = awaited.delivery, awaited.source
            return
        self.leave(awaited.key)
        self._awaited[awaited.key] = awaited
        try:
            await self._nudge(awaited)
        except ClusterError as error:
            log.warning("%s: pods cannot be nudged now: %s", awaited.key, error)
        self._changed.set()

    def rest(self, key: ObjectKey) -> None:
        """Nothing waits for it any more: all have it that must.

        Pods that were just starting, or that the quorum did without, may have mounted what was there before: they are
        nudged again until they have it or kubelet has come by itself.
        """
        awaited = self._awaited.get(key)
        if awaited is not None:
            self.leave(key)
            if self._nudges(awaited) and awaited.lack(awaited.there):
                awaited.late_until = self._clock() + KUBELETS_OWN_PACE
                self._late[key] = awaited

    def leave(self, key: ObjectKey) -> None:
        """The rollout is gone, or has another payload."""
        self._awaited.pop(key, None)
        self._late.pop(key, None)
        self._said.pop(key, None)

    async def run(self, every: float) -> None:
        """Ask for ever, every so many seconds, while anything is awaited."""
        while True:
            if not self._awaited and not self._late:
                self._changed.clear()
                await self._changed.wait()
            await self.ask()
            await asyncio.sleep(every)

    async def ask(self) -> None:
        """Ask once: the pods that there are, and what they say; one question to each source."""
        self._late = {key: each for key, each in self._late.items() if self._still_late(each)}
        waiting = [*self._awaited.values(), *self._late.values()]
        by_source: dict[str, list[Awaited]] = {}
        for awaited in waiting:
            by_source.setdefault(awaited.source, []).append(awaited)
        await asyncio.gather(*(self._ask_source(name, some) for name, some in by_source.items()))

    async def _ask_source(self, name: str, waiting: list[Awaited]) -> None:
        source = self._sources.get(name)
        if source is None:
            answers: Mapping[str, tuple[LoadedBy, ...]] | SourceError = {}
        else:
            answers = await source.acknowledgements([str(awaited.key) for awaited in waiting])
        await asyncio.gather(*(self._look_apart(awaited, answers) for awaited in waiting))

    async def _look_apart(
        self, awaited: Awaited, answers: Mapping[str, tuple[LoadedBy, ...]] | SourceError
    ) -> None:
        """As `_look`: whatever one rollout's pods say, the others are asked."""
        try:
            await self._look(awaited, answers)
        except Exception as error:
            log.exception("%s: what its pods have loaded cannot be told", awaited.key)
            self._say(awaited, PodsSeen(unavailable=f"the operator fails on it ({type(error).__name__})"))

    async def _look(
        self, awaited: Awaited, answers: Mapping[str, tuple[LoadedBy, ...]] | SourceError
    ) -> None:
        try:
            awaited.there = await self._pods(awaited)
        except (ClusterError, ValueError) as error:
            self._say(awaited, PodsSeen(unavailable=str(error)))
            return
        if isinstance(answers, SourceError):
            awaited.pods = tuple(pod for pod in awaited.there if pod.ready)
            self._say(awaited, self._seen(awaited, unavailable=answers.message))
            return
        words = loaded_payloads(awaited.there, answers.get(str(awaited.key), ()), awaited.payload)
        awaited.pods = serving(awaited.there, words, awaited.payload)
        # A pod does not go back: one missed scrape of it is no reason to forget what it said.
        for pod, word in words.items():
            if pod not in awaited.loaded or awaited.loaded[pod].sequence < word.sequence:
                awaited.loaded[pod] = word
        self._say(awaited, self._seen(awaited))
        await self._nudge_again(awaited)

    def _seen(self, awaited: Awaited, unavailable: str = "") -> PodsSeen:
        watches = (awaited.delivery.mode or self._default_mode) is DeliveryMode.WATCH
        return PodsSeen(
            ready=tuple(pod.name for pod in awaited.pods),
            loaded={} if unavailable else dict(awaited.loaded),
            never_refreshed=() if watches else never_refreshed(awaited.pods, awaited.config_map),
            unavailable=unavailable,
        )

    def _say(self, awaited: Awaited, seen: PodsSeen) -> None:
        if self._awaited.get(awaited.key) is awaited and self._said.get(awaited.key) != seen:
            self._said[awaited.key] = seen
            self._news(awaited.key, seen)

    async def _pods(self, awaited: Awaited) -> tuple[PodView, ...]:
        """The pods that have begun and are neither ending nor ended, ready or not."""
        wanted = awaited.delivery.pod_selector
        pods = await self._cluster.pods(
            awaited.key.namespace,
            selector_of(wanted) if wanted else None,
            mounting=None if wanted else awaited.config_map,
        )
        return tuple(pod for pod in pods if not pod.terminating and not pod.finished)

    def _nudges(self, awaited: Awaited) -> bool:
        return (awaited.delivery.mode or self._default_mode) is DeliveryMode.NUDGE

    def _still_late(self, awaited: Awaited) -> bool:
        until = awaited.late_until
        return until is not None and self._clock() < until and bool(awaited.lack(awaited.there))

    async def _nudge(self, awaited: Awaited) -> None:
        if not self._nudges(awaited):
            return
        # Also those that are not ready: when they are, nobody may be awaited and nudged any more, and what they mount
        # would be as old (or, of an optional ConfigMap, as empty) as at their start until kubelet's own next look.
        await self._touch(awaited, await self._pods(awaited))

    async def _nudge_again(self, awaited: Awaited) -> None:
        last = awaited.nudged_at
        if last is None or (self._clock() - last).total_seconds() < self._again:
            return
        await self._touch(awaited, awaited.lack(awaited.pods))

    async def _touch(self, awaited: Awaited, pods: Collection[PodView]) -> None:
        awaited.nudged_at = self._clock()
        carried = {pod.nudge for pod in pods}
        # A value that a pod carries already changes nothing: of a repaired payload, or of an operator before this one.
        while (value := f"{awaited.payload.sequence}.{awaited.nudges}") in carried:
            awaited.nudges += 1
        report = await self._cluster.nudge(pods, value)
        awaited.nudges += 1
        for pod, error in (report.failed or {}).items():
            log.warning("%s: pod %s cannot be nudged, kubelet's own pace holds: %s", awaited.key, pod, error)


def loaded_payloads(
    pods: Iterable[PodView], answers: Iterable[LoadedBy], payload: Payload
) -> dict[str, LoadedPayload]:
    """What each pod has loaded. Of a pod with several processes, the one that is furthest behind counts.

    A word on the awaited sequence with another hash is no acknowledgement: that pod read something else. Nor is one on
    a later sequence: there is none yet, so it is of a rollout of this name that was deleted since.
    """
    by_name = {(pod.key.namespace, pod.name): pod.name for pod in pods}
    by_ip = {pod.ip: pod.name for pod in pods if pod.ip}
    loaded: dict[str, LoadedPayload] = {}
    for answer in answers:
        name = by_name.get((answer.namespace, answer.pod)) or by_ip.get(answer.instance.rpartition(":")[0])
        if name is None:
            continue
        sound = answer.sequence < payload.sequence or (answer.sequence, answer.hash) == (
            payload.sequence,
            payload.hash,
        )
        at = _moment(answer.loaded_at)
        word = LoadedPayload(answer.sequence if sound else -1, at)
        old = loaded.get(name)
        if old is None or (word.sequence, -at.timestamp()) < (old.sequence, -old.at.timestamp()):
            loaded[name] = word
    return loaded


def serving(
    pods: Iterable[PodView], words: Mapping[str, LoadedPayload], payload: Payload
) -> tuple[PodView, ...]:
    """The pods to wait for: who is ready, and who is not but says at this moment that it serves an older payload.

    No Service sends anything to a pod that is not ready, and one that never gets ready must hold nothing up. But its
    own word is proof that it runs: it may answer open connections or take work from a queue, and be ready again later.
    """
    return tuple(
        pod
        for pod in pods
        if pod.ready or (pod.name in words and words[pod.name].sequence < payload.sequence)
    )


def _moment(seconds: float) -> datetime:
    """A pod's word on when; one that no calendar has (in milliseconds, say) is in the future, so counts as now."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return _FAR_FUTURE


def never_refreshed(pods: Iterable[PodView], config_map: str) -> tuple[str, ...]:
    """The pods that mount this ConfigMap by subPath and not as a directory too."""
    by_pod = {
        pod.name: [mount.refreshes for mount in pod.mounts if mount.config_map == config_map] for pod in pods
    }
    return tuple(sorted(name for name, refreshing in by_pod.items() if refreshing and not any(refreshing)))


def selector_of(selector: PodSelector) -> LabelSelector:
    """The API's selector as the cluster takes it."""
    return LabelSelector(
        dict(selector.match_labels),
        tuple(LabelRequirement(r.key, r.operator, tuple(r.values)) for r in selector.match_expressions),
    )
