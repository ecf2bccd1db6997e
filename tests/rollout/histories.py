"""Random histories of one rollout: what people, pods, metrics, clock and crashes may do. See test_properties."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from promptrollout.analysis import AnalysisPlan, Evidence, Verdict, events_metric
from promptrollout.api.merging import PolicyRules, merge
from promptrollout.api.parse import parse_spec, parse_status
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Phase, RolloutStatus
from promptrollout.rollout import (
    Better,
    Command,
    Comparison,
    GateAnswer,
    LoadedPayload,
    Observations,
    PodsSeen,
    PolicySeen,
    SourceSeen,
    decide,
)
from promptrollout.rollout.payload import payload_of
from promptrollout.rollout.ruling import asks_for_retry, begins_anew, rules_in_force
from tests.rollout.choices import ARMS, EDITS, OTHER_ARMS, PLAIN, RULED, RULES, STRATEGIES

START = datetime(2026, 11, 23, 12, 0, 0, 123_456, tzinfo=UTC)
REVISIONS = ["aaaa000000", "bbbb000000", "cccc000000", "dddd000000"]
PODS = ["pod-a", "pod-b", "pod-c", "pod-d"]
VERBS = [
    "approve",
    "skip",
    "promote",
    "promote-full",
    "abort",
    "retry",
    "pause",
    "resume",
    "undo",
    "undo",
    f"undo/{REVISIONS[0]}",
    f"undo/{REVISIONS[1]}",
    "explode",
    "promote" * 60,
    "",
]
EVIDENCE = Evidence.initial(AnalysisPlan(metrics=(events_metric("errors"),)), {})
DOWN = "registry prompts cannot be asked: no connection"
#: The commands that a message names.
WAYS_OUT = re.compile(r"\b(promote-full|promote|abort|retry|resume|approve|skip)\b")
#: In the order in which someone who wants the new prompt tries them.
HELPFUL = ["approve", "resume", "retry", "promote", "promote-full", "skip", "abort"]


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
        self.pods, self.loaded, self.pods_fail, self.looked = set(PODS[:2]), {}, "", True
        self.arms = dict(ARMS)
        self.said, self.pairs, self.in_shadow, self.command = {}, [], False, None
        self.config_map, self.written_at, self.write_fails = None, None, False
        self.unobserved, self.wake_at = 0, None
        self.source, self.arm_sources, self.unresolved, self.answered = None, {}, "", {}
        self.ruled, self.rules, self.policy_seen, self.policy_problems = False, None, None, ()
        self.lost = set()

    # What happens.

    @initialize(
        served=st.booleans(),
        changed=st.booleans(),
        strategy=st.sampled_from(STRATEGIES),
        rules=st.sampled_from([None] * 6 + RULES),
    )
    def begin(self, served, changed, strategy, rules):
        self.raw = {**self.raw, "strategy": strategy}
        if rules:
            self.ruled, self.rules = True, PolicyRules("PromptRolloutPolicy", "production", rules, "uid-2", 1)
        self.happened()
        if served:
            self.pods_load(set(PODS))
        if changed:
            self.want(REVISIONS[1])

    @rule(wanted=st.sampled_from(REVISIONS))
    def prompt_changes(self, wanted):
        self.want(wanted)

    @precondition(lambda self: self.status.history)
    @rule(data=st.data())
    def prompt_goes_back(self, data):
        self.want(data.draw(st.sampled_from([entry.revision for entry in self.status.history])))

    def want(self, wanted):
        self.wanted, self.generation = wanted, self.generation + 1
        self.happened()

    @rule(name=st.sampled_from([*ARMS]), revision=st.sampled_from(OTHER_ARMS))
    def an_arm_s_prompt_changes(self, name, revision):
        if revision not in self.arms.values():
            self.arms[name], self.generation = revision, self.generation + 1
        self.happened()

    @rule(data=st.data(), field=st.sampled_from(EDITS))
    def rules_are_edited(self, data, field):
        name, choices = field
        raw = {**self.raw, name: data.draw(st.sampled_from(choices))}
        if spec_of(raw):
            self.raw, self.generation = raw, self.generation + 1
        self.happened()

    @rule(ruled=st.booleans())
    def a_policy_is_named(self, ruled):
        self.ruled, self.generation = ruled, self.generation + 1
        self.happened()

    @rule(rules=st.sampled_from([*RULES, *[None] * 3]))
    def the_policy_is_edited_or_deleted(self, rules):
        generation = self.rules.generation + 1 if self.rules else 1
        kept = PolicyRules("PromptRolloutPolicy", "production", rules or {}, "uid-2", generation)
        self.rules = kept if rules else None
        self.happened()

    @rule(verb=st.sampled_from(VERBS), name=st.integers(1, 3), sure=st.booleans())
    def someone_commands(self, verb, name, sure):
        # Sure of a fresh id most of the time; repeated ones must do nothing.
        last = self.status.last_command
        mark = f"{name}-{self.now.isoformat()}" if sure else last.id if last else "1"
        self.command = Command.parse(f"{verb}:{mark}")
        self.happened()

    @rule(
        data=st.data(),
        verdict=st.sampled_from([*Verdict, Verdict.NonInferior, Verdict.Inconclusive]),
        samples=st.sampled_from([0, 499, 500, 10_000]),
        lag=st.sampled_from([timedelta(0), timedelta(seconds=31), timedelta(hours=3)]),
        trouble=st.sampled_from(["", "", "", "mismatch", "unreadable"]),
        better=st.booleans(),
    )
    def analysis_speaks(self, data, verdict, samples, lag, trouble, better):
        """Of one pair something new, of the others that nothing has changed."""
        pair = data.draw(st.sampled_from(self.pairs or [("candidate", "stable")]))
        self.refresh(pair)
        self.said[pair] = Comparison(
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
            arm=pair[0],
            against=pair[1],
            better=Better(3.0 if better else 0.5, better, "20 of 60"),
            shadow=self.in_shadow,
        )
        self.happened()

    @precondition(lambda self: any(arm != "candidate" for arm, _ in self.pairs))
    @rule(data=st.data(), all_rivals=st.booleans())
    def an_arm_beats_control_and_rivals(self, data, all_rivals):
        arm = data.draw(st.sampled_from([arm for arm, _ in self.pairs]))
        self.refresh()
        for pair in [pair for pair in self.pairs if pair[0] == arm and (all_rivals or pair[1] == "stable")]:
            self.said[pair] = replace(self.fine(pair), better=Better(5.0, reached=True))
        self.happened()

    @rule(span=st.sampled_from(["1m", "11m", "1h", "15h"]), times=st.integers(1, 3))
    def all_goes_its_way(self, span, times):
        """Pods load what they are given, windows are read, time passes."""
        for _ in range(times):
            self.pods_load(set(PODS))
            self.refresh()
            self.now += parse_duration(span)
            self.refresh()
            self.happened()

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def an_arm_is_harmed(self, data):
        pair = data.draw(st.sampled_from([pair for pair in self.pairs if pair[1] == "stable"]))
        self.refresh()
        self.said[pair] = replace(
            self.fine(pair), verdict=Verdict.Harmed, harm_reason="errors 9 % against 1 %"
        )
        self.happened()

    def refresh(self, but=None):
        """All pairs have been read up to now."""
        for pair in self.pairs:
            old = self.said.get(pair)
            same = old and (old.trial, old.shadow) == (trial_of(self.status.candidate), self.in_shadow)
            if pair != but and same:
                self.said[pair] = replace(old, through=self.now, read_at=self.now)
            elif pair != but:
                self.said[pair] = replace(self.fine(pair), verdict=Verdict.Inconclusive)

    def fine(self, pair):
        return Comparison(
            trial_of(self.status.candidate),
            Verdict.NonInferior,
            self.now,
            self.now,
            samples=10_000 + max(int((self.now - START).total_seconds()), 0),
            arm=pair[0],
            against=pair[1],
            better=Better(1.0, reached=False),
            shadow=self.in_shadow,
        )

    @rule(
        revision=st.sampled_from(REVISIONS),
        attempt=st.integers(1, 2),
        verdict=st.sampled_from([Verdict.Harmed, Verdict.NonInferior]),
        pair=st.sampled_from([("candidate", "stable"), ("terse", "stable"), ("warm", "terse")]),
        shadow=st.booleans(),
    )
    def analysis_speaks_of_an_earlier_trial(self, revision, attempt, verdict, pair, shadow):
        candidate = self.status.candidate
        before = (candidate.started_at if candidate else self.now) - timedelta(milliseconds=1)
        said = Comparison(
            (revision, attempt), verdict, before, before, samples=10_000, arm=pair[0], against=pair[1]
        )
        self.said[pair] = replace(said, better=Better(9.0, reached=True), shadow=shadow)
        self.happened()

    @precondition(lambda self: self.pairs)
    @rule(verdict=st.sampled_from([Verdict.Harmed, Verdict.NonInferior]))
    def analysis_speaks_of_the_other_side_of_the_shadow(self, verdict):
        """Of the shadow when users see the candidate, or of users while they do not: late words of the same trial."""
        pair = self.pairs[0]
        self.said[pair] = replace(self.fine(pair), verdict=verdict, shadow=not self.in_shadow)
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

    @rule()
    def delivery_is_blocked(self):
        self.blocked = "ConfigMap shop/support-prompt belongs to another; delete it"
        self.happened()

    @rule(asked=st.sampled_from(["inline", "answers", "sealed", "unknown"]))
    def prompt_comes_from_a_registry(self, asked):
        """It answers; it is down, but what it said is sealed; or it is down and nothing is known yet."""
        down = DOWN if asked in {"sealed", "unknown"} else ""
        found = ("1", self.wanted) if asked in {"answers", "sealed"} else ("", "")
        self.source = None if asked == "inline" else SourceSeen("registry prompts: support", *found, down)
        self.unresolved = DOWN if asked == "unknown" else ""
        self.happened()

    @rule(
        arm=st.sampled_from(sorted(ARMS)), asked=st.sampled_from(["inline", "answers", "sealed", "unknown"])
    )
    def arm_comes_from_a_registry(self, arm, asked):
        """As above, of one arm's prompt."""
        down = DOWN if asked in {"sealed", "unknown"} else ""
        found = ("1", self.arms[arm]) if asked in {"answers", "sealed"} else ("", "")
        seen = {arm: SourceSeen(f"registry prompts: {arm}", *found, down)}
        self.arm_sources = {} if asked == "inline" else seen
        self.unresolved = DOWN if asked == "unknown" else ""
        self.happened()

    @rule(revisions=st.sets(st.sampled_from(REVISIONS)))
    def old_texts_are_lost(self, revisions):
        self.lost = revisions
        self.happened()

    @rule()
    def spec_and_delivery_are_mended(self):
        self.problems, self.unreadable_spec, self.blocked = (), False, ""
        self.source, self.arm_sources, self.unresolved = None, {}, ""
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
        if watched:
            self.said = {
                p: replace(each, through=self.now, read_at=self.now) for p, each in self.said.items()
            }
        self.happened()

    @rule(keeps_analysis=st.booleans())
    def operator_restarts(self, keeps_analysis):
        self.status, self.pods_fail = over_the_wire(self.status), ""
        self.looked = False
        if not keeps_analysis:
            self.said = {}
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
        began = (self.status, self.config_map, self.written_at)
        for turns in range(8):
            before, wrote = self.status, self.config_map
            decision = self.decide()
            self.wake_at = decision.wake_at
            self.pairs = [(each.arm, each.against) for each in decision.sampling]
            self.in_shadow = any(each.shadow for each in decision.sampling)
            if (self.status, self.config_map) == (before, wrote):
                assert decision.notes == (), "said again at every look"
                assert decision.wake_at is None or decision.wake_at > self.now.replace(microsecond=0)
                self.check_crashes(began, turns)
                return
        raise AssertionError(f"no rest: {self.status}")

    def observed(self, config_map, written_at):
        problems = self.problems or self.policy_problems
        return Observations(
            uid="uid-1",
            generation=self.generation,
            wanted="" if problems or self.unresolved else self.wanted,
            problems=problems,
            policy=self.policy_seen,
            blocked=self.blocked,
            unresolved=self.unresolved,
            source=self.source,
            arm_sources=dict(self.arm_sources),
            written=(config_map.sequence, written_at) if config_map else None,
            pods=PodsSeen(tuple(sorted(self.pods)), dict(self.loaded), unavailable=self.pods_fail)
            if self.looked
            else None,
            arms=dict(self.arms),
            comparisons=tuple(self.said.values()),
            command=self.command,
            gates=dict(self.answered),
            texts=frozenset({*REVISIONS, *OTHER_ARMS} - self.lost),
        )

    def look(self, status, config_map, written_at):
        """What the shell finds: the spec under the rules that count for this status, and everything else."""
        self.spec, self.policy_seen, self.policy_problems = spec_of(self.raw), None, ()
        if self.ruled:
            self.look_at_policy(status, config_map, written_at)
        return self.observed(config_map, written_at)

    def look_at_policy(self, status, config_map, written_at):
        """The rules that a trial began with; the policy's own where something begins anew (`controller/ruling.py`)."""
        old = rules_in_force(status)
        in_force = self.under(old) if old else None
        seen = self.observed(config_map, written_at)
        known = in_force and not (self.problems or self.unresolved)
        needed = old is None or (known and begins_anew(in_force, status, seen, self.now))
        self.spec = in_force or self.spec
        self.policy_seen = PolicySeen("PromptRolloutPolicy", "production", old, gone=self.rules is None)
        if not (needed or asks_for_retry(status, self.command)):
            return
        fresh = self.under(self.rules) if self.rules else None
        if fresh is not None:
            self.spec = fresh
            self.policy_seen = replace(self.policy_seen, rules=self.rules, renewed=True)
        elif needed:
            self.policy_problems = (Problem("spec.policyRef", "production does not exist", "mend it"),)

    def under(self, rules):
        own = {name: value for name, value in self.raw.items() if name not in RULED}
        return spec_of(merge(own, rules).spec)

    @property
    def read_spec(self):
        return None if self.unreadable_spec else self.spec

    def decide(self):
        before, seen = self.status, self.look(self.status, self.config_map, self.written_at)
        decision = decide(self.read_spec, before, seen, self.now)
        again = decide(self.read_spec, before, seen, self.now)
        assert again == decision, "the same arguments give the same decision"
        kept = over_the_wire(before)
        assert kept == before, "what is kept is what was meant"
        assert decide(self.read_spec, kept, seen, self.now) == decision, "a restart changes no decision"
        self.status = decision.status
        self.check(before, seen)
        self.config_map, self.written_at = self.written(self.status, self.config_map, self.written_at)
        return decision

    def written(self, status, config_map, written_at):
        """The ConfigMap after the second write of a turn, if it comes to that."""
        if self.write_fails or self.blocked or self.read_spec is None:
            return config_map, written_at
        payload = payload_of("shop/support", self.spec, status)
        return (config_map, written_at) if payload == config_map else (payload, self.now)

    # What always holds: see test_properties.

    def check(self, before, seen):
        """Called after each decision."""

    def check_crashes(self, began, turns):
        """Called at rest, with what it began from and how many turns it took."""

    # In the end there is a way out of everything, and the message names it.

    def teardown(self):
        self.spec_and_delivery_are_mended()
        self.raw = {**self.raw, "progressDeadline": "72h"}
        self.unobserved, self.write_fails = 0, False
        self.rules = self.rules or PolicyRules("PromptRolloutPolicy", "production", RULES[0], "uid-3", 1)
        self.pods_fail, self.looked, self.command = "", True, None
        for _ in range(40):
            if self.status.phase is Phase.HEALTHY and not self.status.candidate:
                break
            self.lend_a_hand()
        assert self.status.phase is Phase.HEALTHY, self.status.message
        assert self.config_map == payload_of("shop/support", self.spec, self.status)

    def lend_a_hand(self):
        """Do what the message says; all is well with the metrics, and pods load what they are given."""
        waits_for_window = "window opens" in self.status.message and self.wake_at
        self.now = max(self.now + timedelta(minutes=11), self.wake_at if waits_for_window else self.now)
        self.said = {pair: replace(self.fine(pair), better=Better(5.0, reached=True)) for pair in self.pairs}
        self.pods_load(self.pods)
        if self.status.phase in {Phase.PAUSED, Phase.DEGRADED, Phase.AWAITING_APPROVAL}:
            ways = WAYS_OUT.findall(self.status.message)
            self.command = Command(min(ways, key=HELPFUL.index), self.now.isoformat())
        elif any(not run.result for run in self.status.gates):
            self.command = Command("skip", self.now.isoformat())
        self.settle()
