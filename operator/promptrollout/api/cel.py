"""CEL rules of the custom resource: what the API server refuses by itself, each with a plain sentence.

Rules stand beside the fields they speak of, in `json_schema_extra`. What CEL cannot say cheaply is checked by
`promptrollout.api.parse`, which also repeats each rule: a spec may come from elsewhere than an API server.
"""

from dataclasses import dataclass

from pydantic import GetJsonSchemaHandler
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of `x-kubernetes-validations`.

    Attributes:
        rule: the CEL expression over `self` (and `oldSelf`: then it is a transition rule).
        message: what is wrong and what to do, for people.
        field_path: the field to point at, relative to the schema the rule stands in (`.timeout`); empty: itself.
    """

    rule: str
    message: str
    field_path: str = ""

    def wire(self) -> JsonDict:
        """As the API server reads it."""
        data: JsonDict = {"rule": self.rule, "message": self.message}
        if self.field_path:
            data["fieldPath"] = self.field_path
        return data


@dataclass(frozen=True, slots=True)
class Admitted:
    """An annotation of a value's type: the rule that goes wherever that type stands."""

    rule: Rule

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The value's schema, with the rule."""
        return {**handler(schema), **rules(self.rule)}


def rules(*these: Rule) -> JsonDict:
    """The `json_schema_extra` that carries these rules."""
    return {"x-kubernetes-validations": [rule.wire() for rule in these]}


def present(field: str) -> str:
    """The expression for: this optional field is there."""
    return f"has(self.{field})"


def filled(field: str) -> str:
    """The expression for: this optional list or map is there and not empty."""
    return f"(has(self.{field}) && size(self.{field}) > 0)"


def positive(weight: str) -> str:
    """The expression for: this weight, 5 or "0.5%", is not 0."""
    return f"(type({weight}) == int ? {weight} > 0 : {weight}.matches('[1-9]'))"


def between(low: float, high: float, example: str) -> Rule:
    """A decimal string must be within these bounds."""
    said = f"it must be from {low:g} to {high:g}; write for example '{example}'"
    return Rule(f"double(self) >= {low!r} && double(self) <= {high!r}", said)


def exactly_one(*expressions: str, message: str) -> Rule:
    """Of these expressions exactly one must hold."""
    return Rule(f"[{', '.join(expressions)}].filter(x, x).size() == 1", message)
