"""What is wrong with what someone wrote, where, and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a spec.

    Attributes:
        path: the field, as `kubectl explain` takes it, with indices: `spec.strategy.canary.steps[2].weight`.
        message: what is wrong, without the field's name.
        cure: what to do, as an order: `write 5, "5%" or "0.25%"`.
    """

    path: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}; {self.cure}"
