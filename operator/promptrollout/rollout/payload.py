"""The payload is a pure function of spec and status: what was decided, in the form that pods read."""

from promptrollout.api.base import to_rfc3339
from promptrollout.api.spec import RolloutSpec
from promptrollout.api.status import Delivered, RolloutStatus, ShadowRun
from promptrollout.delivery import ArmWeight, Payload, PinnedRevision, Shadow


def config_map_name(name: str, spec: RolloutSpec) -> str:
    """The name of the ConfigMap that pods mount."""
    return spec.delivery.config_map_name or f"{name}-prompt"


def payload_of(key: str, spec: RolloutSpec, status: RolloutStatus) -> Payload | None:
    """What pods of rollout `key` ("namespace/name") are told; None while nothing has been decided."""
    delivered = status.delivered
    if delivered is None:
        return None
    return Payload(
        rollout=key,
        sequence=delivered.sequence,
        exposure=delivered.exposure,
        unit=spec.assignment.unit,
        salt=delivered.salt,
        arms=tuple(ArmWeight(arm.name, arm.revision, arm.weight) for arm in delivered.arms),
        shadow=_shadow(delivered.shadow) if delivered.shadow else None,
        pinned=pinned_of(delivered),
    )


def _shadow(run: ShadowRun) -> Shadow:
    return Shadow(run.revision, run.sample, run.max_concurrent, run.usd_per_hour)


def pinned_of(delivered: Delivered) -> tuple[PinnedRevision, ...]:
    """What conversations may still end with."""
    return tuple(PinnedRevision(pin.revision, to_rfc3339(pin.until)) for pin in delivered.pins)
