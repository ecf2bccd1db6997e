"""A prompt that is not written inline: what was found where, remembered so that a restart needs nobody's answer."""

from collections.abc import Mapping
from typing import TypeVar

from promptrollout.api.status import ArmSource, PromptChanges, PromptSource, RolloutStatus
from promptrollout.rollout.observations import SourceSeen
from promptrollout.rollout.turn import Turn

_Source = TypeVar("_Source", bound=PromptSource)


def heed_sources(turn: Turn) -> None:
    """Take into the status what was found, and say when it changes or cannot be asked."""
    own, arms = turn.seen.source, turn.seen.arm_sources
    settled = turn.spec is not None and not turn.seen.problems
    if own is not None:
        turn.set(source=_heeded(turn, turn.status.source, PromptSource(reference=own.reference), own))
    elif settled:
        turn.set(source=None)
    if arms or settled:
        turn.set(arm_sources=_of_arms(turn, arms))


def _of_arms(turn: Turn, arms: Mapping[str, SourceSeen]) -> list[ArmSource]:
    old = {source.arm: source for source in turn.status.arm_sources}
    return [
        _heeded(turn, old.get(arm), ArmSource(arm=arm, reference=seen.reference), seen)
        for arm, seen in arms.items()
    ]


def _heeded(turn: Turn, old: _Source | None, new: _Source, seen: SourceSeen) -> _Source:
    found = old if old is not None and old.reference == seen.reference else new
    if seen.revision and (seen.version, seen.revision) != (found.version, found.revision):
        found = found.but(version=seen.version, revision=seen.revision, resolved_at=turn.now)
        turn.note("PromptResolved", describe_found(found))
    return _availability(turn, found, seen.unavailable)


def sources_of(status: RolloutStatus) -> list[PromptSource]:
    """Of all prompts that are not written inline, that of spec.prompt first."""
    return [*([status.source] if status.source else []), *status.arm_sources]


def describe_found(source: PromptSource) -> str:
    """What was found, in a sentence."""
    version = f"version {source.version}"
    named = not source.version or version in source.reference
    return f"{_of_arm(source)}{source.reference}: {'' if named else f'{version}, '}revision {source.revision}"


def _of_arm(source: PromptSource) -> str:
    return f"arm {source.arm}: " if isinstance(source, ArmSource) else ""


def _availability(turn: Turn, source: _Source, unavailable: str) -> _Source:
    if unavailable and source.unavailable_since is None:
        said = f"{_of_arm(source)}{unavailable}; what is served stays as it is"
        turn.warn("PromptSourceUnavailable", said)
        return source.but(unavailable_since=turn.now, unavailable=unavailable)
    if not unavailable and source.unavailable_since is not None:
        turn.note("PromptSourceAvailable", f"{_of_arm(source)}{source.reference} can be asked again")
        return source.but(unavailable_since=None, unavailable="")
    return source.but(unavailable=unavailable)


def source_problem(turn: Turn) -> str:
    """Why sources of prompts cannot be asked, and that this changes nothing; empty if they can or there are none."""
    return "; ".join(_unavailable(source) for source in sources_of(turn.status) if source.unavailable_since)


def _unavailable(source: PromptSource) -> str:
    said = f"{_of_arm(source)}{source.unavailable}"
    if not source.revision:
        return said
    return f"{said}; revision {source.revision}, found there before, stays the wanted one"


def tell_changes(turn: Turn, changes: PromptChanges | None) -> None:
    """Before it gets any traffic: what the candidate asks of applications and models."""
    said = describe_changes(changes)
    if changes is None or not said:
        return
    turn.note(
        "PromptChanged", f"against stable it {said}", "Warning" if changes.variables_added else "Normal"
    )


def describe_changes(changes: PromptChanges | None) -> str:
    """As the end of a sentence about the candidate; empty if only texts change."""
    if changes is None:
        return ""
    parts = []
    if changes.variables_added:
        parts.append(
            f"needs {_variables(changes.variables_added)} (empty where an application supplies none)"
        )
    if changes.variables_dropped:
        parts.append(f"no longer uses {_variables(changes.variables_dropped)}")
    if changes.settings:
        parts.append(f"changes {', '.join(changes.settings)}")
    return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"


def _variables(names: list[str]) -> str:
    return f"the variable{'s' if len(names) > 1 else ''} {', '.join(names)}"
