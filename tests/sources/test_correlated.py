"""Correlated requests end to end: the SDK's counters, a real Prometheus, our source, the engine's design effect.

Conversations are played through the real SDK in virtual time and their counters written to a real Prometheus with the
times at which a scrape would have seen them. What comes back must be what was played, and its design effect that of the
conversations themselves, counted here from the requests.
"""

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from e2e.controlplane import prometheus as real
from e2e.controlplane.binaries import find
from e2e.controlplane.remotewrite import RECEIVER, push
from e2e.processes.supervisor import Supervisor
from promptrollout.analysis import (
    ArmClusters,
    ClusterCounts,
    EventCounts,
    Evidence,
    Guarantee,
    History,
    Window,
    assess,
    dispersion,
    fold,
)
from promptrollout.analysis.evidence import prior
from promptrollout.analysis.kinds.base import Slot
from promptrollout.api.spec import Analysis
from promptrollout.cli.measuring import measure
from promptrollout.delivery import ArmWeight, Payload, render
from promptrollout.revision import seal
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.planning import Planned, plan_of
from promptrollout.sources.prometheus import PrometheusSource
from promptrollout.sources.protocol import Subject
from promptrollout_sdk import PromptRollout
from promptrollout_sdk.hashing import cluster_of

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(180)]

HOUR, MINUTE, DAY = 3600, 60, 86_400
#: Hours before the trial and in it, requests a second, and what a conversation is like.
BEFORE, TRIAL, RATE, TURNS, PODS = 3, 3, 1.0, 8.0, 2
ERRORS, ICC = 0.05, 0.3
KEY = "shop/chat"
#: Any hour will do; Prometheus takes samples of any time into an empty store.
BEGIN = 1_750_000_000 // HOUR * HOUR

PLANNED = plan_of(
    Analysis.model_validate(
        {
            "metrics": [
                {"name": "errors", "preset": "sdk/errors"},
                {"name": "helpful", "preset": "sdk/score", "score": "helpfulness"},
            ]
        }
    )
)


@dataclass
class Sums:
    """What an arm's requests of one hour add up to, by cluster: [16] each."""

    requests: list[float] = field(default_factory=lambda: [0.0] * 16)
    errors: list[float] = field(default_factory=lambda: [0.0] * 16)
    scores: list[float] = field(default_factory=lambda: [0.0] * 16)
    squares: float = 0.0
    exposed: list[float] = field(default_factory=lambda: [0.0] * 16)
    affected: list[float] = field(default_factory=lambda: [0.0] * 16)


class Pod:
    """A serving process, as far as counting goes: the real SDK with a registry of its own."""

    def __init__(self, name: str, mount: Path) -> None:
        self.name = name
        self.registry = CollectorRegistry()
        self.rollout = PromptRollout.from_directory(
            mount, registry=self.registry, scores=["helpfulness"], watch=False
        )
        self.affected: set[tuple[str, int, str]] = set()

    def samples(self) -> Iterator[tuple[tuple[tuple[str, str], ...], float]]:
        """All that a scrape reads, but for the histograms, which nobody asks for here."""
        for family in self.registry.collect():
            for sample in family.samples:
                if family.type != "histogram" and not sample.name.endswith("_created"):
                    labels = {"__name__": sample.name, "pod": self.name, **sample.labels}
                    yield tuple(labels.items()), sample.value


class Chat:
    """Conversations over some hours, and the truth about them by (hour, arm)."""

    def __init__(self, folder: Path) -> None:
        self.rng = np.random.default_rng(20_261_127)
        self.mount = folder
        self.revisions = {r.short: r.document for r in (seal({"text": f"prompt {i}"}) for i in range(2))}
        self.stable, self.candidate = self.revisions
        self.truth: defaultdict[tuple[int, str], Sums] = defaultdict(Sums)
        self.deliver(ArmWeight("stable", self.stable, 10_000), exposure=1)
        self.pods = [Pod(f"chat-{i}", folder) for i in range(PODS)]
        self.turns = self._turns()

    def deliver(self, *arms: ArmWeight, exposure: int) -> None:
        payload = Payload(
            KEY, sequence=exposure, exposure=exposure, unit="conversation", salt="salt", arms=arms
        )
        for file, text in render(payload, self.revisions).items():
            (self.mount / file).write_text(text)

    def _turns(self) -> Sequence[tuple[float, str, float, float]]:
        """In order of time: when, which conversation, and its shares of errors and of good answers."""
        rng, seconds = self.rng, (BEFORE + TRIAL) * HOUR
        found = []
        for unit in range(int(rng.poisson(RATE * seconds / TURNS))):
            bad = rng.beta(*_beta(ERRORS))
            good = rng.beta(*_beta(0.7))
            at = rng.uniform(0.0, seconds)
            for _ in range(int(rng.geometric(1.0 / TURNS))):
                found.append((at, f"chat-{unit}", bad, good))
                at += rng.uniform(30.0, 120.0)
        return sorted(turn for turn in found if turn[0] < seconds)

    def play(self, url: str) -> None:
        """Serve all, a scrape at each full minute; an hour of samples at a time to Prometheus."""
        left = list(reversed(self.turns))
        for hour in range(BEFORE + TRIAL):
            if hour == BEFORE:
                self.deliver(
                    ArmWeight("candidate", self.candidate, 3000),
                    ArmWeight("stable", self.stable, 7000),
                    exposure=2,
                )
                assert all(pod.rollout.refresh() for pod in self.pods)
            seen: defaultdict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
            for minute in range(HOUR // MINUTE + 1):
                at = hour * HOUR + minute * MINUTE
                if minute == 20 and hour >= BEFORE:
                    # A pod is replaced: its conversations go on in another process, which knows nothing of them. (Of
                    # the past, read on a grid, the last minutes of a pod that went would be missing.)
                    self.pods[0] = Pod(f"chat-0-{hour}", self.mount)
                while left and left[-1][0] < at and minute:
                    self._serve(hour, left.pop())
                if minute or not hour:
                    for pod in self.pods:
                        for labels, value in pod.samples():
                            seen[labels].append((BEGIN + at, value))
            push(url, ((dict(labels), points) for labels, points in seen.items()))

    def _serve(self, hour: int, turn: tuple[float, str, float, float]) -> None:
        _, unit, bad, good = turn
        pod = self.pods[int(self.rng.integers(PODS))]
        failed, score = bool(self.rng.random() < bad), 1.0 if self.rng.random() < good else 0.25
        answer = pod.rollout.assign(unit=unit)
        with answer.request() as request:
            request.outcome("error" if failed else "ok")
        answer.score("helpfulness", score)
        sums, cluster = self.truth[hour, answer.arm], cluster_of(unit)
        sums.requests[cluster] += 1
        sums.errors[cluster] += failed
        sums.scores[cluster] += score
        sums.squares += score * score
        key = (unit, 1 if hour < BEFORE else 2, answer.arm)
        if key not in pod.affected:
            sums.exposed[cluster] += 1
            sums.affected[cluster] += failed
            if failed:
                pod.affected.add(key)

    def design_effect(
        self, name: str, *, units: bool = False, through: int = BEFORE + TRIAL, shared: bool = False
    ) -> float:
        """The estimate, from the conversations themselves; `shared`: that of both arms together."""
        assert isinstance(PLANNED, Planned)
        metric = PLANNED.plan.metrics[PLANNED.plan.positions[name]]
        state = dispersion.fresh(16)[None]
        for hour in range(through):
            arms = {
                arm: self._arm(self.truth[hour, arm], name, units=units) for arm in ("stable", "candidate")
            }
            counts = ClusterCounts(
                BEGIN + hour * HOUR,
                BEGIN + (hour + 1) * HOUR,
                arms["stable"],
                arms["candidate"] if hour >= BEFORE else None,
            )
            read = dispersion.read(counts)
            assert not isinstance(read, str)
            state = dispersion.absorb(state, read[0][None])
        estimate = dispersion.shared_effect if shared else dispersion.design_effect
        return float(estimate(state, prior(metric, units=units))[0])

    @staticmethod
    def _arm(sums: Sums, name: str, *, units: bool) -> ArmClusters:
        if name == "helpful":
            return ArmClusters(tuple(sums.requests), tuple(sums.scores), sums.squares)
        if units:
            return ArmClusters(tuple(sums.exposed), tuple(sums.affected))
        return ArmClusters(tuple(sums.requests), tuple(sums.errors))

    def total(self, arm: str, hours: range) -> EventCounts:
        some = [self.truth[hour, arm] for hour in hours]
        return EventCounts(sum(sum(s.requests) for s in some), sum(sum(s.errors) for s in some))


def _beta(mean: float) -> tuple[float, float]:
    size = 1.0 / ICC - 1.0
    return mean * size, (1.0 - mean) * size


@dataclass(frozen=True)
class Played:
    chat: Chat
    url: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with Supervisor() as supervisor:
        running = real.start(supervisor, find(["prometheus"]), flags=[RECEIVER])
        running.wait()
        chat = Chat(tmp_path_factory.mktemp("mount"))
        chat.play(running.url)
        yield Played(chat, running.url)


@pytest.fixture
async def source(played: Played) -> AsyncIterator[PrometheusSource]:
    made = PrometheusSource(PrometheusConfig(played.url, timeout=20))
    yield made
    await made.close()


def subject(chat: Chat) -> Subject:
    assert isinstance(PLANNED, Planned)
    return Subject(KEY, chat.candidate, chat.stable, 2, 3000, PLANNED.queries, BEGIN + BEFORE * HOUR)


async def seed(chat: Chat, source: PrometheusSource) -> Mapping[str, History]:
    """As the sampler reads it: the day before the trial."""
    since = BEGIN + BEFORE * HOUR
    found = await source.history(subject(chat), since - DAY, since)
    return {name: past for name, past in found.items() if isinstance(past, History)}


async def test_stables_past_gives_the_design_effect_of_its_conversations(
    played: Played, source: PrometheusSource
) -> None:
    chat = played.chat
    assert isinstance(PLANNED, Planned)
    evidence = Evidence.initial(PLANNED.plan, await seed(chat, source))
    errors, helpful = (evidence.array(PLANNED.plan.positions[name]) for name in ("errors", "helpful"))
    assert errors[Slot.PHI] == pytest.approx(chat.design_effect("errors", through=BEFORE), rel=1e-12)
    truth = chat.design_effect("errors", units=True, through=BEFORE)
    assert errors[Slot.PHI_UNITS] == pytest.approx(truth, rel=1e-12)
    assert helpful[Slot.PHI] == pytest.approx(chat.design_effect("helpful", through=BEFORE), rel=1e-12)


async def test_the_planner_reads_traffic_and_design_effects(played: Played) -> None:
    chat = played.chat
    assert isinstance(PLANNED, Planned)
    span = (BEGIN + BEFORE * HOUR, float(BEFORE * HOUR))
    found = await measure(played.url, PLANNED, KEY, span, (None, chat.stable))
    served = sum(sum(chat.truth[hour, "stable"].requests) for hour in range(BEFORE))
    assert found.per_second == pytest.approx(served / (BEFORE * HOUR), rel=0.02)
    for name in ("errors", "helpful"):
        truth = chat.design_effect(name, through=BEFORE, shared=True)
        assert found.design_effects[name] == pytest.approx(truth, rel=1e-9)


async def test_a_trial_read_window_by_window_gives_the_design_effect_of_both_arms_conversations(
    played: Played, source: PrometheusSource
) -> None:
    chat = played.chat
    assert isinstance(PLANNED, Planned)
    plan, since = PLANNED.plan, BEGIN + BEFORE * HOUR
    evidence = Evidence.initial(plan, await seed(chat, source))
    windows: list[Window] = []
    for start in range(since, since + TRIAL * HOUR, 600):
        # Ten minutes at a time, so that windows and blocks of cluster sums each go on from what they have counted.
        found = (await source.sample([subject(chat)], start, start + 600, 60.0))[KEY]
        assert found.problems == {}
        windows += found.windows
    evidence = fold(plan, evidence, windows)
    assert (evidence.windows, evidence.rejected) == (TRIAL * 60, 0)

    hours = range(BEFORE, BEFORE + TRIAL)
    for arm in ("candidate", "stable"):
        counts = [getattr(window.metrics["errors"], arm) for window in windows]
        total = EventCounts(math.fsum(c.total for c in counts), math.fsum(c.bad for c in counts))
        assert total == chat.total(arm, hours)
        scores = [getattr(window.metrics["helpful"], arm) for window in windows]
        assert math.fsum(s.sumsq for s in scores) == sum(chat.truth[hour, arm].squares for hour in hours)

    errors, helpful = (evidence.array(plan.positions[name]) for name in ("errors", "helpful"))
    assert errors[Slot.PHI] == pytest.approx(chat.design_effect("errors"), rel=1e-12)
    assert errors[Slot.PHI_UNITS] == pytest.approx(chat.design_effect("errors", units=True), rel=1e-12)
    assert helpful[Slot.PHI] == pytest.approx(chat.design_effect("helpful"), rel=1e-9)

    # Geometric conversations of 8: 1 + (2 * 8 - 2) * .3 = 5.2, on which the estimate lays a standard error.
    said = {metric.name: metric for metric in assess(plan, evidence).metrics}
    assert 4.0 < said["errors"].design_effect < 10.0
    assert 4.0 < said["helpful"].design_effect < 10.0
    assert said["errors"].guarantee is Guarantee.DesignEffect
    # First events of units are nearly independent, so they need much less.
    assert errors[Slot.PHI_UNITS] < 0.6 * errors[Slot.PHI]
