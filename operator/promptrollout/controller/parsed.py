"""All that follows from a spec alone, worked out once for each generation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from promptrollout.api.parse import parse_spec
from promptrollout.api.problem import Problem
from promptrollout.api.spec import RolloutSpec
from promptrollout.cluster.objects import RolloutObject
from promptrollout.controller.prompts import Wanted, sealed_prompt, wanted_prompt
from promptrollout.delivery import PayloadTooLargeError, revision_config_map
from promptrollout.revision import Revision
from promptrollout.rollout.strategies import Strategy, strategy_of
from promptrollout.sources.planning import Planned, plan_of


@dataclass(frozen=True, slots=True)
class Parsed:
    """A spec, understood.

    Attributes:
        generation: the generation it was.
        spec: None if it could not be read at all.
        wanted: the sealed prompt; None if `problems` say why there is none.
        arms: the sealed prompts that the strategy itself names, by arm.
        planned: what to compare; None if `problems` say why not.
        problems: what is wrong, by field path.
    """

    uid: str
    generation: int
    spec: RolloutSpec | None = None
    wanted: Revision | None = None
    arms: Mapping[str, Revision] = field(default_factory=dict)
    planned: Planned | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """All sealed prompts of the spec."""
        return (*([self.wanted] if self.wanted else []), *self.arms.values())


def parse(seen: RolloutObject, sources: frozenset[str]) -> Parsed:
    """Understand the spec of a rollout; `sources` are the names of the configured metric sources."""
    spec = parse_spec(seen.spec)
    if not isinstance(spec, RolloutSpec):
        return Parsed(seen.uid, seen.generation, problems=spec)
    strategy = strategy_of(spec.strategy)
    prompt, planned = wanted_prompt(spec), plan_of(spec.analysis, strategy.rivals)
    arms = {name: sealed_prompt(each, path) for name, (path, each) in strategy.prompts.items()}
    problems = [*prompt.problems, *(problem for arm in arms.values() for problem in arm.problems)]
    problems += _alike(strategy, {"spec.prompt": prompt, **arms})
    if not isinstance(planned, Planned):
        problems += planned
    if spec.analysis.metrics and spec.analysis.source not in sources:
        known = ", ".join(sorted(sources)) or "none"
        problems.append(
            Problem(
                "spec.analysis.source",
                f"{spec.analysis.source!r} is not configured",
                f"use one of: {known}; sources are named in the operator's configuration",
            )
        )
    problems += _too_large(seen, prompt.revision, "spec.prompt")
    for name, (path, _) in strategy.prompts.items():
        problems += _too_large(seen, arms[name].revision, path)
    return Parsed(
        seen.uid,
        seen.generation,
        spec,
        prompt.revision,
        {name: arm.revision for name, arm in arms.items() if arm.revision},
        planned if isinstance(planned, Planned) else None,
        tuple(problems),
    )


def _too_large(seen: RolloutObject, revision: Revision | None, path: str) -> Iterator[Problem]:
    try:
        if revision:
            revision_config_map(seen.key.name, revision.document)
    except PayloadTooLargeError as error:
        yield Problem(path, str(error), "shorten the prompt")


def _alike(strategy: Strategy, prompts: Mapping[str, Wanted]) -> Iterator[Problem]:
    """Arms with the same prompt cannot be told apart."""
    first: dict[str, str] = {}
    for name, wanted in prompts.items():
        if wanted.revision is None:
            continue
        path = strategy.prompts[name][0] if name in strategy.prompts else name
        other = first.setdefault(wanted.revision.short, path)
        if other != path:
            yield Problem(path, f"is the same prompt as {other}", "change it, or remove this arm")
