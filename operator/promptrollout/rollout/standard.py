"""The conditions that other tools read without knowing us: Ready, Reconciling and Stalled.

Flux, `kubectl wait` and everything built on kstatus (sigs.k8s.io/cli-utils, pkg/kstatus/README.md) go by them. A
rollout that is not over is always Reconciling, also while it waits for a person: with neither Reconciling nor Stalled,
kstatus would take it for done.
"""

from collections.abc import Mapping

from promptrollout.api.status import Phase

#: True, False or unknown; the reason in one word; the message.
Facts = tuple[bool | None, str, str]

#: Phases that only a person can end: the spec or the prompt must change, or someone must say retry.
_STALLED = frozenset({Phase.DEGRADED, Phase.INVALID})


def standard_conditions(phase: Phase, message: str) -> Mapping[str, Facts]:
    """Exactly one of the three is True in each phase."""
    ready, stalled = phase is Phase.HEALTHY, phase in _STALLED
    reconciling = not ready and not stalled
    return {
        "Ready": (ready, phase.value, message),
        "Reconciling": (reconciling, phase.value, message if reconciling else ""),
        "Stalled": (stalled, phase.value, message if stalled else ""),
    }
