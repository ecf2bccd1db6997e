"""Which gates the operator's configuration allows and knows."""

from collections.abc import Iterator

from promptrollout.api.gate_checks import gates_of
from promptrollout.api.problem import Problem
from promptrollout.api.spec import RolloutSpec
from promptrollout.gates import GatesConfig


def gate_problems(spec: RolloutSpec, config: GatesConfig) -> Iterator[Problem]:
    """Gates that the operator's configuration does not allow, or does not know."""
    for path, gate in gates_of(spec):
        if gate.job is not None and not config.jobs.enabled:
            cure = "have gates.jobs.enabled set in the operator's configuration"
            yield Problem(f"{path}.job", "Jobs are not enabled", cure)
        elif gate.job is not None and gate.job.template is not None and not config.jobs.inline_templates:
            message = "the operator's configuration allows no template in a rollout"
            yield Problem(f"{path}.job.template", message, "name a CronJob of this namespace in templateRef")
        if gate.webhook is not None and gate.webhook.name not in config.webhooks:
            names = ", ".join(sorted(config.webhooks)) or "none"
            cure = f"use one of: {names}; webhooks are named in the operator's configuration"
            yield Problem(f"{path}.webhook.name", f"{gate.webhook.name!r} is not configured", cure)
