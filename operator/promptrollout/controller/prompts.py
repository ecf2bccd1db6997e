"""From the spec's prompt to a sealed revision, and what is wrong with it."""

from dataclasses import dataclass, field

from promptrollout.api.problem import Problem
from promptrollout.api.prompt import Prompt
from promptrollout.api.spec import RolloutSpec
from promptrollout.revision import Revision, SealError, check_variables, seal


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted revision, or the problems why there is none."""

    revision: Revision | None = None
    problems: tuple[Problem, ...] = field(default=())


def wanted_prompt(spec: RolloutSpec) -> Wanted:
    """Seal the prompt and check its variables."""
    return sealed_prompt(spec.prompt, "spec.prompt")


def sealed_prompt(source: Prompt, path: str) -> Wanted:
    """Seal a prompt that stands in the spec at `path`, and check its variables."""
    prompt, root = source.inline, f"{path}.inline"
    if prompt is None:
        return Wanted(problems=(Problem(path, "names no prompt", "write it under inline"),))
    problems = tuple(
        Problem(f"{root}.{found.field_path}".rstrip("."), found.message, "correct the text or the list")
        for found in check_variables(prompt)
    )
    if problems:
        return Wanted(problems=problems)
    try:
        return Wanted(seal(prompt))
    except SealError as error:
        at = f"{root}.{error.field_path}".rstrip(".")
        return Wanted(problems=(Problem(at, error.message, "correct the prompt"),))
