"""Whatever people, pods, metrics, clock and crashes do (`histories`), these things hold."""

import os
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from e2e import kstatus
from e2e.objects import KubeObject
from promptrollout.analysis import Verdict
from promptrollout.api.quantities import parse_weight
from promptrollout.api.status import Outcome, Phase
from promptrollout.delivery.assignment import ranges
from promptrollout.rollout import Command, decide
from promptrollout.rollout.ruling import asks_for_retry
from promptrollout.rollout.states import ASIDE, MOVES
from tests.rollout.histories import DOWN, START, WAYS_OUT, Histories, over_the_wire, trial_of

#: How many histories are told at a time; `make properties` tells thousands.
HISTORIES = int(os.environ.get("HISTORIES", "60"))
CONDITIONS = {"Healthy", "Progressing", "Delivered", "MetricsAvailable", "Decidable", "Paused", "Valid"}
CONDITIONS |= {"Ready", "Reconciling", "Stalled"}
#: Pauses that end by themselves when what they wait for is there.
BY_ITSELF = {"Inconclusive", "MetricsUnavailable", "AwaitingDecision"}
#: The longest that a step may lie behind the windows it rests on: two intervals (a minute at most) and some slack.
BEHIND = timedelta(minutes=2, seconds=10)


def weights_of(status):
    """Of each revision, over all arms that serve it."""
    found = {}
    for arm in status.delivered.arms if status.delivered else ():
        found[arm.revision] = found.get(arm.revision, 0) + arm.weight
    return found


def trial_arms(candidate):
    """Name and revision of all that pods are told of, in order, and which were dropped."""
    if candidate is None or candidate.undelivered:
        return [], set()
    arms = [(arm.name, arm.revision) for arm in candidate.arms] or [("candidate", candidate.revision)]
    return arms, {arm.name for arm in candidate.arms if arm.dropped}


def is_open(moment):
    local = moment.astimezone(ZoneInfo("Europe/Zurich"))
    return local.weekday() < 5 and 9 <= local.hour < 17


class Checked(Histories):
    """Random histories, and after each decision all that must hold."""

    seen_transitions = set()  # noqa: RUF012 - of all histories together
    shadows_ended = set()  # noqa: RUF012 - in which phase

    def check(self, before, seen):
        after = self.status
        self.seen_transitions.add((before.phase, after.phase))
        self.check_words(after)
        self.check_policy(before, after)
        self.check_gates(before, after)
        if after.delivered is None:
            return
        self.check_delivered(before, after)
        self.check_shadow(before, after)
        said = after.last_command
        commanded = said.verb if said != before.last_command and said.result == "Executed" else ""
        self.check_rejection(before, after, commanded)
        if after.stable != before.stable:
            self.check_promotion(before, after, commanded)
        for revision in weights_of(after):
            self.check_weight(revision, before, after, commanded)
        if before.pause and before.pause.reason == "Command" and not commanded:
            # Its `since` may move: a clock that is set back takes the moments of the future along.
            kept = after.pause is not None and after.pause.reason == "Command"
            ended = after.history != before.history and after.history[0].outcome is not Outcome.SUPERSEDED
            assert kept or after.candidate is None or ended, "only a person ends a person's pause"
        self.check_harm(before, after)

    def check_words(self, after):
        assert after.message
        types = [condition.type for condition in after.conditions]
        assert set(types) == CONDITIONS | (
            {"PromptAvailable"} if after.source or after.arm_sources else set()
        )
        assert len(set(types)) == len(types)
        facts = {condition.type: condition.status == "True" for condition in after.conditions}
        assert facts["Healthy"] == (after.phase is Phase.HEALTHY)
        assert facts["Paused"] == (after.phase is Phase.PAUSED)
        assert facts["Valid"] == (after.phase is not Phase.INVALID)
        self.check_standard(after)
        assert (after.phase is Phase.INVALID) == bool(self.problems or self.policy_problems or self.blocked)
        if self.unresolved and after.phase is not Phase.INVALID:
            assert (after.phase, DOWN in after.message) == (Phase.PENDING, True)
        sources = [*([self.source] if self.source else []), *self.arm_sources.values()]
        if any(source.unavailable for source in sources):
            assert facts["PromptAvailable"] is False
        if after.phase is Phase.INVALID:
            assert any(cure in after.message for cure in ("mend it", "delete it")), after.message
        if after.phase in {Phase.PAUSED, Phase.DEGRADED, Phase.AWAITING_APPROVAL}:
            self.check_way_out(after)

    def check_policy(self, before, after):
        """Whatever becomes of the policy, what is under way ends under the rules that it began with."""
        if not self.ruled or before.policy is None:
            return
        assert after.policy is not None
        if asks_for_retry(before, self.command):
            return  # by the rules of now, also where these leave nothing to try again
        same = before.candidate and trial_of(before.candidate) == trial_of(after.candidate)
        if same or (before.stable == after.stable and before.candidate == after.candidate is None):
            assert after.policy.digest == before.policy.digest
        assert (after.policy.gone_since is not None) == (self.rules is None)

    def check_way_out(self, after):
        """What the message names can be said, and is not refused."""
        ways = set(WAYS_OUT.findall(after.message))
        assert ways, after.message
        seen = self.observed(self.config_map, self.written_at)
        for verb in ways:
            told = replace(seen, command=Command(verb, "a new one"))
            result = decide(self.read_spec, after, told, self.now).status.last_command
            if result.result == "Executed":
                return
        raise AssertionError(f"none of {ways} helps: {after.message}")

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
        old, new, stable = before.delivered, after.delivered, after.stable.revision
        arms, dropped = trial_arms(after.candidate)
        expected = [(name, stable if name in dropped else revision) for name, revision in arms]
        assert [(arm.name, arm.revision) for arm in new.arms] == [*expected, ("stable", stable)]
        ranges(new.arms)  # weights from 0, and 10,000 together
        assert stable not in {revision for _, revision in arms}
        assert after.candidate is None or after.rejected is None
        assert not arms or len(dropped) < len(arms)
        if old is None:
            return
        assert new.sequence - old.sequence in (0, 1)
        assert new.exposure - old.exposure in (0, 1)
        if new.sequence == old.sequence:
            same = [(each.arms, each.salt, each.pins, each.exposure) for each in (old, new)]
            assert same[0] == same[1]
        if new.exposure == old.exposure:
            assert new.arms == old.arms
        for pin in new.pins:
            assert pin in old.pins or pin.until <= self.now + timedelta(minutes=30)
        if trial_of(before.candidate) == trial_of(after.candidate):
            assert new.salt == old.salt or before.candidate.undelivered, "the salt stays during a trial"
            self.check_units(old, new)

    def check_shadow(self, before, after):
        """Who runs in the shadow is seen by nobody, within the spec's budget, and goes with the trial."""
        old, new = before.delivered and before.delivered.shadow, after.delivered.shadow
        if new is None:
            if old is not None:
                self.shadows_ended.add(after.phase)
            return
        candidate = after.candidate
        assert candidate is not None
        assert not candidate.undelivered
        assert (new.revision, weights_of(after)[new.revision]) == (candidate.revision, 0)
        if new != old:
            asked = self.spec.strategy.shadow
            budget = asked.budget
            assert new.sample == parse_weight(asked.sample)
            assert (new.max_concurrent, new.usd_per_hour) == (budget.max_concurrent, budget.usd_per_hour)
            assert (self.problems, self.blocked, self.unresolved) == ((), "", "")

    def check_units(self, old, new):
        """During one trial a unit moves from and to stable only."""
        stable = new.arms[-1].revision
        edges = sorted({start for each in (old, new) for start, _ in ranges(each.arms)} - {10_000})
        for bucket in edges:
            was, is_now = (
                next(
                    arm.revision
                    for arm, (start, end) in zip(each.arms, ranges(each.arms), strict=True)
                    if start <= bucket < end
                )
                for each in (old, new)
            )
            assert was == is_now or stable in (was, is_now)

    def check_rejection(self, before, after, commanded):
        """What was rolled back or dropped comes back by another wish or by retry, never by itself."""
        if before.rejected and not after.rejected and commanded != "retry" and "undo" not in commanded:
            tried = after.candidate.revision if after.candidate else after.stable.revision
            assert tried != before.rejected.revision
        if trial_of(before.candidate) == trial_of(after.candidate):
            assert trial_arms(before.candidate)[1] <= trial_arms(after.candidate)[1]

    def check_promotion(self, before, after, commanded):
        """Stable changes on proof, by a command, or where the spec says so; and the history tells which."""
        entry = after.history[0]
        assert (entry.revision, entry.outcome) == (after.stable.revision, Outcome.PROMOTED) or commanded
        if before.stable is None or commanded:
            return
        if entry.reason == "RollbackWindow":
            self.check_window(before, entry.revision)
            return
        strategy = self.spec.strategy
        proven = self.proven(before)
        allowed = {
            "Command": bool(before.candidate and before.candidate.promoting),
            "Immediate": strategy.immediate is not None,
            "Inconclusive": self.spec.analysis.on_inconclusive == "Promote",
            "NonInferior": ("candidate", "stable") in proven,
            "Won": strategy.ab_test is not None
            and strategy.ab_test.on_winner == "Promote"
            and self.has_won(before.candidate, entry.revision, proven),
        }
        assert allowed[entry.reason], entry.reason
        assert self.may_rise()

    def check_window(self, before, revision):
        """Untested only what was stable, within the window, and what nobody has rolled back or undone since."""
        latest = {}
        for each in before.history:
            if each.outcome is not Outcome.SUPERSEDED:
                latest.setdefault(each.revision, each.outcome)
        good = [old for old, outcome in latest.items() if outcome is Outcome.PROMOTED]
        assert revision == self.wanted
        assert revision in [old for old in good if old != before.stable.revision][: self.spec.rollback_window]

    def proven(self, before):
        """The pairs of this trial of which the analysis says, of what users see or of the shadow, that the first is

        not worse.
        """
        candidate, in_shadow = before.candidate, bool(before.delivered and before.delivered.shadow)
        return {
            pair
            for pair, said in self.said.items()
            if said.verdict is Verdict.NonInferior
            and (said.trial, said.shadow) == (trial_of(candidate), in_shadow)
            and not said.unreadable
        }

    def has_won(self, candidate, revision, proven):
        arms, dropped = trial_arms(candidate)
        names = {name for name, _ in arms} - dropped
        winner = next(name for name, each in arms if each == revision)
        needed = {(winner, "stable")} | {(winner, other) for other in names - {winner}}
        return winner in names and needed <= proven and self.said[winner, "stable"].better.reached

    def may_rise(self):
        canary, _ = self.spec.strategy.stepped or (None, "")
        return canary is None or canary.schedule is None or is_open(self.now)

    def check_weight(self, revision, before, after, commanded):
        """A weight rises by a step that is recorded in the same status, or with the promotion; or back to stable."""
        old, new = weights_of(before).get(revision, 0), weights_of(after)[revision]
        if new <= old or revision == after.stable.revision:
            return
        progress = after.candidate.progress
        assert new == self.weight_in_spec(revision, after)
        same = trial_of(before.candidate) == trial_of(after.candidate)
        earlier = before.candidate.progress.step if same else 0
        assert progress.step != earlier or earlier == 0
        assert (self.problems, self.blocked, self.unresolved) == ((), "", "")
        if commanded:
            return
        assert not before.pause or before.pause.reason in BY_ITSELF
        assert self.may_rise()
        if same and before.delivered.shadow and self.spec.strategy.shadow:
            undecided = self.spec.analysis.on_inconclusive == "Promote"
            assert undecided or ("candidate", "stable") in self.proven(before)
        if old > 0 and self.spec.analysis.metrics:
            said = self.said["candidate", "stable"]
            assert not said.shadow
            assert not said.unreadable
            assert said.verdict in {Verdict.NonInferior, Verdict.Inconclusive}
            assert self.now - said.through <= BEHIND

    def weight_in_spec(self, revision, after):
        strategy = self.spec.strategy
        if strategy.stepped:
            canary, _ = strategy.stepped
            steps = canary.steps[: after.candidate.progress.step - bool(strategy.shadow)]
            return parse_weight(next(step.weight for step in reversed(steps) if step.weight is not None))
        name = next(arm.name for arm in after.candidate.arms if arm.revision == revision)
        return next(parse_weight(arm.weight) for arm in strategy.ab_test.arms if arm.name == name)

    def check_harm(self, before, after):
        """Who is harmed gets nothing any more: the candidate, or of several the arm alone."""
        if before.candidate is None:
            return
        arms, dropped = trial_arms(before.candidate)
        for name, revision in arms:
            said = self.said.get((name, "stable"))
            if name in dropped or said is None or said.verdict is not Verdict.Harmed:
                continue
            if said.shadow != bool(before.delivered and before.delivered.shadow):
                continue
            if said.trial != trial_of(before.candidate) or said.read_at <= max(
                before.candidate.started_at, START
            ):
                continue
            if trial_of(after.candidate) == said.trial and after.candidate.started_at <= said.read_at:
                assert name in trial_arms(after.candidate)[1]
                assert revision not in weights_of(after)
                assert len(arms) - len(dropped) > 1

    def check_crashes(self, began, turns):
        """A crash between the two writes of any turn, and a restart: in the end the same ConfigMap."""
        if self.write_fails or began[1] == self.config_map:
            return
        for crash_at in range(turns):
            status, config_map, written_at = began
            for turn in range(12):
                seen = self.look(status, config_map, written_at)
                decided = decide(self.read_spec, status, seen, self.now).status
                rest, status = decided == status, decided
                if turn == crash_at:
                    status = over_the_wire(status)
                    written_at = self.now if config_map else None
                    continue
                wrote = config_map
                config_map, written_at = self.written(status, config_map, written_at)
                if rest and wrote == config_map:
                    break
            assert config_map == self.config_map


@pytest.mark.timeout(3600)
def test_whatever_happens_these_properties_hold_and_no_phase_follows_another_but_by_the_table():
    Checked.seen_transitions.clear()
    Checked.shadows_ended.clear()
    run_state_machine_as_test(
        Checked,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    seen = {(one, other) for one, other in Checked.seen_transitions if one is not other}
    assert {each for each in seen if not {*each} & ASIDE.keys()} <= MOVES.keys()
    if HISTORIES >= 1000:  # few histories may all pass it by
        assert Checked.shadows_ended, "some candidate ran in the shadow"
