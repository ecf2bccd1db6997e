"""From a notification to a title and a text: jinja2 in a sandbox, tried at start, and never a reason to be silent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from promptrollout.api.reasons import REASONS
from promptrollout.notify.protocol import Letter, Notification, cut

TITLE: Final = "{{ namespace }}/{{ rollout }}: {{ reason }}"
TEXT: Final = """\
{{ message }}
{{ phase }}{% if candidate %}, candidate {{ candidate }}{% if weight %} at {{ weight }}{% endif %}{% endif %}\
{% if stable %}, stable {{ stable }}{% endif %}{% if verdict %}; {{ verdict }}{% endif %}
"""
#: Characters: no chat takes much more, and no person reads it.
LONGEST_TITLE, LONGEST_TEXT = 200, 3000
#: What a template may use, and what it is.
CONTEXT: Mapping[str, str] = {
    "namespace": "the rollout's namespace",
    "rollout": "its name",
    "reason": "as in the table of Events: RolledBack, say",
    "type": "Normal or Warning",
    "message": "the Event's text",
    "phase": "Progressing, Healthy, ...",
    "step": "3/5, empty without a candidate",
    "weight": "the candidate's share: 25%, empty without one",
    "stable": "the stable revision",
    "candidate": "the revision on trial, or the one whose trial has just ended",
    "verdict": "what the comparison says so far, in words",
    "at": "when it happened: 2026-11-24T10:00:00.000Z",
    "id": "the same for every repetition of one notification",
}
# Chats take text, not HTML: escaping belongs to the notifier.
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@dataclass(frozen=True, slots=True)
class Templates:
    """A channel's templates.

    Attributes:
        title, text: the templates; None: the default is used, since what was given is broken.
        problem: what is wrong with what was given; every letter says so too.
    """

    title: Template | None
    text: Template | None
    problem: str = ""

    def letter(self, told: Notification) -> Letter:
        """As the templates say it; where they fail, as the default does, and why."""
        texts, problem = told.as_texts(), self.problem
        try:
            title = (self.title or _TITLE).render(texts)
            text = (self.text or _TEXT).render(texts)
        except Exception as error:  # a template may do anything that an expression can
            title, text = _TITLE.render(texts), _TEXT.render(texts)
            problem = problem or f"template: {_said(error)}"
        if problem:
            text = f"{text}\n(the channel's own template is not used: {problem})"
        one_line = " ".join(title.split())
        return Letter(told.id, told.at, cut(one_line, LONGEST_TITLE), cut(text.strip(), LONGEST_TEXT), told)


def compiled(title: str | None, text: str | None) -> Templates:
    """Templates, tried on every reason; `problem` says what fails, and the default takes its place."""
    problems: list[str] = []
    made = {
        name: _try(name, given, problems) if given else None
        for name, given in (("title", title), ("template", text))
    }
    return Templates(made["title"], made["template"], "; ".join(problems))


def _try(name: str, given: str, problems: list[str]) -> Template | None:
    try:
        template = _ENVIRONMENT.from_string(given)
        for sample in _samples():
            template.render(sample.as_texts())
    except Exception as error:
        problems.append(f"{name}: {_said(error)}")
        return None
    return template


def _said(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    what = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return cut(f"line {line}: {what}" if line else what, 300)


def _samples() -> list[Notification]:
    """Every reason, with all there can be and with nothing."""
    full = Notification(
        id="sample",
        at=datetime(2026, 11, 24, 10, tzinfo=UTC),
        namespace="shop",
        rollout="support-answer",
        type="Warning",
        reason="RolledBack",
        message="revision 5e0c1f22aa is rolled back",
        phase="RollingBack",
        step="3/5",
        weight="25%",
        stable="0c86d2c1d1",
        candidate="5e0c1f22aa",
        verdict="worse than stable",
    )
    bare = replace(full, phase="", step="", weight="", stable="", candidate="", verdict="", message="")
    return [
        replace(sample, reason=name, type=kind)
        for name, reason in REASONS.items()
        for kind in reason.types
        for sample in (full, bare)
    ]


_TITLE, _TEXT = _ENVIRONMENT.from_string(TITLE), _ENVIRONMENT.from_string(TEXT)
