"""From the spec's prompt to a sealed revision, and what is wrong with it."""

from dataclasses import dataclass, field

from promptrollout.api.problem import Problem
from promptrollout.api.spec import RolloutSpec
from promptrollout.revision import Revision, SealError, check_variables, seal

_ROOT = "spec.prompt.inline"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted revision, or the problems why there is none."""

    revision: Revision | None = None
    problems: tuple[Problem, ...] = field(default=())


def wanted_prompt(spec: RolloutSpec) -> Wanted:
    """Seal the prompt and check its variables."""
    prompt = spec.prompt.inline
    if prompt is None:
        return Wanted(problems=(Problem("spec.prompt", "names no prompt", "write it under inline"),))
    problems = tuple(
        Problem(f"{_ROOT}.{found.field_path}".rstrip("."), found.message, "correct the text or the list")
        for found in check_variables(prompt)
    )
    if problems:
        return Wanted(problems=problems)
    try:
        return Wanted(seal(prompt))
    except SealError as error:
        path = f"{_ROOT}.{error.field_path}".rstrip(".")
        return Wanted(problems=(Problem(path, error.message, "correct the prompt"),))
