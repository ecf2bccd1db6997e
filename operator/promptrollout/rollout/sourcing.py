"""A prompt that is not written inline: what was found where, remembered so that a restart needs nobody's answer."""

from promptrollout.api.status import PromptChanges, PromptSource
from promptrollout.rollout.turn import Turn


def heed_source(turn: Turn) -> None:
    """Take into the status what was found, and say when it changes or cannot be asked."""
    seen, old = turn.seen.source, turn.status.source
    if seen is None:
        if turn.spec is not None and not turn.seen.problems:
            turn.set(source=None)
        return
    if old is None or old.reference != seen.reference:
        old = PromptSource(reference=seen.reference)
    found = old
    if seen.revision and (seen.version, seen.revision) != (old.version, old.revision):
        found = old.but(version=seen.version, revision=seen.revision, resolved_at=turn.now)
        turn.note("PromptResolved", describe_found(found))
    turn.set(source=_availability(turn, found, seen.unavailable))


def describe_found(source: PromptSource) -> str:
    """What was found, in a sentence."""
    version = f"version {source.version}"
    named = not source.version or version in source.reference
    return f"{source.reference}: {'' if named else f'{version}, '}revision {source.revision}"


def _availability(turn: Turn, source: PromptSource, unavailable: str) -> PromptSource:
    if unavailable and source.unavailable_since is None:
        turn.warn("PromptSourceUnavailable", f"{unavailable}; what is served stays as it is")
        return source.but(unavailable_since=turn.now, unavailable=unavailable)
    if not unavailable and source.unavailable_since is not None:
        turn.note("PromptSourceAvailable", f"{source.reference} can be asked again")
        return source.but(unavailable_since=None, unavailable="")
    return source.but(unavailable=unavailable)


def source_problem(turn: Turn) -> str:
    """Why the prompt's source cannot be asked, and that this changes nothing; empty if it can or there is none."""
    source = turn.status.source
    if source is None or source.unavailable_since is None:
        return ""
    if not source.revision:
        return source.unavailable
    return f"{source.unavailable}; revision {source.revision}, found there before, stays the wanted one"


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
