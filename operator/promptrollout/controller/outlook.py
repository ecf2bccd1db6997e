"""Whether a trial can be decided at the traffic it gets: looked at now and then, since it costs some milliseconds."""

from dataclasses import replace

from promptrollout.analysis import AnalysisPlan, Counts, Evidence, PairedCounts, Verdict
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import HEADER, Slot
from promptrollout.api.quantities import WHOLE, parse_weight
from promptrollout.api.spec import RolloutSpec
from promptrollout.controller.memory import Entry
from promptrollout.controller.parsed import Parsed
from promptrollout.rollout.abplan import decidable_test
from promptrollout.rollout.observations import STABLE, Comparison, DecidableSeen
from promptrollout.rollout.outlook import Facts, decidable
from promptrollout.rollout.ramp import Ramp

#: Seconds of comparison after which it is looked at again.
_EVERY = 300.0
#: Less than this is no traffic to go by: stable samples, and seconds of them.
_FEWEST, _SHORTEST = 50.0, 20.0


def outlook(entry: Entry, parsed: Parsed) -> DecidableSeen | None:
    """What is known of it; worked out anew when the spec, the weight or some minutes have changed."""
    # Of the arms of a test the first stands for all: what counts is the traffic, and what the control is like.
    known = (seen for (_, against), seen in entry.comparisons.items() if against == STABLE and seen.state)
    seen = next(known, None)
    if seen is None or seen.state is None or parsed.spec is None or parsed.planned is None:
        return None
    if seen.verdict is Verdict.Harmed:
        return entry.outlook[1]  # a rollback waits for nothing
    passed = int(seen.through.timestamp() / _EVERY)
    based_on = (
        parsed.generation,
        parsed.rules,
        seen.trial,
        seen.arm,
        seen.shadow,
        seen.state.exposure,
        passed,
    )
    if entry.outlook[0] != based_on or entry.outlook[1] is None:
        entry.outlook = (based_on, _worked_out(parsed.spec, parsed, seen, seen.state))
    return entry.outlook[1]


def _worked_out(
    spec: RolloutSpec, parsed: Parsed, seen: Comparison, evidence: Evidence
) -> DecidableSeen | None:
    planned = parsed.planned_for(shadow=seen.shadow)
    if planned is None or seen.ledger is None:
        return None
    shadow, test = spec.strategy.shadow, spec.strategy.ab_test
    weight = parse_weight(shadow.sample) if shadow and seen.shadow else seen.ledger.weight
    if not weight:
        return None
    facts = facts_of(planned.plan, evidence.aligned(planned.plan), weight)
    if facts is None:
        return None
    if test is not None:
        # Seen is what the arm and the control get of the traffic.
        weights = {arm.name if arm.prompt else STABLE: parse_weight(arm.weight) for arm in test.arms}
        share = (weights.get(seen.arm, 0) + weights[STABLE]) / WHOLE
        found = decidable_test(
            test, planned.plan, planned.contests, replace(facts, per_second=facts.per_second / share)
        )
    else:
        later = shadow is not None and not seen.shadow
        ramp = (Ramp.after_shadow if later else Ramp.of)(spec, facts.per_second)
        found = decidable(ramp, planned.plan, facts)
    return DecidableSeen(seen.trial, found.status, found.reason, found.message)


def facts_of(plan: AnalysisPlan, evidence: Evidence, weight: int) -> Facts | None:
    """Traffic, stable's counts and the design effects that the evidence knows; None before there is enough of it."""
    rates, stable, effects = [0.0], {}, {}
    for i, metric in enumerate(plan.metrics):
        row, kind = evidence.array(i), kind_of(metric)
        totals = row[HEADER + kind.columns : HEADER + 2 * kind.columns]
        n_s = float(kind.sizes(totals[None])[1][0])
        seconds = float(row[Slot.RATE_SECONDS])
        effects[metric.name] = float(row[Slot.PHI])
        if n_s < _FEWEST or seconds < _SHORTEST:
            continue
        rates.append(float(row[Slot.RATE_COUNT]) / seconds * WHOLE / weight)
        pair = kind.totals(totals, metric)
        counts: Counts | None = pair.stable
        if isinstance(pair.candidate, PairedCounts):
            # As pairs look where both arms are alike.
            counts = replace(pair.candidate, sum=0.0)
        if counts is not None:
            stable[metric.name] = counts
    return Facts(max(rates), stable, effects) if stable else None
