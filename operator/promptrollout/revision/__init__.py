"""Prompts as sealed, content-addressed revisions: normal form, hash, variables, templates. Pure."""

from promptrollout.revision.changes import Changes, changes_between
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
    used_variables,
)

__all__ = [
    "FORMATS",
    "SCHEMA",
    "SHORT",
    "Changes",
    "Problem",
    "Revision",
    "SealError",
    "SupportsModelDump",
    "TemplateError",
    "VariableDiff",
    "Variables",
    "canonical_json",
    "changes_between",
    "check_variables",
    "diff_variables",
    "preview",
    "render_template",
    "seal",
    "template_variables",
    "used_variables",
]
