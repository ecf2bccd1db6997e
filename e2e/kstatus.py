"""The rules by which Flux and `kubectl`'s relatives tell whether an object is done, to hold our statuses against.

After Compute of sigs.k8s.io/cli-utils, pkg/kstatus/status (status.go: the order; generic.go: deletion, generation,
Reconciling and Stalled in the order of the list; core.go: Ready for kinds without rules of their own). Two versions
are in use: the older has no rule for Ready and takes whatever is neither Reconciling nor Stalled for Current.
"""

from __future__ import annotations

from e2e.objects import KubeObject

IN_PROGRESS, FAILED, CURRENT, TERMINATING = "InProgress", "Failed", "Current", "Terminating"


def compute(found: KubeObject, *, knows_ready: bool = True) -> str:
    """What kstatus says of an object; `knows_ready`: by the newer rules."""
    metadata, status = found.mapping("metadata"), found.mapping("status")
    if metadata.get("deletionTimestamp"):
        return TERMINATING
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if generation is not None and observed is not None and generation != observed:
        return IN_PROGRESS
    conditions = [(one.text("type"), one.text("status")) for one in found.items("status.conditions")]
    for condition in conditions:
        if condition == ("Reconciling", "True"):
            return IN_PROGRESS
        if condition == ("Stalled", "True"):
            return FAILED
    ready = dict(conditions).get("Ready") if knows_ready else None
    return CURRENT if ready in {None, "True"} else IN_PROGRESS


def kubectl_wait(found: KubeObject, kind: str) -> bool:
    """Whether `kubectl wait --for=condition=KIND` returns (kubectl 1.37, pkg/cmd/wait/condition.go).

    The condition's own observedGeneration counts, the status' where it has none; None at all is taken for current.
    """
    condition = found.condition(kind)
    seen = condition.raw.get("observedGeneration", found.mapping("status").get("observedGeneration"))
    generation = found.mapping("metadata").get("generation")
    if seen is not None and generation is not None and seen < generation:
        return False
    return condition.text("status").lower() == "true"
