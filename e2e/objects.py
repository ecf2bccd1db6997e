"""Kubernetes objects as tests read them: JSON behind typed getters, so that no untyped value goes further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class KubeObject:
    """An object as the API server gave it. Paths are dotted: `status.phase`; what is absent reads as empty."""

    raw: Json

    @property
    def name(self) -> str:
        return self.text("metadata.name")

    @property
    def namespace(self) -> str:
        return self.text("metadata.namespace")

    @property
    def kind(self) -> str:
        return self.text("kind")

    @property
    def uid(self) -> str:
        return self.text("metadata.uid")

    @property
    def resource_version(self) -> str:
        return self.text("metadata.resourceVersion")

    def text(self, path: str) -> str:
        value = self._get(path)
        return "" if value is None else str(value)

    def number(self, path: str) -> float:
        value = self._get(path)
        return float(value) if isinstance(value, int | float | str) and value != "" else 0.0

    def mapping(self, path: str) -> Json:
        value = self._get(path)
        return value if isinstance(value, Mapping) else {}

    def texts(self, path: str) -> Mapping[str, str]:
        """A map of strings: labels, annotations, a ConfigMap's data."""
        return {key: str(value) for key, value in self.mapping(path).items()}

    def items(self, path: str) -> Sequence[KubeObject]:
        value = self._get(path)
        return (
            [KubeObject(item) for item in value if isinstance(item, Mapping)]
            if isinstance(value, list)
            else []
        )

    def condition(self, kind: str) -> KubeObject:
        """The condition of that type, empty when there is none; `.text("status")`, `.text("reason")`."""
        return next((c for c in self.items("status.conditions") if c.text("type") == kind), KubeObject({}))

    def _get(self, path: str) -> object:
        value: object = self.raw
        for part in path.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value
