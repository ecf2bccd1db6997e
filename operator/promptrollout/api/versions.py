"""The versions of the API, in one place, and how the next one comes.

All versions have one schema: a version is a promise, not a shape. So the API server converts by writing another name
(strategy None), needs no webhook that could be down, and nothing is lost between versions. What that asks of a change:

- a field may be added to any version if it is optional; it then is in all of them at once;
- no field is removed, renamed, made required, given another type or other bounds that refuse what is stored;
- what means something else gets a new name, and the old name goes on with its old meaning.

v1beta1 comes in three releases, each of which can be taken back:

1. `Version("v1beta1")` is added: served, not stored. The operator still speaks v1alpha1.
2. `base.VERSION`, which the operator speaks, and `storage` become v1beta1; v1alpha1 gets `deprecated`.
3. v1alpha1 gets `served=False` once no object is stored in it (docs/upgrades.md), and goes later.
"""

from dataclasses import dataclass

from promptrollout.api.base import VERSION


@dataclass(frozen=True, slots=True)
class Version:
    """One version.

    Attributes:
        name: as in apiVersion, after the slash.
        served: whether clients may ask for it.
        storage: whether objects are stored in it; of all versions exactly one is.
        deprecated: what kubectl warns of when it is used; empty if it is not deprecated.
    """

    name: str
    served: bool = True
    storage: bool = False
    deprecated: str = ""

    def to_wire(self) -> dict[str, object]:
        """Its facts in a CustomResourceDefinition, without the schema."""
        warning = {"deprecated": True, "deprecationWarning": self.deprecated} if self.deprecated else {}
        return {"name": self.name, "served": self.served, "storage": self.storage, **warning}


#: Oldest first.
VERSIONS = (Version(VERSION, storage=True),)


def checked(versions: tuple[Version, ...]) -> tuple[Version, ...]:
    """The same versions; ValueError if an API server would refuse them, or the operator could not speak any more."""
    stored = [version.name for version in versions if version.storage]
    names = [version.name for version in versions]
    if len(stored) != 1:
        raise ValueError(f"exactly one version is stored, not {', '.join(stored) or 'none'}")
    if len(set(names)) != len(names):
        raise ValueError(f"each version has a name of its own: {', '.join(names)}")
    if VERSION not in (version.name for version in versions if version.served):
        raise ValueError(f"{VERSION}, which the operator speaks, is not served")
    return versions
