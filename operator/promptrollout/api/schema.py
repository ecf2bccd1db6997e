"""Structural OpenAPI schemas, as the Kubernetes API server accepts them, from pydantic models.

Pydantic's own schemas are not structural: they have $defs and $ref, `anyOf` with null, `const`, titles. What the API
server needs beyond JSON schema stands beside the fields, as `x-kubernetes-*` in `json_schema_extra`.

Defaults are part of the schema, so that `kubectl get -o yaml` shows what will be done, except where that would harm:

- in the items of a list: Argo CD and other three-way diffs replace lists as a whole, so an item with fields that
  its manifest does not name is out of sync for ever;
- a whole list: with server-side apply, a later manifest that names other items would not replace the default ones,
  which nobody owns;
- in what a policy may fill (DEFAULTS_BY_OPERATOR): a default would look like the author's own wish;
- empty text, lists and maps: they say nothing.

There the operator applies the model's default, and the description names it.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, cast

from pydantic import BaseModel
from pydantic.config import JsonDict
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema, to_jsonable_python

_MARK = "x-promptrollout-defaults"
#: For `json_schema_extra` of a field or model: its defaults are the operator's to apply, not the API server's.
DEFAULTS_BY_OPERATOR: JsonDict = {_MARK: "operator"}
#: Likewise, and they are nothing to tell people: what the operator writes itself.
DEFAULTS_UNSAID: JsonDict = {_MARK: "unsaid"}
_Applied = Literal["server", "operator", "unsaid"]

_ORDER = (
    "description", "type", "anyOf", "x-kubernetes-int-or-string", "format", "enum", "default",
    "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "minProperties",
    "maxProperties", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations", "required",
    "properties", "additionalProperties", "items",
)  # fmt: skip
_CHILDREN = ("items", "additionalProperties")


class NotStructural(TypeError):  # noqa: N818 - named for what it says
    """A model that has no structural schema; the message names the field."""


class _Structural(GenerateJsonSchema):
    """Pydantic's generator, less what structural schemas forbid."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        """Keep the order of the models (the parameter is pydantic's)."""
        return value

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """An optional field is left out, never null."""
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """An enum, also for a single value."""
        return {"type": "string", "enum": [str(value) for value in schema["expected"]]}

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """The values only; the class' docstring is for readers of the code."""
        return {"type": "string", "enum": [member.value for member in schema["members"]]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A map of string keys. Keys cannot be constrained here; parse_spec does."""
        result: JsonSchemaValue = {"type": "object"}
        if "values_schema" in schema:
            result["additionalProperties"] = self.generate_inner(schema["values_schema"])
        self.update_with_validations(result, schema, self.ValidationsMapping.object)
        return result

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Like pydantic's, with default factories, and without defaults that say nothing."""
        result = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if "default_factory" in schema:
            default = schema["default_factory"]()  # type: ignore[call-arg]  # ours take no argument
        written = _written(default)
        if written is not None:
            result = {**result, "default": written}
        return result


def _written(default: object) -> object:
    """A default as an author would write it; None for one that says nothing."""
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    if isinstance(default, list):
        return [_written(item) for item in default] or None
    if default is None or default in ("", {}):
        return None
    return cast("object", to_jsonable_python(default))


def structural_schema(model: type[BaseModel]) -> dict[str, object]:
    """The structural schema of a model, as JSON-able data in a stable order. NotStructural if it has none."""
    raw = model.model_json_schema(schema_generator=_Structural)
    definitions = cast("Mapping[str, object]", raw.pop("$defs", {}))
    schema = _Tidy(definitions).tidy(raw, model.__name__, "server")
    schema.pop("default", None)
    return schema


class _Tidy:
    """Puts definitions in place of references and decides which defaults the API server applies."""

    def __init__(self, definitions: Mapping[str, object]) -> None:
        self._definitions = definitions

    def tidy(self, raw: Mapping[str, object], path: str, applied: _Applied) -> dict[str, object]:
        """One schema and all below it. `applied`: who applies defaults here."""
        schema = self._resolved(raw)
        mark = schema.pop(_MARK, None)
        if applied == "server" and mark is not None:
            applied = cast("_Applied", mark)
        schema.pop("title", None)
        if schema.get("x-kubernetes-preserve-unknown-fields") or "properties" in schema:
            schema.pop("additionalProperties", None)
        self._below(schema, path, applied)
        _decide_default(schema, applied)
        if schema.get("type") == "array":
            schema.setdefault("x-kubernetes-list-type", "atomic")
        return _ordered(schema, path)

    def _resolved(self, raw: Mapping[str, object]) -> dict[str, object]:
        reference = raw.get("$ref")
        if not isinstance(reference, str):
            return dict(raw)
        target = cast("Mapping[str, object]", self._definitions[reference.rpartition("/")[2]])
        return {**self._resolved(target), **{key: value for key, value in raw.items() if key != "$ref"}}

    def _below(self, schema: dict[str, object], path: str, applied: _Applied) -> None:
        properties = cast("Mapping[str, Mapping[str, object]]", schema.get("properties", {}))
        if properties:
            schema["properties"] = {
                name: self.tidy(field, f"{path}.{name}", applied) for name, field in properties.items()
            }
        for key in _CHILDREN:
            child = schema.get(key)
            if isinstance(child, Mapping):
                inside: _Applied = "operator" if key == "items" and applied == "server" else applied
                schema[key] = self.tidy(child, f"{path}[]", inside)


def _decide_default(schema: dict[str, object], applied: _Applied) -> None:
    """Leave the default to the API server, or say it in the description, or neither."""
    default = schema.pop("default", None)
    if default == {}:
        if applied == "server" and any(_has_default(field) for field in _properties(schema)):
            schema["default"] = default
    elif default is not None and applied != "unsaid":
        described = str(schema.get("description", ""))
        if "Default:" not in described:
            schema["description"] = f"{described} Default: {default}.".strip()
        if applied == "server" and schema.get("type") != "array":
            schema["default"] = default


def _has_default(schema: object) -> bool:
    return isinstance(schema, Mapping) and "default" in schema


def _properties(schema: Mapping[str, object]) -> Iterator[object]:
    properties = schema.get("properties")
    yield from properties.values() if isinstance(properties, Mapping) else ()


def _ordered(schema: Mapping[str, object], path: str) -> dict[str, object]:
    strange = [key for key in schema if key not in _ORDER]
    if "anyOf" in schema and "x-kubernetes-int-or-string" not in schema:
        strange.append("anyOf")
    if "type" not in schema and "x-kubernetes-int-or-string" not in schema:
        raise NotStructural(f"{path}: a field of the API needs one type, or x-kubernetes-int-or-string")
    if strange:
        raise NotStructural(f"{path}: structural schemas have no {', '.join(sorted(strange))}")
    return {key: schema[key] for key in _ORDER if key in schema}


def descriptive(schema: Mapping[str, object]) -> dict[str, object]:
    """A schema for what the operator writes itself: it describes, and never stands in the way.

    A newer operator may meet an older CRD (Helm does not upgrade CRDs) and the other way round. So unknown fields are
    kept, no field is required (but the keys of list maps), and values of enumerations are named in the
    description only. Bounds on sizes stay; the models cut to them.
    """
    return _describe(schema, keys=())


def _describe(schema: Mapping[str, object], keys: tuple[str, ...]) -> dict[str, object]:
    result = dict(schema)
    values = result.pop("enum", None)
    if isinstance(values, list):
        names = ", ".join(str(value) for value in values)
        described = str(result.get("description", ""))
        if names not in described:
            result["description"] = f"{described} One of {names}.".strip()
        result["maxLength"] = 253
    for key in ("default", "minimum", "maximum", "pattern", "minLength", "required"):
        result.pop(key, None)
    if keys:
        result["required"] = list(keys)
    properties = result.get("properties")
    if isinstance(properties, Mapping):
        result["x-kubernetes-preserve-unknown-fields"] = True
        result["properties"] = {name: _describe(field, ()) for name, field in properties.items()}
    for key in _CHILDREN:
        child = result.get(key)
        if isinstance(child, Mapping):
            names_of_map = cast("list[str]", result.get("x-kubernetes-list-map-keys", []))
            result[key] = _describe(child, tuple(names_of_map))
    return {key: result[key] for key in _ORDER if key in result}
