"""From a prompt, wherever it is written, to a sealed revision; and what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from promptrollout.api.problem import Problem
from promptrollout.api.prompt import ConfigMapRef, InlinePrompt, Prompt
from promptrollout.controller.documents import UnreadableError, read_document, read_prompt
from promptrollout.delivery import PayloadTooLargeError, revision_config_map
from promptrollout.revision import Revision, SealError, check_variables, seal


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted revision, or the problems why there is none."""

    revision: Revision | None = None
    problems: tuple[Problem, ...] = field(default=())


def sealed_inline(rollout: str, source: Prompt, path: str) -> Wanted:
    """Of a prompt that stands in the spec at `path`."""
    if source.inline is None:
        return Wanted(problems=(Problem(path, "has no text", "write the prompt under inline"),))
    sealed, root = _sealed(rollout, source.inline), f"{path}.inline"
    return Wanted(
        sealed.revision,
        tuple(Problem(f"{root}.{p.path}".rstrip("."), p.message, p.cure) for p in sealed.problems),
    )


def wanted_from_config_map(rollout: str, ref: ConfigMapRef, data: Mapping[str, object], path: str) -> Wanted:
    """Of a ConfigMap's data, which its author may have written anything into; `path` is that of the prompt."""
    path = f"{path}.configMapRef"
    where = f"ConfigMap {ref.name}, key {ref.key}"
    text = data.get(ref.key)
    if not isinstance(text, str):
        known = ", ".join(sorted(data)[:8]) or "none"
        cure = f"add the key under data, or name another one in configMapRef (there are: {known})"
        return Wanted(problems=(Problem(path, f"ConfigMap {ref.name} has no key {ref.key}", cure),))
    try:
        document = read_document(ref, text)
    except UnreadableError as error:
        return Wanted(problems=(Problem(path, f"{where} {error}", "correct the ConfigMap"),))
    return _from_outside(rollout, path, where, document)


def wanted_from_registry(rollout: str, where: str, document: Mapping[str, object], path: str) -> Wanted:
    """Of what a registry has; `where` says which prompt of which registry that is, `path` is that of the prompt."""
    return _from_outside(rollout, f"{path}.registryRef", where, document)


def missing_config_map(ref: ConfigMapRef, problem: str, path: str) -> Problem:
    """A ConfigMap that is not there; `path` is that of the prompt."""
    cure = f"create it with the key {ref.key}, or name another one in configMapRef"
    return Problem(f"{path}.configMapRef", f"ConfigMap {ref.name} {problem}", cure)


def missing_in_registry(problem: str, path: str) -> Problem:
    """A prompt that a registry does not have; `path` is that of the prompt."""
    cure = "correct the name, the version or the alias, or add it to the registry"
    return Problem(f"{path}.registryRef", problem, cure)


def _from_outside(rollout: str, path: str, where: str, document: Mapping[str, object]) -> Wanted:
    prompt = read_prompt(document)
    sealed = _sealed(rollout, prompt) if isinstance(prompt, InlinePrompt) else Wanted(problems=prompt)
    return Wanted(
        sealed.revision,
        tuple(
            Problem(path, f"{where}: {f'{p.path} ' if p.path else 'it '}{p.message}", p.cure)
            for p in sealed.problems
        ),
    )


def _sealed(rollout: str, prompt: InlinePrompt) -> Wanted:
    """Seal the prompt and check its variables and its size; paths are relative to the prompt."""
    wrong = check_variables(prompt)
    if wrong:
        found = (Problem(p.field_path, p.message, "correct the text or the list") for p in wrong)
        return Wanted(problems=tuple(found))
    try:
        revision = seal(prompt)
        revision_config_map(rollout, revision.document)
    except SealError as error:
        return Wanted(problems=(Problem(error.field_path, error.message, "correct the prompt"),))
    except PayloadTooLargeError as error:
        return Wanted(problems=(Problem("", str(error), "shorten the prompt"),))
    return Wanted(revision)
