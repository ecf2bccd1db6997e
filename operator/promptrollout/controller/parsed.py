"""All that follows from a spec and its policy's rules alone, worked out once for each pair of versions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from promptrollout.api.merging import Merged, PolicyRules, merge, policy_problems
from promptrollout.api.parse import read_spec
from promptrollout.api.problem import Problem
from promptrollout.api.prompt import Prompt
from promptrollout.api.spec import RolloutSpec
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.gate_rules import gate_problems
from promptrollout.controller.prompts import Wanted, sealed_inline
from promptrollout.controller.references import ConfigMapReference, Reference
from promptrollout.gates import GatesConfig
from promptrollout.registries import RegistryReference
from promptrollout.revision import Revision
from promptrollout.rollout import SourceSeen
from promptrollout.rollout.strategies import Strategy, strategy_of
from promptrollout.sources.planning import Planned, plan_of

#: Beside the names of arms: spec.prompt.
OWN = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What a spec may use, from the operator's configuration."""

    sources: frozenset[str] = frozenset()
    registries: frozenset[str] = frozenset()
    gates: GatesConfig = field(default_factory=GatesConfig)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A spec, understood.

    Attributes:
        generation: the generation it was.
        spec: None if it could not be read; with `problems` it is good for what was decided before only.
        wanted: the sealed prompt; None if `problems` say why there is none, or if it has to be looked up.
        arms: the sealed prompts that the strategy itself names, by arm.
        planned: what to compare; None if `problems` say why not.
        shadowed: what to compare while the candidate runs in the shadow.
        problems: what is wrong, by field path.
        rules: the policy's, with which the spec was merged; None without.
        references: where prompts have to be looked up that are not written inline, by arm (`OWN`: spec.prompt).
        sources, unresolved: what became of looking them up; see Observations.
    """

    uid: str
    generation: int
    spec: RolloutSpec | None = None
    wanted: Revision | None = None
    arms: Mapping[str, Revision] = field(default_factory=dict)
    planned: Planned | None = None
    shadowed: Planned | None = None
    problems: tuple[Problem, ...] = ()
    rules: PolicyRules | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)
    sources: Mapping[str, SourceSeen] = field(default_factory=dict)
    unresolved: str = ""

    def planned_for(self, *, shadow: bool) -> Planned | None:
        """What to compare now."""
        return self.shadowed if shadow else self.planned

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """All sealed prompts of the spec."""
        return (*([self.wanted] if self.wanted else []), *self.arms.values())


def parse(seen: RolloutObject, known: Known, rules: PolicyRules | None = None) -> Parsed:
    """Understand the spec of a rollout, with its policy's rules below it."""
    if rules is None:
        return _understood(seen, seen.spec, known)
    merged = merge(seen.spec, rules)
    parsed = _understood(seen, merged.spec, known)
    problems = (*merged.lock_problems, *map(merged.attributed, parsed.problems))
    # A policy that breaks its own schema is told as such where that breaks this rollout, or hides what it locks.
    return replace(parsed, rules=rules, problems=(*_told_by_policy(merged, problems), *problems))


def _told_by_policy(merged: Merged, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    said = {problem.path for problem in problems}
    return tuple(problem for problem in policy_problems(merged.rules) if problem.path not in said)


def _understood(seen: RolloutObject, raw: Mapping[str, object], known: Known) -> Parsed:
    reading = read_spec(raw)
    spec = reading.spec
    if spec is None:
        return Parsed(seen.uid, seen.generation, problems=reading.problems)
    strategy, rollout = strategy_of(spec.strategy), seen.key.name
    inline = spec.prompt.inline is not None
    if reading.problems:
        return _for_what_is_under_way(seen, spec, known, reading.problems)
    prompt = sealed_inline(rollout, spec.prompt, "spec.prompt") if inline else Wanted()
    planned, shadowed = _plans(spec, known)
    arms = {
        name: sealed_inline(rollout, each, path)
        for name, (path, each) in strategy.prompts.items()
        if each.inline is not None
    }
    problems = [*prompt.problems, *(problem for arm in arms.values() for problem in arm.problems)]
    problems += alike(strategy, {name: arm.revision for name, arm in arms.items()})
    problems += planned if isinstance(planned, tuple) else ()
    return Parsed(
        seen.uid,
        seen.generation,
        spec,
        prompt.revision,
        {name: arm.revision for name, arm in arms.items() if arm.revision},
        planned if isinstance(planned, Planned) else None,
        shadowed if isinstance(shadowed, Planned) else None,
        (*problems, *_unknown(spec, known)),
        references={
            arm: reference
            for arm, (_, each) in prompts_of(spec).items()
            if (reference := _reference(seen.key.namespace, each, known)) is not None
        },
    )


def prompts_of(spec: RolloutSpec) -> Mapping[str, tuple[str, Prompt]]:
    """Every prompt of a spec with its field path, by arm (`OWN`: spec.prompt)."""
    return {OWN: ("spec.prompt", spec.prompt), **strategy_of(spec.strategy).prompts}


def _for_what_is_under_way(
    seen: RolloutObject, spec: RolloutSpec, known: Known, problems: tuple[Problem, ...]
) -> Parsed:
    """Of a spec that is wrong, what a trial that is on needs: where it is delivered, and what is compared."""
    if any(problem.path.startswith("spec.analysis") for problem in problems):
        return Parsed(seen.uid, seen.generation, spec, problems=problems)
    plans = [plan if isinstance(plan, Planned) else None for plan in _plans(spec, known)]
    return Parsed(seen.uid, seen.generation, spec, planned=plans[0], shadowed=plans[1], problems=problems)


_Plan = Planned | tuple[Problem, ...] | None


def _plans(spec: RolloutSpec, known: Known) -> tuple[_Plan, _Plan]:
    """What is compared, and what is while the candidate runs in the shadow; None where there is nobody to ask."""
    if spec.analysis.metrics and spec.analysis.source not in known.sources:
        return None, None
    rivals = strategy_of(spec.strategy).rivals
    in_sight = plan_of(spec.analysis, rivals)
    return in_sight, plan_of(spec.analysis, rivals, shadow=True) if spec.strategy.shadow else None


def _unknown(spec: RolloutSpec, known: Known) -> Iterator[Problem]:
    """What the operator's configuration does not name, or does not allow."""
    if spec.analysis.metrics and spec.analysis.source not in known.sources:
        yield _not_configured("spec.analysis.source", spec.analysis.source, known.sources, "sources")
    for path, prompt in prompts_of(spec).values():
        registry = prompt.registry_ref
        if registry is not None and registry.registry not in known.registries:
            where = f"{path}.registryRef.registry"
            yield _not_configured(where, registry.registry, known.registries, "registries")
    yield from gate_problems(spec, known.gates)


def _not_configured(path: str, name: str, known: frozenset[str], what: str) -> Problem:
    names = ", ".join(sorted(known)) or "none"
    return Problem(
        path,
        f"{name!r} is not configured",
        f"use one of: {names}; {what} are named in the operator's configuration",
    )


def _reference(namespace: str, prompt: Prompt, known: Known) -> Reference | None:
    if (ref := prompt.config_map_ref) is not None:
        return ConfigMapReference(ObjectKey(namespace, ref.name))
    if (there := prompt.registry_ref) is not None and there.registry in known.registries:
        return RegistryReference(there.registry, there.name, there.version or "", there.alias or "")
    return None


def alike(strategy: Strategy, arms: Mapping[str, Revision | None]) -> Iterator[Problem]:
    """Arms with the same prompt cannot be told apart. (One with the control's is not compared: it may have won.)"""
    first: dict[str, str] = {}
    for name, revision in arms.items():
        if revision is None:
            continue
        path = strategy.prompts[name][0]
        other = first.setdefault(revision.short, path)
        if other != path:
            yield Problem(
                path,
                f"is the same prompt as {other}",
                "change it, or remove this arm",
            )
