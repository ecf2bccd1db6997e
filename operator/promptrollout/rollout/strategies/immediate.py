"""Replace at once, as soon as the pods hold the new revision."""

from dataclasses import dataclass

from promptrollout.api.gates import StepGate
from promptrollout.rollout.strategies.base import Advance, Finish, Move, OneCandidate, View

_FINISH = Finish("Immediate", "the strategy is immediate")


@dataclass(frozen=True, slots=True)
class ImmediateStrategy(OneCandidate):
    """No steps: delivered, then promoted."""

    name: str = "immediate"
    steps: int = 0
    compares: bool = False

    def digest(self) -> str:
        """There is nothing to edit."""
        return "immediate"

    def relocate(self, weight: int, step: int) -> int:  # noqa: ARG002 - the protocol's signature
        """There is only one place to be."""
        return 0

    def gate(self, step: int) -> StepGate | None:  # noqa: ARG002 - the protocol's signature
        """There are no steps."""
        return None

    def next(self, view: View) -> Move:  # noqa: ARG002 - the protocol's signature
        """Promote."""
        return _FINISH

    def forced(self, view: View) -> Advance | Finish:  # noqa: ARG002 - the protocol's signature
        """Promote."""
        return _FINISH
