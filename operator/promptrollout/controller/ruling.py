"""Which of a policy's rules a rollout goes on under: those it began with, or those of now where it begins anew."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promptrollout.api.base import COMMAND_ANNOTATION
from promptrollout.api.merging import PolicyRules
from promptrollout.api.problem import Problem
from promptrollout.api.spec import PolicyKind
from promptrollout.api.status import RolloutStatus
from promptrollout.cluster.errors import ClusterError, Forbidden
from promptrollout.cluster.objects import ObjectKey, PolicyKey, RolloutObject
from promptrollout.cluster.protocol import Cluster
from promptrollout.controller.memory import Children, Entry
from promptrollout.controller.parsed import Known, Parsed, parse
from promptrollout.controller.references import References
from promptrollout.controller.resolving import Resolver
from promptrollout.rollout import (
    Command,
    Observations,
    PolicySeen,
    asks_for_retry,
    begins_anew,
    rules_in_force,
)

_REF = "spec.policyRef"


@dataclass(frozen=True, slots=True)
class Ruled:
    """A spec merged with the rules that count in this turn, and what is known of the policy."""

    parsed: Parsed
    policy: PolicySeen | None = None


class Ruler:
    """Merges specs with policies. What has been merged once is kept while neither changes."""

    def __init__(self, cluster: Cluster, policies: References, resolver: Resolver, known: Known) -> None:
        self._cluster = cluster
        self._policies = policies
        self._resolver = resolver
        self._known = known

    async def started(self, entry: Entry, status: RolloutStatus) -> Parsed:
        """The spec under the rules that status remembers, or under those of now if it remembers none."""
        key = _policy_key(entry.seen)
        if key is None:
            self.leave(entry.seen.key)
            return await self._parsed(entry, None)
        rules = rules_in_force(status)
        return await self._parsed(entry, rules) if rules else await self._of_now(entry, key)

    async def ruled(
        self, entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus, now: datetime
    ) -> Ruled:
        """`parsed` (of `started`, its prompt looked up), or the spec under the policy's rules of now.

        Those of now are asked for (not taken from the watch, which may be behind the prompt's) where the prompt begins
        anew, the spec names another policy, someone says retry, or the old rules no longer make a valid spec.
        """
        key = _policy_key(entry.seen)
        if key is None:
            return Ruled(parsed)
        known = await self._policies.first(entry.seen.key, key)
        old = rules_in_force(status)
        seen = PolicySeen(key.kind, key.name, old, gone=known is not None and bool(known.problem))
        same = old is not None and (old.kind, old.name) == (key.kind, key.name)
        needed = not same or self._anew(entry, parsed, status, now)
        if not (needed or parsed.problems or _retried(entry.seen, status)):
            return Ruled(parsed, seen)
        fresh = parsed if old is None else await self._fresh(entry, key, children, status)
        if not (fresh.problems or fresh.unresolved):
            return Ruled(fresh, PolicySeen(key.kind, key.name, fresh.rules, renewed=True))
        if needed:
            # What is under way goes on being compared by the rules it began with; nothing moves on.
            parsed = replace(parsed, problems=fresh.problems, unresolved=fresh.unresolved)
            seen = replace(seen, unread=fresh.rules is None and bool(fresh.unresolved))
        return Ruled(parsed, seen)

    def leave(self, rollout: ObjectKey) -> None:
        """The rollout is gone, or names no policy any more."""
        self._policies.leave(rollout)

    async def close(self) -> None:
        """Watch no policy any more."""
        await self._policies.close()

    def _anew(self, entry: Entry, parsed: Parsed, status: RolloutStatus, now: datetime) -> bool:
        if parsed.spec is None or parsed.wanted is None or parsed.unresolved:
            return False
        arms = {name: revision.short for name, revision in parsed.arms.items()}
        seen = Observations(entry.seen.uid, entry.seen.generation, wanted=parsed.wanted.short, arms=arms)
        return begins_anew(parsed.spec, status, seen, now)

    async def _fresh(self, entry: Entry, key: PolicyKey, children: Children, status: RolloutStatus) -> Parsed:
        return await self._resolver.resolved(entry, await self._of_now(entry, key), children, status)

    async def _of_now(self, entry: Entry, key: PolicyKey) -> Parsed:
        """The spec under the policy as it is stored now; a problem if there is none."""
        seen = entry.seen
        try:
            found = await self._cluster.get_policy(key)
        except Forbidden as error:
            cure = "have the operator's account given that right (the chart's roles have it)"
            problem = Problem(_REF, f"{key} cannot be read: {error.reason}", cure)
            return Parsed(seen.uid, seen.generation, problems=(problem,))
        except ClusterError as error:
            return Parsed(seen.uid, seen.generation, unresolved=f"{key} cannot be read: {error.reason}")
        if found is None or found.deleted_at is not None:
            where = f" in namespace {key.namespace}" if key.namespace else ""
            problem = Problem(_REF, f"{key} does not exist{where}", "create it, or name one that there is")
            return Parsed(seen.uid, seen.generation, problems=(problem,))
        rules = PolicyRules(key.kind, key.name, found.spec, found.uid, found.generation)
        return await self._parsed(entry, rules)

    async def _parsed(self, entry: Entry, rules: PolicyRules | None) -> Parsed:
        """Parsed anew only when the spec or the rules have changed; in a thread, since a long prompt takes seconds."""
        seen, wanted = entry.seen, _identity(rules)
        generation = seen.generation
        for kept in entry.parsed:
            if (kept.uid, kept.generation, _identity(kept.rules)) == (seen.uid, generation, wanted):
                return kept
        parsed = await asyncio.to_thread(parse, seen, self._known, rules)
        before = entry.parsed[0].spec if entry.parsed else None
        if before and parsed.spec and before.delivery != parsed.spec.delivery:
            entry.children = None
        current = [kept for kept in entry.parsed if (kept.uid, kept.generation) == (parsed.uid, generation)]
        entry.parsed = (parsed, *current[:1])
        return parsed


def _identity(rules: PolicyRules | None) -> tuple[str, str, str, int, str] | None:
    if rules is None:
        return None
    return rules.kind, rules.name, rules.uid, rules.generation, rules.digest


def _policy_key(seen: RolloutObject) -> PolicyKey | None:
    """What the spec names; None if it names none, or none that can be read (parse_spec says so)."""
    ref = seen.spec.get("policyRef")
    if not isinstance(ref, Mapping):
        return None
    kind, name = ref.get("kind", PolicyKind.NAMESPACED.value), ref.get("name")
    if kind not in set(PolicyKind) or not isinstance(name, str) or not name:
        return None
    namespace = "" if kind == PolicyKind.CLUSTER else seen.key.namespace
    return PolicyKey(str(kind), namespace, name)


def _retried(seen: RolloutObject, status: RolloutStatus) -> bool:
    command = seen.annotations.get(COMMAND_ANNOTATION)
    return asks_for_retry(status, Command.parse(command) if command else None)
