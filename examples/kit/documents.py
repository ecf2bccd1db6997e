"""The manifests that lie beside an example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def read(file: Path) -> list[dict[str, Any]]:
    """The objects of a YAML file."""
    return [one for one in yaml.safe_load_all(file.read_text()) if one]


def rollout_of(folder: Path) -> dict[str, Any]:
    """The PromptRollout of an example, rollout.yaml."""
    return next(one for one in read(folder / "rollout.yaml") if one["kind"] == "PromptRollout")


def patched(rollout: dict[str, Any], patch: Path) -> Any:
    """What `kubectl patch --type=merge --patch-file` makes of it."""
    # The operator's own room, which the services' image does not have.
    from promptrollout.cluster.mergepatch import apply_merge_patch  # noqa: PLC0415

    return apply_merge_patch(rollout, read(patch)[0])
