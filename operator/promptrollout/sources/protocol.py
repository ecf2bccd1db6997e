"""What the rest of the operator knows of a metric source. Pure data and one protocol.

A source answers with counts or says plainly why it cannot; it never raises. "No data" and "could not be read"
are different things, and neither is a zero.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from promptrollout.analysis.counts import History, Window

#: The names of both sides of a comparison; and of the arms, where there is one candidate.
CANDIDATE, STABLE = "candidate", "stable"


@dataclass(frozen=True, slots=True)
class EventSelectors:
    """Two counters of the application's own: vector selectors with `{{revision}}` (see `selector.check_selector`)."""

    bad: str
    total: str


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """What one metric of one rollout needs: a preset (see `presets`) or counters of one's own.

    `score` is the score's name, for presets that have one. `edges` are the finite upper bucket edges, ascending, that a
    histogram is to be counted in (the series may have more); empty takes the preset's. `correlated` asks
    for the sums by cluster and the first-event-per-unit counts too, where the preset has them.
    """

    name: str
    preset: str = ""
    score: str = ""
    edges: tuple[float, ...] = ()
    events: EventSelectors | None = None
    correlated: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """One active rollout.

    `key` is "namespace/name"; `candidate` and `stable` are short revisions; `exposure` numbers the weights in force and
    `weight` is the candidate's share in 1/10,000. `since` (Unix seconds) is when its comparison began.
    `arm` and `against` are the names of the arms that candidate and stable are served as.
    """

    key: str
    candidate: str
    stable: str
    exposure: int
    weight: int
    queries: tuple[MetricQuery, ...]
    since: float = 0.0
    arm: str = CANDIDATE
    against: str = STABLE


class Reason(StrEnum):
    """Why a source could not be read: the reason of the condition MetricsAvailable."""

    UNREACHABLE = "Unreachable"  #: no connection: refused, no such host, TLS
    TIMEOUT = "Timeout"  #: no full answer within the deadline
    UNAUTHORIZED = "Unauthorized"  #: 401 or 403, or no credentials to send
    REJECTED = "Rejected"  #: the query was refused (4xx, a redirect, bad_data)
    UNAVAILABLE = "Unavailable"  #: 5xx, 429: the store is in trouble
    PARTIAL = "Partial"  #: an answer with warnings, so perhaps not all of it
    NOT_FINITE = "NotFinite"  #: NaN, an infinity or a negative number where a counter should be
    MALFORMED = "Malformed"  #: not the JSON of the Prometheus API
    TOO_LARGE = "TooLarge"  #: more than the store loads or than is read
    INCONSISTENT = "Inconsistent"  #: counters that contradict each other
    INVALID_QUERY = "InvalidQuery"  #: a metric's query that cannot be asked at all


@dataclass(frozen=True, slots=True)
class SourceError:
    """The metric could not be read: hold. `message` is one sentence for people, without credentials."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class NoData:
    """The source answered, and nothing matched `selector` (a PromQL selector to paste and try)."""

    selector: str
    arm: str = "candidate"  #: candidate, stable or both

    @property
    def message(self) -> str:
        """The sentence for people."""
        whose = "either revision" if self.arm == "both" else f"the {self.arm}"
        return f"nothing came from {whose}: {self.selector} matched no series"


Problem = NoData | SourceError


@dataclass(frozen=True, slots=True)
class Sample:
    """One subject's counts.

    `windows` are consecutive, from the asked start; each holds the counts of the exposure in force, and in `late` those
    that belong to other exposures. `problems` has, by metric name, what could not be read in at least one
    window. A metric with a SourceError is absent from the windows concerned; one with NoData may have
    counts of the other arm. If no metric could be read, the windows end before the trouble: ask again from there.
    """

    windows: tuple[Window, ...] = ()
    problems: Mapping[str, Problem] = field(default_factory=dict)

    @property
    def unreadable(self) -> SourceError | None:
        """The first metric's SourceError, if there is any."""
        return next((p for p in self.problems.values() if isinstance(p, SourceError)), None)


@dataclass(frozen=True, slots=True)
class LoadedBy:
    """One process' word on the payload it serves (`promptrollout_loaded`), with the moment it loaded it (Unix seconds).

    A pod with several processes, or one that was scraped before and after a change, has several.
    """

    namespace: str
    pod: str
    instance: str
    sequence: int
    hash: str
    loaded_at: float


class MetricSource(Protocol):
    """Where counts and acknowledgements come from. No method raises, cancellation apart."""

    async def sample(
        self, subjects: Sequence[Subject], start: float, end: float, interval: float | None = None
    ) -> Mapping[str, Sample]:
        """Counts of each subject in the windows of (start, end], by subject key.

        Windows end at multiples of `interval` (seconds; None: one window) and at `end`. The same question gets
        the same counts, whether asked live, again, or after a restart.
        """
        ...

    async def acknowledgements(
        self, rollouts: Collection[str]
    ) -> Mapping[str, tuple[LoadedBy, ...]] | SourceError:
        """Who serves which payload now, by rollout key; a rollout of which nobody speaks has an empty tuple."""
        ...

    async def history(self, subject: Subject, start: float, end: float) -> Mapping[str, History | Problem]:
        """By metric name, the stable arm's latest requests in (start, end], about 5,000 at most."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...
