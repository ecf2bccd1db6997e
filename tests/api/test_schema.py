from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from promptrollout.api.schema import (
    DEFAULTS_BY_OPERATOR,
    DEFAULTS_UNSAID,
    NotStructural,
    descriptive,
    structural_schema,
)


class Inner(BaseModel):
    """Something inside."""

    size: int = Field(default=3, ge=1, description="How large.")


class Outer(BaseModel):
    """Something."""

    inner: Inner = Field(default_factory=Inner, description="The inner one.")
    maybe: Inner | None = Field(default=None, description="Another.")
    many: list[Inner] = Field(default_factory=list, max_length=4, description="More.")
    kind: Literal["A"] = Field(description="What it is.")
    named: dict[Annotated[str, Field(pattern="^a")], str] = Field(
        default_factory=dict, description="By name."
    )
    free: dict[str, object] = Field(
        default_factory=dict,
        description="Free.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


def property_of(model: type[BaseModel], name: str) -> dict[str, object]:
    properties = structural_schema(model)["properties"]
    assert isinstance(properties, dict)
    found = properties[name]
    assert isinstance(found, dict)
    return found


SIZE = {"description": "How large. Default: 3.", "type": "integer", "default": 3, "minimum": 1}


def test_references_are_replaced_and_the_fields_own_description_wins():
    assert property_of(Outer, "inner") == {
        "description": "The inner one.",
        "type": "object",
        "default": {},
        "properties": {"size": SIZE},
    }


def test_an_optional_object_is_not_nullable_and_its_defaults_apply_once_it_is_there():
    assert property_of(Outer, "maybe") == {
        "description": "Another.",
        "type": "object",
        "properties": {"size": SIZE},
    }


def test_items_of_lists_have_their_defaults_in_words_only():
    items = property_of(Outer, "many")["items"]

    assert items == {
        "description": "Something inside.",
        "type": "object",
        "properties": {"size": {key: value for key, value in SIZE.items() if key != "default"}},
    }


def test_a_list_is_atomic_unless_it_says_otherwise():
    assert property_of(Outer, "many")["x-kubernetes-list-type"] == "atomic"


def test_a_single_value_is_an_enum():
    assert property_of(Outer, "kind") == {"description": "What it is.", "type": "string", "enum": ["A"]}


def test_keys_of_maps_are_not_constrained():
    assert property_of(Outer, "named") == {
        "description": "By name.",
        "type": "object",
        "additionalProperties": {"type": "string"},
    }


def test_a_free_object_preserves_what_is_in_it():
    assert property_of(Outer, "free") == {
        "description": "Free.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_defaults_in_what_a_policy_fills_are_the_operators():
    class Filled(BaseModel):
        """Filled by a policy."""

        model_config = ConfigDict(json_schema_extra=DEFAULTS_BY_OPERATOR)
        size: int = Field(default=3, description="How large.")

    class Whole(BaseModel):
        """Has such a part."""

        part: Filled = Field(default_factory=Filled, description="The part.")

    assert property_of(Whole, "part") == {
        "description": "The part.",
        "type": "object",
        "properties": {"size": {"description": "How large. Default: 3.", "type": "integer"}},
    }


def test_defaults_of_what_the_operator_writes_are_nothing_to_tell():
    class Written(BaseModel):
        """Written by the operator."""

        model_config = ConfigDict(json_schema_extra=DEFAULTS_UNSAID)
        size: int = Field(default=3, description="How large.")

    properties = structural_schema(Written)["properties"]

    assert properties == {"size": {"description": "How large.", "type": "integer"}}


def test_a_union_of_types_has_no_structural_schema_and_the_field_is_named():
    class Torn(BaseModel):
        """Cannot decide."""

        field: int | str = Field(description="Either.")

    with pytest.raises(NotStructural, match=r"Torn\.field"):
        structural_schema(Torn)


def test_an_exclusive_bound_has_no_structural_schema():
    class Open(BaseModel):
        """Open at one end."""

        field: int = Field(gt=0, description="Above 0.")

    with pytest.raises(NotStructural, match="exclusiveMinimum"):
        structural_schema(Open)


def test_a_descriptive_schema_refuses_nothing_but_size():
    schema = descriptive(structural_schema(Outer))

    assert "required" not in schema
    assert schema["x-kubernetes-preserve-unknown-fields"] is True
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["kind"] == {"description": "What it is. One of A.", "type": "string", "maxLength": 253}
    assert properties["inner"]["properties"]["size"] == {
        "description": "How large. Default: 3.",
        "type": "integer",
    }
    assert properties["many"]["maxItems"] == 4
