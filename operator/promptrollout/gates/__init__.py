"""What gates ask: Jobs and webhooks, each behind the `GateKind` protocol, run side by side with all decisions.

- `protocol`: what a kind is, and what a run needs to know.
- `runner`: starts what a decision wants, keeps what was answered, ends what nobody waits for any more.
- `job`, `manifest`: a Kubernetes Job, and how it is made of its template.
- `webhook`: a request to a service, signed (Standard Webhooks).
- `answers`: from what a Job or a service says to passed or failed.
- `config`: the operator's own configuration of all this.

A new kind is one file that implements `GateKind`, its line in `kinds_of` here, and its field in `api/gates.py`. An
approval needs nothing of this room: a person answers it by a command.
"""

from collections.abc import Mapping

from promptrollout.gates.config import GatesConfig
from promptrollout.gates.job import JobKind, Jobs
from promptrollout.gates.protocol import GateKind, Run
from promptrollout.gates.runner import GateRunner
from promptrollout.gates.webhook import WebhookKind

__all__ = ["GateKind", "GateRunner", "GatesConfig", "Jobs", "Run", "kinds_of"]


def kinds_of(config: GatesConfig, jobs: Jobs) -> Mapping[str, GateKind]:
    """Every kind that is run, by the name of its field."""
    return {"job": JobKind(jobs, config.jobs), "webhook": WebhookKind(config.webhooks)}
