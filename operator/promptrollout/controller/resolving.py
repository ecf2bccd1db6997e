"""From references to the wanted revisions: what is there now, or what was sealed when it could last be asked."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from promptrollout.api.problem import Problem
from promptrollout.api.prompt import Prompt
from promptrollout.api.status import PromptSource, RolloutStatus
from promptrollout.cluster.objects import ObjectKey
from promptrollout.controller.memory import Children, Document, Entry
from promptrollout.controller.parsed import OWN, Parsed, alike, prompts_of
from promptrollout.controller.prompts import (
    Wanted,
    missing_config_map,
    missing_in_registry,
    wanted_from_config_map,
    wanted_from_registry,
)
from promptrollout.controller.references import Answer, Reference, References
from promptrollout.registries import RegistryReference
from promptrollout.revision import Revision, seal
from promptrollout.rollout import SourceSeen
from promptrollout.rollout.strategies import strategy_of


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt that is not written inline.

    Attributes:
        path: where it stands in the spec.
        prompt: what stands there.
        answer: what its reference names now; None if that is not known, or was not asked.
        kept: what the status says was found before, and that text; None if there is none.
    """

    path: str
    prompt: Prompt
    answer: Answer | None
    kept: tuple[PromptSource, Document] | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What is made of it: a revision, problems, or why neither is known yet."""

    source: SourceSeen
    revision: Revision | None = None
    problems: tuple[Problem, ...] = ()
    unresolved: str = ""


@dataclass(frozen=True, slots=True)
class _Understood:
    """What was made of answers, so that a prompt is sealed once and not at every turn."""

    parsed: Parsed
    answers: Mapping[str, Answer | None]
    sealed: Mapping[str, str]
    result: Parsed


class Resolver:
    """Looks up prompts that are not written inline."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._understood: dict[ObjectKey, _Understood] = {}

    async def resolved(
        self, entry: Entry, parsed: Parsed, children: Children, status: RolloutStatus
    ) -> Parsed:
        """`parsed`, with the prompts that its references name.

        A version in a registry that was sealed before is not asked for again, and an alias that cannot be asked for
        is taken for what it was: a registry that is down, also while the operator starts, changes nothing.
        """
        key, spec = entry.seen.key, parsed.spec
        if spec is None or not parsed.references:
            self.leave(key)
            return parsed
        before: dict[str, PromptSource | None] = {OWN: status.source}
        before |= {source.arm: source for source in status.arm_sources}
        prompts = {arm: each for arm, each in prompts_of(spec).items() if arm in parsed.references}
        found = {arm: _kept(prompt, before.get(arm), children) for arm, (_, prompt) in prompts.items()}
        kept = {arm: source for arm, source in found.items() if source is not None}
        ask = {arm: one for arm, one in parsed.references.items() if not (arm in kept and _is_final(one))}
        self._references.leave(key, ask)
        answers = {arm: await self._references.first(key, one, arm) for arm, one in ask.items()}
        sealed = {arm: source.revision for arm, source in kept.items()}
        known = self._understood.get(key)
        if known and known.parsed is parsed and (known.answers, known.sealed) == (answers, sealed):
            return known.result
        texts = {arm: (source, children.documents[source.revision]) for arm, source in kept.items()}
        asked = {
            arm: _Asked(path, prompt, answers.get(arm), texts.get(arm))
            for arm, (path, prompt) in prompts.items()
        }
        result = await asyncio.to_thread(_understand, key.name, parsed, asked)
        self._understood[key] = _Understood(parsed, answers, sealed, result)
        return result

    def leave(self, key: ObjectKey) -> None:
        """The rollout is gone, or all its prompts are written inline."""
        self._references.leave(key)
        self._understood.pop(key, None)


def describe(prompt: Prompt) -> str:
    """A reference in words; two that may have different prompts differ."""
    if (ref := prompt.config_map_ref) is not None:
        how = [str(one) for one in (ref.format, ref.template_format) if one]
        return f"ConfigMap {ref.name}, key {ref.key}" + (f" as {' '.join(how)}" if how else "")
    if (there := prompt.registry_ref) is not None:
        which = RegistryReference(there.registry, there.name, there.version or "", there.alias or "")
        return f"{which}" + (f" as {there.template_format}" if there.template_format else "")
    return "inline"


def _is_final(reference: Reference) -> bool:
    """Whether what it names can never change."""
    return isinstance(reference, RegistryReference) and bool(reference.version)


def _kept(prompt: Prompt, source: PromptSource | None, children: Children) -> PromptSource | None:
    """What status says was found before, if it was found under this name and its text is still there."""
    if source is None or source.reference != describe(prompt) or source.revision not in children.documents:
        return None
    return source


def _understand(rollout: str, parsed: Parsed, asked: Mapping[str, _Asked]) -> Parsed:
    """Pure, and slow for large documents: run in a thread."""
    if parsed.spec is None:
        return parsed
    found = {arm: _found(rollout, arm, one) for arm, one in asked.items()}
    revisions = {arm: each.revision for arm, each in found.items() if each.revision is not None}
    strategy, known = strategy_of(parsed.spec.strategy), {**parsed.arms, **revisions}
    arms = {name: known[name] for name in strategy.prompts if name in known}
    problems = [*parsed.problems, *(problem for each in found.values() for problem in each.problems)]
    problems += [one for one in alike(strategy, arms) if one not in problems]
    return replace(
        parsed,
        wanted=revisions.get(OWN) if OWN in asked else parsed.wanted,
        arms=arms,
        problems=tuple(problems),
        sources={arm: each.source for arm, each in found.items()},
        unresolved=next((each.unresolved for each in found.values() if each.unresolved), ""),
    )


def _found(rollout: str, arm: str, asked: _Asked) -> _Found:
    named, answer = describe(asked.prompt), asked.answer
    unavailable = answer.unavailable if answer is not None else ""
    read = _read(rollout, asked, answer) if answer is not None else None
    if answer is not None and read is not None:
        revision = read.revision.short if read.revision else ""
        source = SourceSeen(named, answer.version, revision, unavailable)
        return _Found(source, read.revision, read.problems)
    if asked.kept is not None:
        kept, document = asked.kept
        source = SourceSeen(named, kept.version, kept.revision, unavailable)
        return _Found(source, seal(document))
    why = unavailable or f"{named} is being asked for the prompt"
    why = why if arm == OWN else f"arm {arm}: {why}"
    return _Found(SourceSeen(named, unavailable=unavailable), unresolved=why)


def _read(rollout: str, asked: _Asked, answer: Answer) -> Wanted | None:
    """What an answer gives; None if it gives nothing yet."""
    ref, there, path = asked.prompt.config_map_ref, asked.prompt.registry_ref, asked.path
    if answer.problem:
        missing = (
            missing_in_registry(answer.problem, path)
            if ref is None
            else missing_config_map(ref, answer.problem, path)
        )
        return Wanted(problems=(missing,))
    if answer.content is None:
        return None
    if ref is not None:
        return wanted_from_config_map(rollout, ref, answer.content, path)
    document = dict(answer.content)
    if there is not None and there.template_format is not None:
        document["templateFormat"] = there.template_format.value
    return wanted_from_registry(rollout, describe(asked.prompt), document, path)
