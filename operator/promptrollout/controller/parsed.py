"""All that follows from a spec alone, worked out once for each generation."""

from dataclasses import dataclass

from promptrollout.api.parse import parse_spec
from promptrollout.api.problem import Problem
from promptrollout.api.spec import RolloutSpec
from promptrollout.cluster.objects import RolloutObject
from promptrollout.controller.prompts import wanted_prompt
from promptrollout.delivery import PayloadTooLargeError, revision_config_map
from promptrollout.revision import Revision
from promptrollout.sources.planning import Planned, plan_of


@dataclass(frozen=True, slots=True)
class Parsed:
    """A spec, understood.

    Attributes:
        generation: the generation it was.
        spec: None if it could not be read at all.
        wanted: the sealed prompt; None if `problems` say why there is none.
        planned: what to compare; None if `problems` say why not.
        problems: what is wrong, by field path.
    """

    uid: str
    generation: int
    spec: RolloutSpec | None = None
    wanted: Revision | None = None
    planned: Planned | None = None
    problems: tuple[Problem, ...] = ()


def parse(seen: RolloutObject, sources: frozenset[str]) -> Parsed:
    """Understand the spec of a rollout; `sources` are the names of the configured metric sources."""
    spec = parse_spec(seen.spec)
    if not isinstance(spec, RolloutSpec):
        return Parsed(seen.uid, seen.generation, problems=spec)
    prompt, planned = wanted_prompt(spec), plan_of(spec.analysis)
    problems = list(prompt.problems)
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
    if prompt.revision and (found := _too_large(seen, prompt.revision)):
        problems.append(found)
    return Parsed(
        seen.uid,
        seen.generation,
        spec,
        prompt.revision,
        planned if isinstance(planned, Planned) else None,
        tuple(problems),
    )


def _too_large(seen: RolloutObject, revision: Revision) -> Problem | None:
    try:
        revision_config_map(seen.key.name, revision.document)
    except PayloadTooLargeError as error:
        return Problem("spec.prompt", str(error), "shorten the prompt")
    return None
