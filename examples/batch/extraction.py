"""What a good answer is: JSON of this schema and nothing else; and how well it agrees with a label."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from examples.batch.feed import CATEGORIES, COLOURS, MATERIALS


class Attributes(BaseModel):
    """The attributes of one product, as the shop's search needs them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    category: str = Field(pattern=f"^({'|'.join(CATEGORIES)})$")
    colour: str = Field(pattern=f"^({'|'.join(COLOURS)})$")
    material: str = Field(pattern=f"^({'|'.join(MATERIALS)})$")
    price: float = Field(gt=0)


def parse(answer: str) -> Attributes | None:
    """The attributes; None when the whole answer is not JSON of the schema (prose around it included)."""
    try:
        return Attributes.model_validate_json(answer)
    except ValidationError:
        return None


def agreement(found: Attributes | None, label: Mapping[str, object]) -> float:
    """In [0, 1]: the share of the label's attributes that are as labelled. No attributes agree with nothing."""
    if found is None or not label:
        return 0.0
    said = found.model_dump()
    right = [name for name, value in label.items() if said.get(name) == value]
    return len(right) / len(label)
