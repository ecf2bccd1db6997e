"""What a kind of gate is, and what a run of it needs to know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from promptrollout.cluster.objects import ObjectKey, Owner
from promptrollout.rollout import GateAnswer, GateRequest

Document = Mapping[str, object]
#: Says how a run stands, before its answer.
Tell = Callable[[GateAnswer], None]


class GateError(Exception):
    """A run that cannot succeed however often it is tried: its text says why, and the gate has failed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One gate about one revision.

    Attributes:
        key: the rollout.
        owner: the rollout as owner of what is created.
        request: what is asked.
        config_map: the ConfigMap that pods mount; it may not exist yet.
        documents: the sealed prompts of the arms and of stable, by short hash.
    """

    key: ObjectKey
    owner: Owner
    request: GateRequest
    config_map: str
    documents: Mapping[str, Document] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The same after a restart."""
        return self.request.id


class GateKind(Protocol):
    """Asks, and waits for the answer. One object serves all runs of its kind at the same time."""

    async def run(self, run: Run, tell: Tell) -> GateAnswer:
        """The answer, however long it takes; asking the same run twice must do no harm.

        Raises:
            GateError: it cannot succeed.
            Exception: anything else is tried again after a while.
        """
        ...

    async def end(self, run: Run) -> None:
        """Nobody waits for this run any more: stop what it has started."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
