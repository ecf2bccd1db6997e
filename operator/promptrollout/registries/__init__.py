"""Prompt registries behind one protocol: a prompt by name and version, or by an alias that someone moves.

A further kind of registry is a file here and a line in `KINDS`.
"""

from collections.abc import Callable, Mapping

from promptrollout.registries.config import RegistryConfig
from promptrollout.registries.mlflow import MlflowRegistry
from promptrollout.registries.protocol import (
    Fetched,
    NoSuchPromptError,
    PromptRegistry,
    RegistryError,
    RegistryReference,
    RegistryUnavailableError,
    UnusablePromptError,
)

#: What `type` of a registry's configuration may say.
KINDS: Mapping[str, Callable[[str, RegistryConfig], PromptRegistry]] = {"mlflow": MlflowRegistry}


def check_kind(config: RegistryConfig) -> None:
    """ValueError, with the field's name, for a kind that there is not."""
    if config.type not in KINDS:
        raise ValueError(f"type: {config.type!r} is not known; known are {', '.join(KINDS)}")


__all__ = [
    "KINDS",
    "Fetched",
    "NoSuchPromptError",
    "PromptRegistry",
    "RegistryConfig",
    "RegistryError",
    "RegistryReference",
    "RegistryUnavailableError",
    "UnusablePromptError",
    "check_kind",
]
