"""The world that `simulate` is told of, as text on a command line."""

from __future__ import annotations

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
    begin, _, length = text.partition(":")
    return Outage(seconds("--outage", begin), seconds("--outage", length))


def course(onset: str, drift: float, icc: str, cold: str | None) -> Course:
    """What happens to all metrics in the course of time."""
    length, _, factor = (cold or "0s:1").partition(":")
    stable, candidate = two("--icc", icc)
    try:
        return Course(
            onset=seconds("--onset", onset),
            drift=drift,
            cold_seconds=seconds("--cold", length),
            cold_factor=float(factor or "1"),
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
            stable, candidate = said or (1.0, None)
            middle = metric.edges[len(metric.edges) // 2]
            return LatencyWorld(stable * middle, factor=(candidate or stable) / stable, course=course)
        case MetricKind.Sum:
            stable, candidate = said or (1.0, None)
            return SumWorld(stable, factor=(candidate or stable) / stable, course=course)


def _covers(metric: MetricPlan, known: Mapping[str, MetricPlan]) -> str:
    """The score whose coverage a metric is; empty if it is none, or nobody knows which."""
    preset, _, score = metric.source.partition("|")
    if preset != COVERAGE:
        return ""
    scores = (MetricKind.Score, MetricKind.Paired)
    return next((m.name for m in known.values() if m.kind in scores and m.source.endswith(f"|{score}")), "")
