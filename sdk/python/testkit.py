"""For the tests only: a directory as kubelet keeps it, and what to deliver into it.

Beside tests/ and not in it, since pytest's importlib mode gives test files no package to import it from.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptrollout.delivery import ArmWeight, Payload, render
from promptrollout.revision import seal
from promptrollout_sdk import PromptRollout

OLD = seal(
    {
        "messages": [{"role": "system", "content": "Old {{shop}}"}],
        "model": {"name": "m1", "parameters": {"temperature": "0.2"}},
        "variables": ["shop"],
    }
)
NEW = seal(
    {
        "messages": [{"role": "system", "content": "New {{shop}}"}],
        "model": {"name": "m2"},
        "variables": ["shop"],
    }
)
DOCUMENTS = {r.short: r.document for r in (OLD, NEW)}
NAME = "shop/support-answer"


def payload(sequence: int = 1, weight: int = 500, **changes: Any) -> Payload:  # noqa: ANN401 - any field
    """Two arms; exposure and sequence grow together."""
    arms = (ArmWeight("candidate", NEW.short, weight), ArmWeight("stable", OLD.short, 10_000 - weight))
    base = Payload(NAME, sequence, exposure=sequence, unit="conversation", salt="s", arms=arms)
    return replace(base, **changes)


class Mount:
    """A ConfigMap mount: every version in a directory of its own, `..data` swapped as kubelet's atomic writer does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """A new version with these files."""
        self._version += 1
        target = self.path / f"..version_{self._version}"
        target.mkdir()
        for name, text in files.items():
            (target / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            link = self.path / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(target.name)
        fresh.replace(self.path / "..data")

    def deliver(self, what: Payload, documents: Mapping[str, Mapping[str, object]] = DOCUMENTS) -> None:
        """A new version as the operator renders it."""
        self.write(render(what, documents))


def unit_of(rollout: PromptRollout, arm: str) -> str:
    """A unit that gets `arm`."""
    return next(f"u{i}" for i in range(100_000) if rollout.assign(f"u{i}").arm == arm)
