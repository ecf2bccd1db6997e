"""What the operator asks of a prompt registry, whatever it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """A prompt in a registry: by `version`, which never changes, or by `alias`; exactly one of them is set."""

    registry: str
    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        which = f"version {self.version}" if self.version else f"alias {self.alias}"
        return f"registry {self.registry}: {self.name}, {which}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A prompt as a registry keeps it.

    Attributes:
        version: the version found; for a reference by alias, the one that it points at now.
        document: the fields of `spec.prompt.inline`; unchecked: it comes from outside.
    """

    version: str
    document: Mapping[str, object]


class RegistryError(Exception):
    """A prompt that could not be had. The message says why, in a sentence; it never holds a credential."""


class RegistryUnavailableError(RegistryError):
    """The registry gave no usable answer, or refused the operator: nothing is known; ask again later."""


class NoSuchPromptError(RegistryError):
    """The registry has no such prompt, version or alias."""


class UnusablePromptError(RegistryError):
    """What the registry has under that name cannot be delivered."""


class PromptRegistry(Protocol):
    """One configured registry."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks at an alias."""
        ...

    async def fetch(self, reference: RegistryReference) -> Fetched:
        """The prompt as it is now. Bounded in time and size.

        Raises:
            RegistryError: one of the three kinds above.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
