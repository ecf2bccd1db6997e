"""The manifests that lie beside an example."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Document = Mapping[str, Any]


def read(file: Path) -> list[dict[str, Any]]:
    """The objects of a YAML file."""
    return [one for one in yaml.safe_load_all(file.read_text()) if one]


def rollout_of(folder: Path) -> dict[str, Any]:
    """The PromptRollout of an example, rollout.yaml."""
    return next(one for one in read(folder / "rollout.yaml") if one["kind"] == "PromptRollout")


def merge(target: Document, patch: Document) -> dict[str, Any]:
    """`patch` laid over `target` as `kubectl patch --type=merge` does it (RFC 7396)."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge(below if isinstance(below := merged.get(key), Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
