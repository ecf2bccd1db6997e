"""Whether a trial can be decided at the traffic it gets: looked at now and then, since it costs some milliseconds."""

from promptrollout.analysis import AnalysisPlan, Counts, Evidence, Verdict
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import HEADER, Slot
from promptrollout.api.quantities import WHOLE
from promptrollout.controller.memory import Entry
from promptrollout.controller.parsed import Parsed
from promptrollout.rollout.observations import CANDIDATE, STABLE, Comparison, DecidableSeen
from promptrollout.rollout.outlook import Facts, decidable
from promptrollout.rollout.ramp import Ramp

#: Seconds of comparison after which it is looked at again.
_EVERY = 300.0
#: Less than this is no traffic to go by: stable samples, and seconds of them.
_FEWEST, _SHORTEST = 50.0, 20.0


def outlook(entry: Entry, parsed: Parsed) -> DecidableSeen | None:
    """What is known of it; worked out anew when the spec, the weight or some minutes have changed."""
    seen = entry.comparisons.get((CANDIDATE, STABLE))
    if seen is None or seen.state is None or parsed.spec is None or parsed.planned is None:
        return None
    if seen.verdict is Verdict.Harmed:
        return entry.outlook[1]  # a rollback waits for nothing
    passed = int(seen.through.timestamp() / _EVERY)
    based_on = (parsed.generation, parsed.rules, seen.trial, seen.state.exposure, passed)
    if entry.outlook[0] != based_on or entry.outlook[1] is None:
        entry.outlook = (based_on, _worked_out(parsed, seen, seen.state))
    return entry.outlook[1]


def _worked_out(parsed: Parsed, seen: Comparison, evidence: Evidence) -> DecidableSeen | None:
    spec, planned = parsed.spec, parsed.planned
    if spec is None or planned is None or seen.ledger is None or not seen.ledger.weight:
        return None
    facts = facts_of(planned.plan, evidence.aligned(planned.plan), seen.ledger.weight)
    if facts is None:
        return None
    found = decidable(Ramp.of(spec, facts.per_second), planned.plan, facts)
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
        counts: Counts | None = kind.totals(totals, metric).stable
        if counts is not None:
            stable[metric.name] = counts
    return Facts(max(rates), stable, effects) if stable else None
