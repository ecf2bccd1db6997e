"""What makes a readable spec wrong: the CEL rules again, and what CEL cannot say. Pure.

Not checked here, since it needs other rooms: that a preset exists, that selectors parse, that a metric source is
configured (sources), and that the declared variables are those of the text (revision).
"""

import re
from collections.abc import Iterator
from datetime import timedelta

from promptrollout.api.base import Duration
from promptrollout.api.canary import Canary, CanaryStep
from promptrollout.api.checks_strategy import (
    ab_test_problems,
    ab_test_timing,
    schedule_problems,
    shadow_problems,
    shadow_timing,
)
from promptrollout.api.gate_checks import gate_problems, timeout_problems
from promptrollout.api.metrics import EVENT_PRESET, SCORE_PRESET, SCORE_PRESETS, Metric, MetricRole
from promptrollout.api.problem import Problem
from promptrollout.api.prompt import ContentFormat, InlinePrompt, Part, Prompt
from promptrollout.api.quantities import (
    format_duration,
    format_weight,
    parse_decimal,
    parse_duration,
    parse_weight,
)
from promptrollout.api.spec import (
    LABEL_KEY,
    LABEL_VALUE,
    Analysis,
    Delivery,
    PodSelector,
    RolloutSpec,
    SelectorOperator,
)

_LABEL_VALUE, _LABEL_KEY = re.compile(LABEL_VALUE), re.compile(LABEL_KEY)

_SHORTEST_INTERVAL = timedelta(seconds=1)
_ANALYSIS = "spec.analysis"
_TEST = "spec.strategy.abTest"

Problems = Iterator[Problem]


def problems_of(spec: RolloutSpec) -> tuple[Problem, ...]:
    """Everything that is wrong with this spec, in the order of its fields."""
    lengths = tuple(_lengths(spec))
    found = (
        *_prompts(spec),
        *_delivery(spec.delivery),
        *_strategy(spec),
        *_analysis(spec.analysis),
        *gate_problems(spec),
        *lengths,
    )
    # What follows adds and compares lengths, so they must all be readable.
    return found + (() if lengths else tuple(_timing(spec)))


def is_deliverable(spec: RolloutSpec, problems: tuple[Problem, ...]) -> bool:
    """Whether what was decided before can be delivered, and taken back, by a spec with these problems."""
    where = [problem.path for problem in problems]
    return not (
        any(
            path.startswith(("spec.delivery", "spec.assignment")) or path == "spec.strategy" for path in where
        )
        or any(_lengths(spec))
    )


def _prompts(spec: RolloutSpec) -> Problems:
    yield from _prompt(spec.prompt, "spec.prompt")
    for index, arm in enumerate(spec.strategy.ab_test.arms if spec.strategy.ab_test else ()):
        path = f"{_TEST}.arms[{index}].prompt"
        if arm.prompt is not None:
            yield from _prompt(arm.prompt, path)


def _prompt(prompt: Prompt, path: str) -> Problems:
    sources = {
        "inline": prompt.inline,
        "configMapRef": prompt.config_map_ref,
        "registryRef": prompt.registry_ref,
    }
    given = [name for name, source in sources.items() if source is not None]
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else "has no source"
        yield Problem(path, said, f"name exactly one of {', '.join(sources)}")
    if prompt.inline is not None:
        yield from inline_problems(prompt.inline, f"{path}.inline")
    registry = prompt.registry_ref
    if registry is not None and (registry.version is None) == (registry.alias is None):
        yield Problem(f"{path}.registryRef", "must name a version or an alias", "write exactly one of them")
    map_ref = prompt.config_map_ref
    if map_ref is not None and map_ref.template_format and map_ref.format not in {None, ContentFormat.TEXT}:
        cure = f"leave it out; the {map_ref.format} document has its own"
        yield Problem(f"{path}.configMapRef.templateFormat", "is for format Text", cure)


def inline_problems(inline: InlinePrompt, path: str) -> Problems:
    """What is wrong with a prompt, wherever it was written; `path` is where."""
    forms = [name for name in ("messages", "text", "parts") if _is_given(inline, name)]
    if len(forms) != 1:
        yield Problem(
            path, f"has {_listed(forms)}", "write the prompt as exactly one of messages, text and parts"
        )
    if inline.parts and (inline.tools or inline.response_format is not None):
        cure = "move them into the part that uses them"
        yield Problem(f"{path}.parts", "stand beside tools or responseFormat of the whole prompt", cure)
    if len(set(inline.variables)) < len(inline.variables):
        yield Problem(f"{path}.variables", "names a variable twice", "name each once")
    for name, part in inline.parts.items():
        forms = [form for form in ("messages", "text") if _is_given(part, form)]
        if len(forms) != 1:
            yield Problem(f"{path}.parts.{name}", f"has {_listed(forms)}", "write either messages or text")


def _is_given(part: Part | InlinePrompt, field: str) -> bool:
    value: object = getattr(part, field)
    return value is not None if field == "text" else bool(value)


def _listed(names: list[str]) -> str:
    return " and ".join(names) or "no text"


def _delivery(delivery: Delivery) -> Problems:
    path = "spec.delivery"
    if delivery.pod_selector is not None:
        yield from _pod_selector(delivery.pod_selector, f"{path}.podSelector")
    if parse_weight(delivery.acknowledge.quorum) == 0:
        cure = "write for example 90%, or mode: None if pods cannot say what they have loaded"
        yield Problem(f"{path}.acknowledge.quorum", "0% would not wait for any pod", cure)


def _pod_selector(selector: PodSelector, path: str) -> Problems:
    if not selector.match_labels and not selector.match_expressions:
        yield Problem(
            path, "is empty and would wait for every pod of the namespace", "name a label, or leave it out"
        )
    for key, value in selector.match_labels.items():
        yield from _label_key(key, f"{path}.matchLabels")
        yield from _label_value(value, f"{path}.matchLabels")
    for index, requirement in enumerate(selector.match_expressions):
        at = f"{path}.matchExpressions[{index}]"
        yield from _label_key(requirement.key, f"{at}.key")
        takes_values = requirement.operator in {SelectorOperator.IN, SelectorOperator.NOT_IN}
        if takes_values != bool(requirement.values):
            said = "needs values" if takes_values else "takes no values"
            yield Problem(f"{at}.values", f"{requirement.operator} {said}", "add or remove them")
        for place, value in enumerate(requirement.values):
            yield from _label_value(value, f"{at}.values[{place}]")


def _label_key(key: str, path: str) -> Problems:
    if not _LABEL_KEY.fullmatch(key):
        yield Problem(
            path, f"{key[:80]!r} is not the key of a label", "write one like app or example.com/app"
        )


def _label_value(value: str, path: str) -> Problems:
    if not _LABEL_VALUE.fullmatch(value):
        cure = "use letters, digits, '-', '_' and '.', 63 at most"
        yield Problem(path, f"{value!r} is not the value of a label", cure)


def _strategy(spec: RolloutSpec) -> Problems:
    fields = {"canary": "canary", "ab_test": "abTest", "shadow": "shadow", "immediate": "immediate"}
    given = [name for field, name in fields.items() if getattr(spec.strategy, field) is not None]
    if len(given) != 1:
        said = " and ".join(given) + " exclude each other" if given else "names no strategy"
        yield Problem("spec.strategy", said, "name exactly one of canary, abTest, shadow and immediate")
    if spec.strategy.ab_test:
        yield from ab_test_problems(spec.strategy.ab_test, spec.analysis, _TEST)
    if spec.strategy.shadow:
        yield from shadow_problems(spec.strategy.shadow, spec.analysis)
    if stepped := spec.strategy.stepped:
        yield from _canary(*stepped, spec.analysis)


def _canary(canary: Canary, at: str, analysis: Analysis) -> Problems:
    if canary.schedule:
        yield from schedule_problems(canary.schedule, f"{at}.schedule")
    if all(step.gate is not None for step in canary.steps):
        said = "are all gates, so the candidate gets no requests"
        yield Problem(f"{at}.steps", said, "add a step with a weight")
    highest = 0
    for index, step in enumerate(canary.steps):
        path = f"{at}.steps[{index}]"
        if step.gate is not None or step.weight is None:
            yield from _gate_step(step, path)
            continue
        weight = parse_weight(step.weight)
        if weight < highest:
            message = f"{format_weight(weight)} is less than the {format_weight(highest)} of an earlier step"
            yield Problem(f"{path}.weight", message, "put the steps in ascending order of their weights")
        highest = max(highest, weight)
        yield from _step(step, weight, path)
        if step.until and not any(metric.role is MetricRole.REQUIRED for metric in analysis.metrics):
            cure = f"give a metric in {_ANALYSIS}.metrics the role Required, or use duration"
            yield Problem(f"{path}.until", "no metric is Required, so there is nothing to show", cure)
        if step.min_samples and not analysis.metrics:
            cure = f"name a metric in {_ANALYSIS}.metrics, or use duration"
            yield Problem(f"{path}.minSamples", "no metric is compared, so no answer is counted", cure)


def _gate_step(step: CanaryStep, path: str) -> Problems:
    if (step.gate is None) == (step.weight is None):
        said = "stands beside a gate" if step.gate else "is missing"
        yield Problem(f"{path}.weight", said, "write either a weight or a gate")
    elif step.duration or step.min_samples or step.until or step.timeout:
        cure = "put duration, minSamples, until and timeout into a step with a weight; gate.timeout bounds a gate"
        yield Problem(path, "a gate keeps the weight of the step before it", cure)


def _step(step: CanaryStep, weight: int, path: str) -> Problems:
    if not (step.duration or step.min_samples or step.until):
        yield Problem(path, "nothing ends this step", "give it a duration, minSamples or until: Evidence")
    if step.until and not step.timeout:
        yield Problem(
            f"{path}.timeout",
            "is missing: until: Evidence may wait long",
            "write the longest stay, such as 6h",
        )
    if step.timeout and not (step.until or step.min_samples):
        cure = "use duration, or say what it waits for with until or minSamples"
        yield Problem(f"{path}.timeout", "bounds until or minSamples, and this step has neither", cure)
    if weight == 0 and (step.until or step.min_samples):
        yield Problem(
            f"{path}.weight", "at 0% the candidate gets no requests to wait for", "write a weight above 0"
        )
    if weight == parse_weight(100) and step.until:
        cure = "write a weight below 100; after the last step the candidate gets 100% by itself"
        yield Problem(f"{path}.weight", "at 100% nothing is left to compare the candidate with", cure)


def _analysis(analysis: Analysis) -> Problems:
    names: set[str] = set()
    for index, metric in enumerate(analysis.metrics):
        path = f"{_ANALYSIS}.metrics[{index}]"
        if metric.name in names:
            yield Problem(
                f"{path}.name", f"{metric.name!r} is the name of an earlier metric", "give it another name"
            )
        names.add(metric.name)
        yield from _metric(metric, path)
    yield from _range(analysis.confidence, f"{_ANALYSIS}.confidence", (0.5, 0.9999), "0.95")
    if analysis.correlation is not None:
        path = f"{_ANALYSIS}.correlation"
        requests = analysis.correlation.mean_requests_per_unit
        yield from _range(requests, f"{path}.meanRequestsPerUnit", (1.0, 1e6), "8")
        yield from _range(analysis.correlation.icc, f"{path}.icc", (0.0, 1.0), "0.2")


def _named(metric: Metric, path: str) -> Problems:
    """What a preset compares by name is named, and nothing else."""
    cure = "write the name under which the application reports it"
    for field, name, presets in (
        ("score", metric.score, SCORE_PRESETS),
        ("event", metric.event, (EVENT_PRESET,)),
    ):
        if metric.preset in presets and name is None:
            yield Problem(
                f"{path}.{field}", f"is missing: {metric.preset} compares one {field} by its name", cure
            )
        if name is not None and metric.preset not in presets:
            only = f"goes with preset {', '.join(presets)} only"
            yield Problem(f"{path}.{field}", only, "remove it, or use that preset")


def _metric(metric: Metric, path: str) -> Problems:
    if (metric.preset is None) == (metric.events is None):
        said = "has no preset and no events" if metric.preset is None else "has both preset and events"
        yield Problem(path, said, "write one of them")
    yield from _named(metric, path)
    scored = metric.preset == SCORE_PRESET
    if scored and (metric.ratio or metric.promote_ratio):
        field = "ratio" if metric.ratio else "promoteRatio"
        yield Problem(f"{path}.{field}", "does not apply to scores", "use margin and promoteMargin")
    if metric.events:
        for name, selector in (("bad", metric.events.bad), ("total", metric.events.total)):
            if "{{revision}}" not in selector:
                message = "does not contain {{revision}}, so both revisions would be counted together"
                cure = 'add the label that tells them apart, such as rev="{{revision}}"'
                yield Problem(f"{path}.events.{name}", message, cure)
    for field, ratio in (("ratio", metric.ratio), ("promoteRatio", metric.promote_ratio)):
        if ratio is not None:
            yield from _range(ratio, f"{path}.{field}", (1.0, 100.0), "1.2")


def _range(text: str, path: str, bounds: tuple[float, float], example: str) -> Problems:
    low, high = bounds
    if not low <= parse_decimal(text) <= high:
        yield Problem(path, f"{text} is not between {low:g} and {high:g}", f"write for example '{example}'")


def _lengths(spec: RolloutSpec) -> Problems:
    """Each length of time by itself: readable, within bounds, and zero only where that means something."""
    acknowledge, analysis = spec.delivery.acknowledge, spec.analysis
    yield from _length("spec.delivery.acknowledge.timeout", acknowledge.timeout)
    yield from _length(
        "spec.delivery.acknowledge.assumeLoadedAfter", acknowledge.assume_loaded_after, zero=True
    )
    yield from _length("spec.assignment.drainTimeout", spec.assignment.drain_timeout)
    canary, at = spec.strategy.stepped or (None, "")
    for index, step in enumerate(canary.steps if canary else ()):
        yield from _length(f"{at}.steps[{index}].duration", step.duration)
        yield from _length(f"{at}.steps[{index}].timeout", step.timeout)
    if spec.strategy.shadow:
        yield from _length("spec.strategy.shadow.duration", spec.strategy.shadow.duration)
    if spec.strategy.ab_test:
        yield from _length(f"{_TEST}.horizon", spec.strategy.ab_test.horizon)
    yield from _length(f"{_ANALYSIS}.interval", analysis.interval, least=_SHORTEST_INTERVAL)
    yield from _length(f"{_ANALYSIS}.warmUp", analysis.warm_up, zero=True)
    yield from _length(f"{_ANALYSIS}.metricsTimeout", analysis.metrics_timeout)
    yield from _length("spec.progressDeadline", spec.progress_deadline)
    yield from timeout_problems(spec)


def _length(
    path: str, text: Duration | None, *, least: timedelta = timedelta(milliseconds=1), zero: bool = False
) -> Problems:
    if text is None:
        return
    try:
        span = parse_duration(text)
    except ValueError as error:
        message, _, cure = str(error).partition("; ")
        yield Problem(path, message, cure)
        return
    if span < least and not zero:
        at_least = "1s" if least == _SHORTEST_INTERVAL else "1ms"
        yield Problem(
            path, f"{text} is too short", f"write at least {at_least}, such as 30s, or leave it out"
        )


def _timing(spec: RolloutSpec) -> Problems:
    """Lengths of time that contradict each other."""
    if spec.strategy.ab_test:
        yield from ab_test_timing(spec.strategy.ab_test, spec.analysis, _TEST)
    shadow, (canary, at) = spec.strategy.shadow, spec.strategy.stepped or (None, "")
    if shadow:
        yield from shadow_timing(shadow, spec.analysis)
    steps, analysis = canary.steps if canary else [], spec.analysis
    total = sum((_span(step.duration) for step in steps), _span(shadow.duration if shadow else None))
    deadline = parse_duration(spec.progress_deadline)
    if total >= deadline:
        message = (
            f"{spec.progress_deadline} is over before the steps, which take {format_duration(total)} at least"
        )
        yield Problem("spec.progressDeadline", message, "make it longer, or the steps shorter")
    first_look = parse_duration(analysis.warm_up) + parse_duration(analysis.interval)
    for index, step in enumerate(steps):
        if step.gate is not None:
            continue
        yield from _room_for_a_look(
            step, first_look if analysis.metrics else timedelta(0), f"{at}.steps[{index}]"
        )


def _room_for_a_look(step: CanaryStep, first_look: timedelta, path: str) -> Problems:
    """A step that ends by time must last until its first window is read; a timeout must leave its conditions time."""
    ends_by_time = not (step.until or step.min_samples)
    field, text = ("duration", step.duration) if ends_by_time else ("timeout", step.timeout)
    if text is None:
        return
    if parse_duration(text) < first_look:
        message = f"{text} is over before the first look at the metrics"
        cure = f"make it at least {format_duration(first_look)} (warmUp plus interval), or shorten those"
        yield Problem(f"{path}.{field}", message, cure)
    elif not ends_by_time and _span(step.duration) >= parse_duration(text):
        message = f"{text} is over no later than the duration of {step.duration}"
        yield Problem(f"{path}.timeout", message, "make timeout longer than duration")


def _span(text: Duration | None) -> timedelta:
    return parse_duration(text) if text else timedelta(0)
