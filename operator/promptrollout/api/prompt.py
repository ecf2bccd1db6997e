"""`spec.prompt`: the wanted prompt, as its author writes it."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from promptrollout.api.base import LABEL_PATTERN, ApiModel, DnsLabel, DnsName
from promptrollout.api.cel import Rule, exactly_one, filled, present, rules

Text = Annotated[str, StringConstraints(max_length=400_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
#: Free JSON, kept as it is: tool definitions and schemas belong to the model's provider, not to us.
FreeObject = Annotated[
    dict[str, object], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]


class TemplateFormat(StrEnum):
    """How variables are written in the text."""

    MUSTACHE = "mustache"
    JINJA2 = "jinja2"
    FSTRING = "fstring"
    NONE = "none"


class Message(ApiModel):
    """One message of a chat prompt."""

    role: Annotated[str, StringConstraints(min_length=1, max_length=32)] = Field(
        description="Who speaks: system, developer, user, assistant or tool."
    )
    content: Text = Field(description="The text, with variables in the template format.")


class Model(ApiModel):
    """The model that the prompt was written for; it changes with the prompt, in one revision."""

    name: Name = Field(description="The model's name, as the provider spells it.")
    parameters: dict[Name, Annotated[str, StringConstraints(max_length=256)]] = Field(
        default_factory=dict,
        max_length=64,
        description='Sampling parameters by name. Values are strings ("0.2"), so that no float is rounded.',
    )


class Part(ApiModel):
    """One prompt of an application that has several which must move together."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(filled("messages"), present("text"), message="a part has either messages or text"),
        )
    )

    messages: list[Message] = Field(
        default_factory=list, max_length=64, description="The messages of a chat prompt, in order."
    )
    text: Text | None = Field(default=None, description="A plain text prompt, instead of messages.")
    tools: list[FreeObject] = Field(
        default_factory=list,
        max_length=128,
        description="Tool definitions, in the provider's format; kept as they are.",
    )
    response_format: FreeObject | None = Field(
        default=None,
        description="The wanted form of the answer (a JSON schema, say), in the provider's format.",
    )


class InlinePrompt(Part):
    """A prompt written into the resource. All of it is content: a change of any of it is a new revision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                filled("messages"),
                present("text"),
                filled("parts"),
                message="write the prompt as exactly one of messages, text and parts",
            ),
            Rule(
                f"!{filled('parts')} || !({filled('tools')} || has(self.responseFormat))",
                "tools and responseFormat of a prompt with parts stand in the part that uses them",
                ".parts",
            ),
            Rule(
                f"!has(self.parts) || self.parts.all(name, name.size() <= 63 && name.matches('{LABEL_PATTERN}'))",
                "the name of a part has lower-case letters, digits and '-', 63 at most",
                ".parts",
            ),
        )
    )

    parts: dict[DnsLabel, Part] = Field(
        default_factory=dict,
        max_length=16,
        description=(
            "Several prompts that move together (a planner and an answerer), by name. "
            "A single prompt is written without this field, as messages or text."
        ),
    )
    model: Model | None = Field(default=None, description="The model and its parameters.")
    template_format: TemplateFormat = Field(
        default=TemplateFormat.MUSTACHE,
        description="How variables are written: mustache {{x}}, jinja2 {{ x }}, fstring {x}, or none.",
    )
    variables: list[Name] = Field(
        default_factory=list,
        max_length=128,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="The names of the variables. They must equal what the text uses: a difference is Invalid.",
    )
    extra: dict[Name, Text] = Field(
        default_factory=dict,
        max_length=64,
        description="Anything else that changes an answer (an index name, a retrieval depth); handed to the pods.",
    )


class ContentFormat(StrEnum):
    """What the text in a ConfigMap is."""

    TEXT = "Text"
    YAML = "YAML"
    JSON = "JSON"


class ConfigMapRef(ApiModel):
    """A prompt in a ConfigMap of the same namespace, which its author owns. Any change of it is a new revision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.templateFormat) || !has(self.format) || self.format == 'Text'",
                "templateFormat is for format Text; a YAML or JSON document has its own",
                ".templateFormat",
            )
        )
    )

    name: DnsName = Field(description="The ConfigMap's name.")
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)] = Field(
        description="The key under data that holds the prompt."
    )
    format: ContentFormat | None = Field(
        default=None,
        description=(
            "Text: the value is the prompt itself. YAML, JSON: a document with the fields of inline (messages, model, "
            "and so on). Without it the key's ending decides: .yaml, .yml, .json, else Text."
        ),
    )
    template_format: TemplateFormat | None = Field(
        default=None, description="How variables are written in a Text; mustache without it."
    )


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


#: A version as people write it: 4 or "4".
Version = Annotated[
    str,
    BeforeValidator(_as_text),
    StringConstraints(min_length=1, max_length=64),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "minLength": 1,
            "maxLength": 64,
        }
    ),
]


class RegistryRef(ApiModel):
    """A prompt in a prompt registry that the operator's configuration names."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(present("version"), present("alias"), message="name either a version or an alias")
        )
    )

    registry: DnsLabel = Field(
        description="The registry, as the operator's configuration names it; never a URL."
    )
    name: Name = Field(description="The prompt's name there.")
    version: Version | None = Field(
        default=None, description="A version: resolved once, and sealed; the registry is not asked again."
    )
    alias: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = Field(
        default=None,
        description="An alias, such as production: looked up again and again; when it moves, that is a new revision.",
    )
    template_format: TemplateFormat | None = Field(
        default=None, description="How variables are written, if the registry's own word is not to be taken."
    )


class Prompt(ApiModel):
    """The wanted prompt."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            exactly_one(
                present("inline"),
                present("configMapRef"),
                present("registryRef"),
                message="name the prompt's source: exactly one of inline, configMapRef and registryRef",
            )
        )
    )

    inline: InlinePrompt | None = Field(default=None, description="The prompt, written here.")
    config_map_ref: ConfigMapRef | None = Field(
        default=None, description="The prompt in a ConfigMap of this namespace; its change is a new revision."
    )
    registry_ref: RegistryRef | None = Field(
        default=None, description="The prompt in a registry, by version or by alias."
    )
