"""From a reference to the wanted revision: what is there now, or what was sealed when it could last be asked."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from promptrollout.api.prompt import Prompt
from promptrollout.api.status import PromptSource, RolloutStatus
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.memory import Children, Document, Entry
from promptrollout.controller.parsed import Parsed, alike
from promptrollout.controller.prompts import (
    Wanted,
    missing_config_map,
    missing_in_registry,
    wanted_from_config_map,
    wanted_from_registry,
)
from promptrollout.controller.references import Answer, References
from promptrollout.registries import RegistryReference
from promptrollout.revision import seal
from promptrollout.rollout import SourceSeen
from promptrollout.rollout.strategies import strategy_of


@dataclass(frozen=True, slots=True)
class _Understood:
    """What was made of an answer, so that a prompt is sealed once and not at every turn."""

    parsed: Parsed
    answer: Answer | None
    sealed: str
    result: Parsed


class Resolver:
    """Looks up prompts that are not written inline."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._understood: dict[ObjectKey, _Understood] = {}
        self._arms: dict[ObjectKey, tuple[Parsed, Mapping[str, Answer | None], Parsed]] = {}

    async def resolved(
        self, entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus
    ) -> Parsed:
        """`parsed`, with the prompts that its references name."""
        return await self._with_arms(entry.seen.key, await self._with_prompt(entry, parsed, children, status))

    async def _with_prompt(
        self, entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus
    ) -> Parsed:
        """With the prompt that spec.prompt names.

        A version in a registry that was sealed before is not asked for again, and an alias that cannot be asked for
        is taken for what it was: a registry that is down, also while the operator starts, changes nothing.
        """
        key, reference = entry.seen.key, parsed.reference
        if parsed.spec is None or reference is None:
            self._references.leave(key, parsed.arm_references)
            self._understood.pop(key, None)
            return parsed
        named = describe(parsed.spec.prompt)
        kept = _kept(named, status.source, children)
        final = isinstance(reference, RegistryReference) and bool(reference.version) and kept is not None
        if final:
            self._references.leave(key, parsed.arm_references)
        answer = None if final else await self._references.first(key, reference)
        sealed = kept.revision if kept is not None else ""
        known = self._understood.get(key)
        if known and known.parsed is parsed and (known.answer, known.sealed) == (answer, sealed):
            return known.result
        result = await asyncio.to_thread(
            _understand, key.name, parsed, named, answer, _sealed(kept, children)
        )
        self._understood[key] = _Understood(parsed, answer, sealed, result)
        return result

    async def _with_arms(self, key: ObjectKey, parsed: Parsed) -> Parsed:
        """With the prompts that arms name; while the API server has not told one, it is not known what is wanted."""
        self._references.leave(key, {"", *parsed.arm_references})
        if parsed.spec is None or not parsed.arm_references:
            self._arms.pop(key, None)
            return parsed
        answers = {
            arm: await self._references.first(key, reference, arm)
            for arm, reference in parsed.arm_references.items()
        }
        known = self._arms.get(key)
        if known and known[:2] == (parsed, answers):
            return known[2]
        result = await asyncio.to_thread(_with_answers, key.name, parsed, answers)
        self._arms[key] = (parsed, answers, result)
        return result

    def leave(self, key: ObjectKey) -> None:
        """The rollout is gone."""
        self._references.leave(key)
        self._understood.pop(key, None)
        self._arms.pop(key, None)


def describe(prompt: Prompt) -> str:
    """A reference in words; two that may have different prompts differ."""
    if (ref := prompt.config_map_ref) is not None:
        how = [str(one) for one in (ref.format, ref.template_format) if one]
        return f"ConfigMap {ref.name}, key {ref.key}" + (f" as {' '.join(how)}" if how else "")
    if (there := prompt.registry_ref) is not None:
        which = RegistryReference(there.registry, there.name, there.version or "", there.alias or "")
        return f"{which}" + (f" as {there.template_format}" if there.template_format else "")
    return "inline"


def _kept(named: str, source: PromptSource | None, children: Children) -> PromptSource | None:
    """What status says was found before, if it was found under this name and its text is still there."""
    if source is None or source.reference != named or source.revision not in children.documents:
        return None
    return source


def _sealed(kept: PromptSource | None, children: Children) -> tuple[PromptSource, Document] | None:
    return (kept, children.documents[kept.revision]) if kept is not None else None


def _understand(
    rollout: str,
    parsed: Parsed,
    named: str,
    answer: Answer | None,
    sealed: tuple[PromptSource, Document] | None,
) -> Parsed:
    """Pure, and slow for a large document: run in a thread."""
    found = _read(rollout, parsed, named, answer) if answer is not None else None
    unavailable = answer.unavailable if answer is not None else ""
    if found is not None:
        version = answer.version if answer is not None else ""
        revision = found.revision.short if found.revision else ""
        problems = (*parsed.problems, *found.problems)
        source = SourceSeen(named, version, revision, unavailable)
        return replace(parsed, wanted=found.revision, problems=problems, source=source)
    if sealed is not None:
        kept, document = sealed
        source = SourceSeen(named, kept.version, kept.revision, unavailable)
        return replace(parsed, wanted=seal(document), source=source)
    why = unavailable or f"{named} is being asked for the prompt"
    return replace(parsed, source=SourceSeen(named, unavailable=unavailable), unresolved=why)


def _with_answers(rollout: str, parsed: Parsed, answers: Mapping[str, Answer | None]) -> Parsed:
    """Pure, and slow for large documents: run in a thread."""
    if parsed.spec is None:
        return parsed
    strategy, arms, problems = strategy_of(parsed.spec.strategy), dict(parsed.arms), list(parsed.problems)
    for arm, answer in answers.items():
        path, prompt = strategy.prompts[arm]
        ref = prompt.config_map_ref
        if ref is None or answer is None or (answer.content is None and not answer.problem):
            said = f"{parsed.arm_references[arm]} is being asked for the prompt of arm {arm}"
            return replace(parsed, unresolved=parsed.unresolved or said)
        if answer.problem or answer.content is None:
            problems.append(missing_config_map(ref, answer.problem, path))
            continue
        found = wanted_from_config_map(rollout, ref, answer.content, path)
        problems += found.problems
        if found.revision is not None:
            arms[arm] = found.revision
    ordered = {name: arms[name] for name in strategy.prompts if name in arms}
    problems += [one for one in alike(strategy, ordered) if one not in problems]
    return replace(parsed, arms=ordered, problems=tuple(problems))


def _read(rollout: str, parsed: Parsed, named: str, answer: Answer) -> Wanted | None:
    """What an answer gives; None if it gives nothing yet."""
    if parsed.spec is None:
        return None
    prompt = parsed.spec.prompt
    if answer.problem:
        ref = prompt.config_map_ref
        problem = (
            missing_in_registry(answer.problem)
            if ref is None
            else missing_config_map(ref, answer.problem, "spec.prompt")
        )
        return Wanted(problems=(problem,))
    if answer.content is None:
        return None
    if prompt.config_map_ref is not None:
        return wanted_from_config_map(rollout, prompt.config_map_ref, answer.content, "spec.prompt")
    document = dict(answer.content)
    if prompt.registry_ref is not None and prompt.registry_ref.template_format is not None:
        document["templateFormat"] = prompt.registry_ref.template_format.value
    return wanted_from_registry(rollout, named, document)
