"""The world that `simulate` is told of, as text on a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from promptrollout.analysis import MetricKind, MetricPlan
from promptrollout.api.calendar import DAYS
from promptrollout.api.quantities import parse_duration
from promptrollout.cli.printing import USAGE, fail
from promptrollout.simulation import (
    Course,
    CoverageWorld,
    EventWorld,
    LatencyWorld,
    MetricWorld,
    Outage,
    Plans,
    ScoreWorld,
    SumWorld,
)
from promptrollout.sources.presets import COVERAGE

#: By metric and arm ("" for all): stable's value, and the candidate's if it is another.
Said = dict[tuple[str, str], tuple[float, float | None]]
_START = re.compile(rf"({'|'.join(DAYS)})(?: ([01]?\d|2[0-3]):([0-5]\d))?")


def seconds(option: str, text: str) -> float:
    """A duration."""
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        fail(f"{option} {error}", USAGE)


def two(option: str, text: str) -> tuple[float, float | None]:
    """`0.9`, or `0.9:0.8` for stable and the candidate."""
    first, colon, second = text.partition(":")
    try:
        return float(first), float(second) if colon else None
    except ValueError:
        fail(f"{option} {text}: write a number, or STABLE:CANDIDATE", USAGE)


def start(text: str) -> tuple[int, float]:
    """`Fri 16:00` as a day of the week (0: Monday) and the hour of it."""
    found = _START.fullmatch(text.strip())
    if found is None:
        fail(f"--start {text}: write for example 'Mon 09:00' (UTC)", USAGE)
    day, hour, minute = found.groups()
    return DAYS.index(day), int(hour or 0) + int(minute or 0) / 60.0


def outage(text: str) -> Outage:
    """`2h:30m`: from when on, and for how long."""
    begin, colon, length = text.partition(":")
    if not colon:
        fail(f"--outage {text}: write START:LENGTH, such as 2h:30m", USAGE)
    return Outage(seconds("--outage", begin), seconds("--outage", length))


def course(onset: str, drift: float, icc: str, cold: str | None) -> Course:
    """What happens to all metrics in the course of time."""
    length, _, factor = (cold or "0s:1").partition(":")
    stable, candidate = two("--icc", icc)
    try:
        colder = float(factor)
    except ValueError:
        fail(f"--cold {cold}: write TIME:FACTOR, such as 10m:1.5", USAGE)
    try:
        return Course(
            onset=seconds("--onset", onset),
            drift=drift,
            cold_seconds=seconds("--cold", length),
            cold_factor=colder,
            icc=stable,
            candidate_icc=candidate,
        )
    except ValueError as error:
        fail(str(error), USAGE)


@dataclass(frozen=True)
class Judge:
    """How scores come: the share of answers that are scored, how late, and how both scores of a pair resemble."""

    judged: tuple[float, float | None] = (1.0, None)
    delay: float = 0.0
    pairing: float = 0.5


@dataclass(frozen=True)
class Imagined:
    """What all metrics are like, and what each arm of a test is like besides."""

    metrics: Mapping[str, MetricWorld]
    arms: Mapping[str, Mapping[str, MetricWorld]] = field(default_factory=dict)


def imagine(
    plans: Plans, arms: Sequence[str], texts: Iterable[str], course: Course, judge: Judge
) -> Imagined:
    """`errors=0.02:0.06`, `errors@brief=0.02:0.01` and so on as worlds; what is not said is usual, and alike."""
    known = {metric.name: metric for metric in plans.metrics if metric.name not in plans.contests}
    said = _said(texts, known, arms)
    try:
        worlds = {
            name: _world(one, known, said.get((name, "")), (course, judge)) for name, one in known.items()
        }
        own: dict[str, dict[str, MetricWorld]] = {}
        for (name, arm), values in said.items():
            if arm:
                own.setdefault(arm, {})[name] = _world(known[name], known, values, (course, judge))
    except ValueError as error:
        fail(f"--metric: {error}", USAGE)
    return Imagined(worlds, own)


def _said(texts: Iterable[str], known: Mapping[str, MetricPlan], arms: Sequence[str]) -> Said:
    said: Said = {}
    for text in texts:
        whose, _, values = text.rpartition("=")
        name, _, arm = whose.partition("@")
        if name not in known:
            fail(f"--metric {text}: the rollout compares {', '.join(known)}", USAGE)
        if arm and arm not in arms:
            fail(f"--metric {text}: the rollout's challengers are {', '.join(arms)}", USAGE)
        stable, colon, candidate = values.partition(":")
        try:
            said[name, arm] = (float(stable), float(candidate) if colon else None)
        except ValueError:
            fail(f"--metric {text}: write METRIC=STABLE:CANDIDATE in numbers", USAGE)
    return said


def _world(
    metric: MetricPlan,
    known: Mapping[str, MetricPlan],
    said: tuple[float, float | None] | None,
    how: tuple[Course, Judge],
) -> MetricWorld:
    course, judge = how
    match metric.kind:
        case MetricKind.Events:
            if said is None and (score := _covers(metric, known)):
                return CoverageWorld(score)
            stable, candidate = said or (0.98 if metric.higher_is_better else 0.02, None)
            return EventWorld(stable, stable if candidate is None else candidate, course)
        case MetricKind.Score | MetricKind.Paired:
            stable, candidate = said or (0.8, None)
            return ScoreWorld(
                stable,
                stable if candidate is None else candidate,
                judged=judge.judged[0],
                candidate_judged=judge.judged[1],
                delay=judge.delay,
                pairing=judge.pairing,
                course=course,
            )
        case MetricKind.Histogram:
            stable, factor = _factors(metric, said)
            middle = metric.edges[len(metric.edges) // 2]
            return LatencyWorld(stable * middle, factor=factor, course=course)
        case MetricKind.Sum:
            stable, factor = _factors(metric, said)
            return SumWorld(stable, factor=factor, course=course)


def _factors(metric: MetricPlan, said: tuple[float, float | None] | None) -> tuple[float, float]:
    """How large stable's values are, and how many times as large the candidate's."""
    stable, candidate = said or (1.0, None)
    if candidate is None:
        candidate = stable
    # Not a number compares false.
    if not (0.0 < stable < math.inf and 0.0 < candidate < math.inf):
        raise ValueError(f"{metric.name}: factors are numbers above 0, as in {metric.name}=1:1.3")
    return stable, candidate / stable


def _covers(metric: MetricPlan, known: Mapping[str, MetricPlan]) -> str:
    """The score whose coverage a metric is; empty if it is none, or nobody knows which."""
    preset, _, score = metric.source.partition("|")
    if preset != COVERAGE:
        return ""
    scores = (MetricKind.Score, MetricKind.Paired)
    return next((m.name for m in known.values() if m.kind in scores and m.source.endswith(f"|{score}")), "")
