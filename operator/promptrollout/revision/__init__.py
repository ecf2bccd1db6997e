"""Prompts as sealed, content-addressed revisions: normal form, hash, variables, templates. Pure."""

from promptrollout.revision.sealing import (
    SCHEMA,
    SHORT,
    Revision,
    SealError,
    SupportsModelDump,
    canonical_json,
    seal,
)
from promptrollout.revision.templates import (
    FORMATS,
    TemplateError,
    Variables,
    render_template,
    template_variables,
)
from promptrollout.revision.variables import (
    Problem,
    VariableDiff,
    check_variables,
    diff_variables,
    preview,
)

__all__ = [
    "FORMATS",
    "SCHEMA",
    "SHORT",
    "Problem",
    "Revision",
    "SealError",
    "SupportsModelDump",
    "TemplateError",
    "VariableDiff",
    "Variables",
    "canonical_json",
    "check_variables",
    "diff_variables",
    "preview",
    "render_template",
    "seal",
    "template_variables",
]
