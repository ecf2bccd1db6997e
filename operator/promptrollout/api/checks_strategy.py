"""What makes an A/B test, a shadow or a schedule wrong. Pure; see `checks`."""

from collections.abc import Iterator

from promptrollout.api.abtest import RESERVED, AbTest
from promptrollout.api.calendar import parse_window, parse_zone
from promptrollout.api.canary import Schedule
from promptrollout.api.metrics import MetricRole
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import WHOLE, format_weight, parse_decimal, parse_duration, parse_weight
from promptrollout.api.shadow import Shadow
from promptrollout.api.spec import Analysis

Problems = Iterator[Problem]
_SHADOW = "spec.strategy.shadow"


def ab_test_problems(test: AbTest, analysis: Analysis, path: str) -> Problems:
    """Arms, weights, and whether anything can show a winner."""
    names: set[str] = set()
    for index, arm in enumerate(test.arms):
        at = f"{path}.arms[{index}]"
        if arm.name in RESERVED:
            yield Problem(f"{at}.name", f"{arm.name!r} is the operator's own name", "take another")
        if arm.name in names:
            yield Problem(f"{at}.name", f"{arm.name!r} is the name of an earlier arm", "give it another name")
        names.add(arm.name)
        if parse_weight(arm.weight) == 0:
            yield Problem(
                f"{at}.weight", "at 0% the arm gets no requests to compare", "write a weight above 0"
            )
    controls = [arm.name for arm in test.arms if arm.prompt is None]
    if len(controls) != 1:
        said = f"{' and '.join(controls)} have no prompt" if controls else "every arm has a prompt"
        cure = "leave out the prompt of exactly one arm: the control, which serves spec.prompt"
        yield Problem(f"{path}.arms", said, cure)
    total = sum(parse_weight(arm.weight) for arm in test.arms)
    if total != WHOLE:
        cure = "make the weights of all arms, with the control's, sum to 100%"
        yield Problem(f"{path}.arms", f"the weights sum to {format_weight(total)}", cure)
    if not any(metric.role is MetricRole.REQUIRED for metric in analysis.metrics):
        cure = "give a metric in spec.analysis.metrics the role Required"
        yield Problem(path, "no metric is Required, so no arm can be shown to be better", cure)


def ab_test_timing(test: AbTest, analysis: Analysis, path: str) -> Problems:
    """The horizon must leave time for a look."""
    first_look = parse_duration(analysis.warm_up) + parse_duration(analysis.interval)
    if parse_duration(test.horizon) < first_look:
        message = f"{test.horizon} is over before the first look at the metrics"
        yield Problem(f"{path}.horizon", message, "make it longer than warmUp plus interval, such as 14d")


def shadow_problems(shadow: Shadow, analysis: Analysis) -> Problems:
    """A share, a budget, and whether anything can be shown."""
    if parse_weight(shadow.sample) == 0:
        yield Problem(f"{_SHADOW}.sample", "at 0% nothing runs in the shadow", "write a share above 0")
    if parse_decimal(shadow.budget.usd_per_hour) <= 0:
        path = f"{_SHADOW}.budget.usdPerHour"
        yield Problem(path, "with no money nothing runs", "write the dollars an hour, such as '1.00'")
    if not any(metric.role is MetricRole.REQUIRED for metric in analysis.metrics):
        cure = "give a metric in spec.analysis.metrics the role Required"
        yield Problem(_SHADOW, "no metric is Required, so there is nothing to show", cure)


def shadow_timing(shadow: Shadow, analysis: Analysis) -> Problems:
    """The duration must leave time for a look."""
    first_look = parse_duration(analysis.warm_up) + parse_duration(analysis.interval)
    if parse_duration(shadow.duration) < first_look:
        message = f"{shadow.duration} is over before the first look at the metrics"
        yield Problem(f"{_SHADOW}.duration", message, "make it longer than warmUp plus interval, such as 6h")


def schedule_problems(schedule: Schedule, path: str) -> Problems:
    """A zone that there is, and windows that can be read."""
    try:
        parse_zone(schedule.time_zone)
    except ValueError as error:
        message, _, cure = str(error).partition("; ")
        yield Problem(f"{path}.timeZone", message, cure)
    for index, window in enumerate(schedule.windows):
        try:
            parse_window(window)
        except ValueError as error:
            message, _, cure = str(error).partition("; ")
            yield Problem(f"{path}.windows[{index}]", message, cure)
