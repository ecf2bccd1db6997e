"""Random histories of one rollout: whatever people, pods, metrics, clock and crashes do, these things hold."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from e2e import kstatus
from e2e.objects import KubeObject
from promptrollout.analysis import AnalysisPlan, Evidence, Verdict, events_metric
from promptrollout.api.parse import parse_spec, parse_status
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import parse_duration, parse_weight
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Outcome, Phase, RolloutStatus
from promptrollout.rollout import (
    Command,
    Comparison,
    GateAnswer,
    LoadedPayload,
    Observations,
    PodsSeen,
    SourceSeen,
    decide,
)
from promptrollout.rollout.payload import payload_of
from tests.rollout.choices import EDITS, PLAIN

START = datetime(2026, 11, 23, 12, 0, 0, 123_456, tzinfo=UTC)
REVISIONS = ["aaaa000000", "bbbb000000", "cccc000000", "dddd000000"]
PODS = ["pod-a", "pod-b", "pod-c", "pod-d"]
VERBS = ["promote", "promote-full", "abort", "retry", "pause", "resume", "explode", "promote" * 60, ""]
VERBS += ["approve", "skip"]
EVIDENCE = Evidence.initial(AnalysisPlan(metrics=(events_metric("errors"),)), {})
CONDITIONS = {"Healthy", "Progressing", "Delivered", "MetricsAvailable", "Decidable", "Paused", "Valid"}
CONDITIONS |= {"Ready", "Reconciling", "Stalled"}
DOWN = "registry prompts cannot be asked: no connection"
WAY_OUT = re.compile(r"\b(promote|abort|retry|resume|change|mend|delete|restore)\b", re.IGNORECASE)
TWO_MINUTES = timedelta(minutes=2)


def spec_of(raw):
    spec = parse_spec(raw)
    # "until" needs a Required metric; such a spec is refused before it comes here.
    return spec if isinstance(spec, RolloutSpec) else None


def over_the_wire(status):
    return parse_status(json.loads(json.dumps(status.to_wire())))


def weights_of(status):
    return {arm.revision: arm.weight for arm in status.delivered.arms} if status.delivered else {}


def trial_of(candidate):
    return (candidate.revision, candidate.attempt) if candidate else ("", 0)


class Histories(RuleBasedStateMachine):
    """The world around `decide`: everything that it does not decide itself."""

    def __init__(self):
        super().__init__()
        self.raw, self.spec = PLAIN, spec_of(PLAIN)
        self.status, self.now, self.generation = RolloutStatus(), START, 1
        self.wanted, self.problems, self.blocked, self.unreadable_spec = REVISIONS[0], (), "", False
        self.source, self.unresolved = None, ""
        self.pods, self.loaded, self.pods_fail, self.looked = set(PODS[:2]), {}, "", True
        self.comparison, self.command = None, None
        self.config_map, self.written_at, self.write_fails = None, None, False
        self.unobserved = 0
        self.banned = set()
        self.answered = {}

    # What happens.

    @initialize(served=st.booleans())
    def begin(self, served):
        self.happened()
        if served:
            self.pods_load(set(PODS))

    @rule(wanted=st.sampled_from(REVISIONS))
    def prompt_changes(self, wanted):
        self.want(wanted)

    @precondition(lambda self: self.status.history)
    @rule(data=st.data())
    def prompt_goes_back(self, data):
        self.want(data.draw(st.sampled_from([entry.revision for entry in self.status.history])))

    def want(self, wanted):
        if wanted != self.wanted:
            self.banned.clear()
        self.wanted, self.generation = wanted, self.generation + 1
        self.happened()

    @rule(data=st.data(), field=st.sampled_from(EDITS))
    def rules_are_edited(self, data, field):
        name, choices = field
        raw = {**self.raw, name: data.draw(st.sampled_from(choices))}
        if spec := spec_of(raw):
            self.raw, self.spec, self.generation = raw, spec, self.generation + 1
        self.happened()

    @rule(verb=st.sampled_from(VERBS), name=st.integers(1, 3), sure=st.booleans())
    def someone_commands(self, verb, name, sure):
        # Sure of a fresh id most of the time; repeated ones must do nothing.
        last = self.status.last_command
        self.command = Command(verb, f"{name}-{self.now.isoformat()}" if sure else last.id if last else "1")
        self.happened()

    @rule(
        verdict=st.sampled_from([*Verdict, Verdict.NonInferior, Verdict.Inconclusive]),
        samples=st.sampled_from([0, 499, 500, 10_000]),
        lag=st.sampled_from([timedelta(0), timedelta(seconds=31), timedelta(hours=3)]),
        trouble=st.sampled_from(["", "", "", "mismatch", "unreadable"]),
    )
    def analysis_speaks(self, verdict, samples, lag, trouble):
        self.comparison = Comparison(
            trial_of(self.status.candidate),
            verdict,
            self.now - lag,
            self.now,
            samples=samples,
            harm_reason="errors 9 % against 1 %" if verdict is Verdict.Harmed else "",
            outlook="errors not yet shown non-inferior",
            state=EVIDENCE,
            mismatch="the candidate got 9% instead of 25%" if trouble == "mismatch" else "",
            unreadable="Prometheus does not answer" if trouble == "unreadable" else "",
            nothing_matched="no series" if verdict is Verdict.NoData else "",
        )
        self.happened()

    @rule(
        revision=st.sampled_from(REVISIONS),
        attempt=st.integers(1, 2),
        verdict=st.sampled_from([Verdict.Harmed, Verdict.NonInferior]),
    )
    def analysis_speaks_of_an_earlier_trial(self, revision, attempt, verdict):
        started = self.status.candidate.started_at if self.status.candidate else self.now
        before = started - timedelta(milliseconds=1)
        self.comparison = Comparison((revision, attempt), verdict, before, before, samples=10_000)
        self.happened()

    @precondition(lambda self: any(not run.result for run in self.status.gates))
    @rule(result=st.sampled_from(["Passed", "Passed", "Failed", ""]))
    def a_gate_answers(self, result):
        run = next(run for run in self.status.gates if not run.result)
        if run.kind != "approval":
            self.answered[run.id] = GateAnswer(result, score="0.9", message="its word")
        self.happened()

    @rule(names=st.sets(st.sampled_from(PODS)), skew=st.sampled_from([0, 0, 0, -90, 90, 10**7]))
    def some_pods_load(self, names, skew):
        self.pods_load(names, timedelta(seconds=skew))

    @rule()
    def all_pods_load(self):
        self.pods_load(set(PODS))

    def pods_load(self, names, skew=timedelta(0)):
        if self.config_map:
            word = LoadedPayload(self.config_map.sequence, self.now + skew)
            self.loaded |= dict.fromkeys(names, word)
        self.happened()

    @rule(names=st.sets(st.sampled_from(PODS)))
    def pods_come_and_go(self, names):
        self.loaded = {pod: word for pod, word in self.loaded.items() if pod in names & self.pods}
        self.pods = names
        self.happened()

    @rule(why=st.sampled_from(["", "the API server does not answer"]), looked=st.booleans())
    def pods_cannot_be_asked(self, why, looked):
        self.pods_fail, self.looked = why, looked
        self.happened()

    @rule(unreadable=st.booleans())
    def spec_is_broken(self, unreadable):
        self.problems = (Problem("spec.prompt", "is wrong", "mend it"),)
        self.unreadable_spec, self.generation = unreadable, self.generation + 1
        self.happened()

    @rule(asked=st.sampled_from(["inline", "answers", "sealed", "unknown"]))
    def prompt_comes_from_a_registry(self, asked):
        """It answers; it is down, but what it said is sealed; or it is down and nothing is known yet."""
        down = DOWN if asked in {"sealed", "unknown"} else ""
        found = ("1", self.wanted) if asked in {"answers", "sealed"} else ("", "")
        self.source = None if asked == "inline" else SourceSeen("registry prompts: support", *found, down)
        self.unresolved = DOWN if asked == "unknown" else ""
        self.happened()

    @rule()
    def delivery_is_blocked(self):
        self.blocked = "ConfigMap shop/support-prompt belongs to another; delete it"
        self.happened()

    @rule()
    def spec_and_delivery_are_mended(self):
        self.problems, self.unreadable_spec, self.blocked = (), False, ""
        self.source, self.unresolved = None, ""
        self.happened()

    @rule(fails=st.booleans())
    def config_map_writes_fail(self, fails):
        self.write_fails = fails
        self.happened()

    @rule(span=st.sampled_from(["1ms", "1s", "30s", "1m", "5m", "10m", "1h"]), watched=st.booleans())
    def time_passes(self, span, watched):
        self.passes(parse_duration(span), watched)

    @rule(span=st.sampled_from(["7h", "4d"]))
    def operator_is_down(self, span):
        self.passes(parse_duration(span), watched=False)

    @rule(minutes=st.integers(1, 20), micros=st.integers(0, 10**6))
    def clock_is_set_back(self, minutes, micros):
        self.passes(-timedelta(minutes=minutes, microseconds=micros), watched=False)

    def passes(self, span, watched):
        self.now += span
        if watched and self.comparison:
            self.comparison = replace(self.comparison, through=self.now, read_at=self.now)
        self.happened()

    @rule(keeps_analysis=st.booleans())
    def operator_restarts(self, keeps_analysis):
        self.status, self.pods_fail = over_the_wire(self.status), ""
        self.looked = False
        if not keeps_analysis:
            self.comparison = None
        if self.config_map:
            self.written_at = self.now
        self.happened()

    @rule(events=st.integers(1, 3))
    def operator_is_busy(self, events):
        """The next things happen at once, as far as it can see."""
        self.unobserved = events

    # What is done about it.

    def happened(self):
        if self.unobserved:
            self.unobserved -= 1
        else:
            self.settle()

    def settle(self):
        """Turn until nothing changes any more at this moment: soon, and without a word repeated for ever."""
        for _ in range(8):
            before, wrote = self.status, self.config_map
            decision = self.decide()
            if (self.status, self.config_map) == (before, wrote):
                assert decision.notes == (), "said again at every look"
                assert decision.wake_at is None or decision.wake_at > self.now.replace(microsecond=0)
                return
        raise AssertionError(f"no rest: {self.status}")

    def observed(self):
        candidate = self.config_map
        return Observations(
            uid="uid-1",
            generation=self.generation,
            wanted="" if self.problems or self.unresolved else self.wanted,
            problems=self.problems,
            blocked=self.blocked,
            unresolved=self.unresolved,
            source=self.source,
            written=(candidate.sequence, self.written_at) if candidate else None,
            pods=PodsSeen(tuple(sorted(self.pods)), dict(self.loaded), self.pods_fail)
            if self.looked
            else None,
            comparisons=(self.comparison,) if self.comparison else (),
            command=self.command,
            gates=dict(self.answered),
        )

    def decide(self):
        spec, before, seen = None if self.unreadable_spec else self.spec, self.status, self.observed()
        decision = decide(spec, before, seen, self.now)
        assert decide(spec, before, seen, self.now) == decision, "the same arguments give the same decision"
        kept = over_the_wire(before)
        assert kept == before, "what is kept is what was meant"
        assert decide(spec, kept, seen, self.now) == decision, "a restart changes no decision"
        self.status = decision.status
        self.check(before, seen)
        if not self.write_fails and not self.blocked and spec is not None:
            payload = payload_of("shop/support", spec, self.status)
            if payload != self.config_map:
                self.config_map, self.written_at = payload, self.now
        return decision

    # What always holds.

    def check(self, before, seen):
        after = self.status
        self.check_words(after)
        self.check_gates(before, after)
        if after.delivered is None:
            return
        self.check_delivered(before, after)
        commanded = after.last_command != before.last_command and after.last_command.result == "Executed"
        if commanded and after.last_command.verb == "retry":
            self.banned.clear()
        if after.rejected and after.rejected != before.rejected:
            self.banned.add(after.rejected.revision)
        if after.stable != before.stable:
            self.check_promotion(before, after, seen, commanded)
        for revision in weights_of(after):
            self.check_weight(revision, before, after, seen, commanded)
        if before.pause and before.pause.reason == "Command" and not commanded:
            same = trial_of(before.candidate) == trial_of(after.candidate)
            # Its `since` may move: a clock that is set back takes the moments of the future along.
            kept = after.pause is not None and after.pause.reason == "Command"
            assert not same or kept, "only a person ends a person's pause"
        self.check_harm(before, after, seen)

    def check_words(self, after):
        assert after.message
        types = [condition.type for condition in after.conditions]
        assert set(types) == CONDITIONS | ({"PromptAvailable"} if after.source else set())
        assert len(set(types)) == len(types)
        facts = {condition.type: condition.status == "True" for condition in after.conditions}
        assert facts["Healthy"] == (after.phase is Phase.HEALTHY)
        assert facts["Paused"] == (after.phase is Phase.PAUSED)
        assert facts["Valid"] == (after.phase is not Phase.INVALID)
        self.check_standard(after)
        if after.phase in {Phase.PAUSED, Phase.DEGRADED, Phase.INVALID}:
            assert WAY_OUT.search(after.message), after.message
        assert (after.phase is Phase.INVALID) == bool(self.problems or self.blocked)
        if self.unresolved and after.phase is not Phase.INVALID:
            assert (after.phase, DOWN in after.message) == (Phase.PENDING, True)
        if self.source and self.source.unavailable:
            assert facts["PromptAvailable"] is False

    def check_gates(self, before, after):
        """Nobody gets what a gate before delivery has not let through, and no answer is ever taken back."""
        old = {run.id: run for run in before.gates}
        assert len({run.id for run in after.gates}) == len(after.gates)
        for run in after.gates:
            was = old.get(run.id)
            assert was is None or not was.result or was.result == run.result
        if after.phase is Phase.AWAITING_APPROVAL:
            assert "approve" in after.message
        told = set(weights_of(after)) - set(weights_of(before))
        trial = after.candidate
        if before.stable is None or (trial and not trial.undelivered and trial.revision in told):
            attempt = trial.attempt if trial else before.candidate.attempt if before.candidate else 1
            passed = {
                (run.gate, run.digest)
                for run in after.gates
                if run.revision in told and run.attempt == attempt and run.result in {"Passed", "Skipped"}
            }
            stands = [gate for gate in self.spec.gates if gate.when == "BeforeDelivery"]
            needed = {(gate.name, gate.digest()) for gate in stands if before.stable or gate.always}
            assert not told or needed <= passed

    def check_standard(self, after):
        """Other tools, who know only kstatus' rules, see it done, failed or on its way as it is."""
        found = KubeObject({"metadata": {"generation": self.generation}, "status": after.to_wire()})
        failed = after.phase in {Phase.DEGRADED, Phase.INVALID}
        done = after.phase is Phase.HEALTHY
        expected = kstatus.FAILED if failed else kstatus.CURRENT if done else kstatus.IN_PROGRESS
        assert kstatus.compute(found) == kstatus.compute(found, knows_ready=False) == expected
        assert kstatus.kubectl_wait(found, "Healthy") == kstatus.kubectl_wait(found, "Ready") == done
        edited = KubeObject({**found.raw, "metadata": {"generation": self.generation + 1}})
        assert kstatus.compute(edited) == kstatus.IN_PROGRESS
        assert not kstatus.kubectl_wait(edited, "Healthy")

    def check_delivered(self, before, after):
        old, new = before.delivered, after.delivered
        assert [arm.name for arm in new.arms] in (["candidate", "stable"], ["stable"])
        assert all(0 <= arm.weight <= 10_000 for arm in new.arms)
        assert sum(arm.weight for arm in new.arms) == 10_000
        assert new.arms[-1].revision == after.stable.revision
        delivered = after.candidate is not None and not after.candidate.undelivered
        assert (len(new.arms) == 2) == delivered
        assert not delivered or new.arms[0].revision == after.candidate.revision
        assert after.candidate is None or after.candidate.revision != after.stable.revision
        assert after.candidate is None or after.rejected is None
        if old is None:
            return
        assert new.sequence - old.sequence in (0, 1)
        assert new.exposure - old.exposure in (0, 1)
        if new.sequence == old.sequence:
            assert (new.arms, new.salt, new.pins, new.exposure) == (
                old.arms,
                old.salt,
                old.pins,
                old.exposure,
            )
        if new.exposure == old.exposure:
            assert new.arms == old.arms
        for pin in new.pins:
            assert pin in old.pins or pin.until <= self.now + timedelta(minutes=30)

    def check_promotion(self, before, after, seen, commanded):
        """Stable changes on proof, by a command, or where the spec says so; and the history tells which."""
        entry = after.history[0]
        assert (entry.revision, entry.outcome) == (after.stable.revision, Outcome.PROMOTED) or commanded
        if before.stable is None or commanded:
            return
        analysis = self.spec.analysis
        allowed = {"Immediate": self.spec.strategy.immediate is not None}
        allowed["Inconclusive"] = analysis.on_inconclusive == "Promote"
        allowed["NonInferior"] = self.comparison is not None and (
            self.comparison.verdict is Verdict.NonInferior
            and self.comparison.trial == trial_of(before.candidate)
            and not self.comparison.unreadable
        )
        allowed["Command"] = bool(before.candidate and before.candidate.promoting)
        assert allowed[entry.reason], entry.reason

    def check_weight(self, revision, before, after, seen, commanded):
        """A weight rises by a step that is recorded in the same status, or with the promotion; or back to stable."""
        old, new = weights_of(before).get(revision, 0), weights_of(after)[revision]
        if new > 0 and revision != after.stable.revision:
            assert revision not in self.banned, "a rejected revision stays rejected"
        if new <= old or revision == after.stable.revision:
            return
        progress = after.candidate.progress
        assert revision == after.candidate.revision
        assert new == parse_weight(self.spec.strategy.canary.steps[progress.step - 1].weight)
        same = trial_of(before.candidate) == trial_of(after.candidate)
        assert (
            not same or progress.step != before.candidate.progress.step or before.candidate.progress.step == 0
        )
        assert self.problems == ()
        assert self.blocked == ""
        assert self.unresolved == ""
        if commanded or not self.spec.analysis.metrics or old == 0:
            assert (
                commanded or not before.pause or before.pause.reason in {"Inconclusive", "MetricsUnavailable"}
            )
            return
        assert not before.pause or before.pause.reason in {"Inconclusive", "MetricsUnavailable"}
        assert not self.comparison.unreadable
        assert self.comparison.verdict in {Verdict.NonInferior, Verdict.Inconclusive}
        assert self.now - self.comparison.through <= TWO_MINUTES + timedelta(seconds=10)

    def check_harm(self, before, after, seen):
        said = self.comparison
        if said is None or before.candidate is None or said.verdict is not Verdict.Harmed:
            return
        if said.trial == trial_of(before.candidate) and said.read_at > max(
            before.candidate.started_at, START
        ):
            assert trial_of(after.candidate) != said.trial or after.candidate.started_at > said.read_at

    # In the end there is a way out of everything.

    def teardown(self):
        self.spec_and_delivery_are_mended()
        self.raw = {**self.raw, "progressDeadline": "72h"}
        self.spec, self.unobserved, self.pods_fail = spec_of(self.raw), 0, ""
        self.looked, self.write_fails = True, False
        self.command = None
        for _ in range(40):
            if self.status.phase is Phase.HEALTHY:
                break
            self.lend_a_hand()
        assert self.status.phase is Phase.HEALTHY, self.status.message
        assert self.config_map == payload_of("shop/support", self.spec, self.status)

    def lend_a_hand(self):
        self.now += timedelta(minutes=11)
        self.comparison = Comparison(
            trial_of(self.status.candidate), Verdict.NonInferior, self.now, self.now, samples=10_000
        )
        self.pods_load(self.pods)
        if self.status.phase is Phase.DEGRADED:
            self.command = Command("retry", self.now.isoformat())
        if paused := self.status.pause:
            verb = "promote" if paused.reason == "Inconclusive" else "resume"
            self.command = Command(verb, self.now.isoformat())
        elif any(not run.result for run in self.status.gates):
            self.command = Command("skip", self.now.isoformat())
        self.settle()


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
