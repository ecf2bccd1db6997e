"""A rollout told as a story: what people and pods do, and what `decide` makes of it, in virtual time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promptrollout.analysis import Verdict
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import RolloutStatus
from promptrollout.rollout import (
    Better,
    Command,
    Comparison,
    GateAnswer,
    LoadedPayload,
    Observations,
    PodsSeen,
    decide,
)

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STEPS = [
    {"weight": 1, "duration": "10m"},
    {"weight": 25, "until": "Evidence", "timeout": "6h"},
    {"weight": 50, "duration": "1h"},
]


def spec_with(**changes):
    raw = {
        "prompt": {"inline": {"text": "unused: the story names revisions itself"}},
        "strategy": {"canary": {"steps": STEPS}},
    }
    return RolloutSpec.model_validate({**raw, **changes})


def ab_test(on_winner, weights, horizon="14d"):
    prompt = {"inline": {"text": "unused: the story names revisions itself"}}
    arms = [{"name": name, "weight": weight, "prompt": prompt} for name, weight in weights.items()]
    control = {"name": "control", "weight": 100 - sum(weights.values())}
    return {"abTest": {"arms": [control, *arms], "horizon": horizon, "onWinner": on_winner}}


class Story:
    """Spec, status, pods and clock of one rollout."""

    def __init__(self, **spec):
        self.spec = spec_with(**spec)
        self.status = RolloutStatus()
        self.now = START
        self.pods = ("pod-a", "pod-b")
        self.loaded = {}
        self.by_sub_path = ()
        self.wanted = "aaaa000000"
        self.generation = 1
        self.problems = ()
        self.blocked = ""
        self.command = None
        self.texts = {"aaaa000000"}
        self.comparison = None
        self.of_arms = {}
        self.arms = {"terse": "1111000000", "warm": "2222000000", "formal": "3333000000"}
        self.policy = None
        self.kept = ()
        self.answered = {}
        self.decisions = []

    # what happens

    def wants(self, revision):
        self.wanted, self.generation = revision, self.generation + 1
        self.texts.add(revision)
        return self.turn()

    def edits(self, **spec):
        self.spec, self.generation = spec_with(**spec), self.generation + 1
        return self.turn()

    def says(self, verb, name=None, by="someone"):
        self.command = Command.parse(f"{verb}:{name or len(self.decisions)}", by)
        return self.turn()

    def answers(self, result, **said):
        """The gate that is waited for answers."""
        (run,) = [run for run in self.status.gates if not run.result]
        self.answered[run.id] = GateAnswer(result, **said)
        return self.turn()

    def after(self, span):
        self.now += parse_duration(span)
        if self.comparison and not self.comparison.unreadable:
            self.comparison = replace(self.comparison, through=self.now, read_at=self.now)
        self.of_arms = {k: replace(v, through=self.now, read_at=self.now) for k, v in self.of_arms.items()}
        return self.turn()

    def pods_load(self, *names):
        sequence = self.status.delivered.sequence
        for name in names or self.pods:
            self.loaded[name] = LoadedPayload(sequence, self.now)
        return self.turn()

    def evidence(self, verdict=Verdict.Inconclusive, **facts):
        fixed = {"samples": 1000, "outlook": "errors not yet shown non-inferior"}
        self.comparison = Comparison(self._trial(), verdict, self.now, self.now, **{**fixed, **facts})
        return self.turn()

    def arm_evidence(self, arm, verdict=Verdict.NonInferior, against="stable", *, better=False, **facts):
        """What is said of one arm of several; of the others, that nothing is shown yet."""
        for pair in self.decisions[-1].sampling:
            key = (pair.arm, pair.against)
            old = self.of_arms.get(key) or Comparison(
                self._trial(), Verdict.Inconclusive, self.now, self.now, arm=pair.arm, against=pair.against
            )
            self.of_arms[key] = replace(old, trial=self._trial(), through=self.now, read_at=self.now)
        said = Comparison(
            self._trial(), verdict, self.now, self.now, arm=arm, against=against, samples=1000, **facts
        )
        self.of_arms[arm, against] = replace(said, better=Better(3.0 if better else 0.1, better, "20 of 40"))
        return self.turn()

    def evidence_of(self, revision, verdict):
        self.comparison = Comparison((revision, 1), verdict, self.now, self.now)
        return self.turn()

    def metrics_fail(self, why="Prometheus does not answer"):
        self.comparison = Comparison(self._trial(), Verdict.Inconclusive, self.now, self.now, unreadable=why)
        return self.turn()

    def is_invalid(self, path="spec.prompt", message="is wrong", cure="mend it"):
        self.problems = (Problem(path, message, cure),)
        return self.turn()

    def _trial(self):
        candidate = self.status.candidate
        return (candidate.revision, candidate.attempt) if candidate else ("", 0)

    # what follows

    def turn(self):
        """Decide until nothing changes any more at this moment, as the shell does."""
        for _ in range(20):
            before = self.status
            self.once()
            if self.status == before:
                return self
        raise AssertionError(f"no rest at {self.now}: {self.status}")

    def once(self, written=None):
        """One decision; `written`: what the ConfigMap says of itself, if not what status says."""
        delivered = self.status.delivered
        seen = Observations(
            uid="uid-1",
            generation=self.generation,
            wanted="" if self.problems else self.wanted,
            problems=self.problems,
            blocked=self.blocked,
            written=written
            or ((delivered.sequence, delivered.written_at or self.now) if delivered else None),
            pods=PodsSeen(self.pods, dict(self.loaded), tuple(self.by_sub_path)),
            arms=dict(self.arms),
            policy=self.policy,
            comparisons=(*((self.comparison,) if self.comparison else ()), *self.of_arms.values()),
            command=self.command,
            texts=frozenset(self.texts),
            kept=self.kept,
            gates=dict(self.answered),
        )
        decision = decide(self.spec, self.status, seen, self.now)
        again = decide(self.spec, self.status, seen, self.now)
        assert again == decision, "the same arguments give the same decision"
        self.status = decision.status
        self.decisions.append(decision)

    # what is seen

    @property
    def phase(self):
        return self.status.phase.value

    @property
    def weights(self):
        return {arm.name: arm.weight for arm in self.status.delivered.arms}

    @property
    def served(self):
        found = {}
        for arm in self.status.delivered.arms:
            found[arm.revision] = found.get(arm.revision, 0) + arm.weight
        return found

    @property
    def reasons(self):
        return [note.reason for decision in self.decisions for note in decision.notes]

    def condition(self, name):
        return next(c for c in self.status.conditions if c.type == name)

    @property
    def wakes_in(self):
        at = self.decisions[-1].wake_at
        return None if at is None else at - self.now


@pytest.fixture
def story():
    return Story


@pytest.fixture
def healthy():
    """A rollout whose first revision is served by all."""

    def make(**spec):
        told = Story(**spec)
        return told.turn().pods_load()

    return make


@pytest.fixture
def at_step():
    """A trial whose candidate has been loaded at the given step."""

    def make(step=1, **spec):
        told = Story(**spec)
        told.turn().pods_load().wants("bbbb000000").pods_load().pods_load()
        for _ in range(step - 1):
            told.evidence(Verdict.Inconclusive).says("promote").pods_load()
        told.command = None
        return told

    return make


@pytest.fixture
def in_test():
    """A test of two challengers (or those named) whose weights have been loaded."""

    def make(on_winner="Promote", weights=None, horizon="14d", **spec):
        told = Story(strategy=ab_test(on_winner, weights or {"terse": 25, "warm": 25}, horizon), **spec)
        return told.turn().pods_load().turn().pods_load().pods_load()

    return make


@pytest.fixture
def minutes():
    return lambda n: timedelta(minutes=n)
