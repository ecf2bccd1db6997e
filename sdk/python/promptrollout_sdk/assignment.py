"""Which prompt one request gets, and what is counted for it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from promptrollout_sdk.counting import ArmSeries
from promptrollout_sdk.errors import said
from promptrollout_sdk.hashing import cluster_of
from promptrollout_sdk.pins import Pin, Token
from promptrollout_sdk.prompt import Message, Part
from promptrollout_sdk.request import Aborts, Request

if TYPE_CHECKING:
    from promptrollout_sdk.rollout import PromptRollout
    from promptrollout_sdk.serving import Served
    from promptrollout_sdk.shadow import Pair, Run

R = TypeVar("R")

_NO_VALUES: Mapping[str, object] = {}


class Assignment:
    """The prompt for one request of one unit.

    `unit` is the unit's id, drawn at random when none was given (`unit_given` is False then). `pinned` says that
    a pin decided. What it hands out are copies.
    """

    __slots__ = (
        "_cluster",
        "_pin",
        "_scored",
        "_shadow",
        "render_failed",
        "rollout",
        "served",
        "unit",
        "unit_given",
    )

    def __init__(
        self,
        rollout: PromptRollout,
        served: Served,
        unit: str,
        unit_given: bool,  # noqa: FBT001 - one object a request: positional arguments are cheaper
        pin: Pin | None = None,
    ) -> None:
        self.rollout = rollout
        self.served = served
        self.unit = unit
        self.unit_given = unit_given
        self._pin = pin
        self._cluster = -1
        self._shadow: tuple[Pair, bool] | None = None
        self._scored: tuple[tuple[str, float], ...] = ()
        self.render_failed = False

    # What to send -----------------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The model's name; empty if the prompt names none."""
        return self.served.prompt.model

    @property
    def parameters(self) -> dict[str, Any]:
        """The model's parameters, for `**a.parameters`."""
        return copy.deepcopy(dict(self.served.prompt.parameters))

    @property
    def extra(self) -> dict[str, Any]:
        """Whatever else the revision holds: an index name, a retrieval depth."""
        return copy.deepcopy(dict(self.served.prompt.extra))

    @property
    def messages(self) -> list[Message]:
        """The messages' templates, for rendering of one's own."""
        return self.served.prompt.main.messages

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Tool definitions in the provider's format."""
        return self.served.prompt.main.tools

    @property
    def response_format(self) -> dict[str, Any] | None:
        """The wanted form of the answer in the provider's format."""
        return self.served.prompt.main.response_format

    @property
    def parts(self) -> Mapping[str, Part]:
        """The parts by name; a single prompt is the part `default`."""
        return self.served.prompt.parts

    def render(
        self, values: Mapping[str, object] = _NO_VALUES, /, *, part: str = "", **variables: object
    ) -> list[Message]:
        """The messages with the variables filled in; a text prompt is one user message.

        A missing value becomes empty and is reported once. A template that fails with these values is counted as
        the revision's error, and the stable prompt is rendered instead.
        """
        return self._render(Part.render, values, variables, part)

    def render_text(
        self, values: Mapping[str, object] = _NO_VALUES, /, *, part: str = "", **variables: object
    ) -> str:
        """The same as one text."""
        return self._render(Part.render_text, values, variables, part)

    # Who decided ------------------------------------------------------------------------------------------------

    @property
    def pinned(self) -> bool:
        """Whether a pin decided."""
        return self._pin is not None

    @property
    def revision(self) -> str:
        """The revision's short hash; `default` when the prompt comes from the code."""
        return self.served.series.key.revision

    @property
    def arm(self) -> str:
        """candidate, stable, or an arm's name."""
        return self.served.series.key.arm

    @property
    def exposure(self) -> int:
        """The exposure in which the unit was assigned: the label `step`."""
        return self.served.exposure

    @property
    def series(self) -> ArmSeries:
        """The bound metrics."""
        return self.served.series

    @property
    def cluster(self) -> int:
        """The unit's cluster, 0 … 15."""
        if self._cluster < 0:
            self._cluster = cluster_of(self.unit)
        return self._cluster

    @property
    def pin(self) -> str:
        """Keep it with the conversation and give it to the next `assign`; ask for it after the request."""
        seen = self.served.series.affected(self.unit).union(self._before) if self.unit_given else ()
        return str(Pin(self.revision, self.exposure, self.arm, tuple(sorted(seen))))

    @property
    def token(self) -> str:
        """Keep it with the answer, for scores that come later: `rollout.score(token, …)`."""
        return str(
            Token(self.revision, self.exposure, self.arm, self.cluster, self.served.series.key.rollout)
        )

    # What came of it --------------------------------------------------------------------------------------------

    def request(self, *, aborts: Aborts = ()) -> Request:
        """A context manager around one logical request: retries and the calls of a tool loop belong inside.

        An exception counts as an error of the prompt, unless the caller went away: cancellation, a closed
        generator, or one of `aborts`, also in a group of nothing else.
        """
        return Request(self, aborts)

    def score(self, name: str, value: float) -> None:
        """A judgement of this answer, from 0 (worst) to 1 (best)."""
        counted = self.rollout.count_score(self.served.series.key, self.cluster, name, value)
        if counted and self._shadow:
            pair, in_shadow = self._shadow
            pair.score(name, float(value), candidate=in_shadow)
        elif counted:
            self._scored = (*self._scored, (name, float(value)))

    def shadow(self, fn: Run) -> bool:
        """Run the candidate beside this answer, after it was given; True if it was started.

        `fn(candidate, shadow=True)` runs in a thread, or as a task when it is a coroutine function. Only while the
        payload asks for a shadow, for its share of requests, within its budget; otherwise dropped. Scores of both
        (`a.score`, before or after this, and `candidate.score`) are compared in pairs.
        """
        return self.rollout.start_shadow(self, fn)

    @property
    def in_shadow(self) -> bool:
        """Whether this is the candidate's side of a shadow run."""
        return self._shadow is not None and self._shadow[1]

    @property
    def paired(self) -> bool:
        """Whether it is one side of a shadow run."""
        return self._shadow is not None

    def join(self, pair: Pair, *, in_shadow: bool) -> None:
        """Make it one side of a shadow run; scores that it had before count in the pair too."""
        self._shadow = (pair, in_shadow)
        for name, value in self._scored:
            pair.score(name, value, candidate=in_shadow)

    @property
    def _before(self) -> tuple[str, ...]:
        """Events that the pin says the unit has had."""
        return self._pin.events if self._pin else ()

    def count_unit(self, events: tuple[str, ...]) -> None:
        """Count a request and its events for its unit and cluster (statistics-correlated, "What the SDK exports")."""
        series, clusters, cluster = self.served.series, self.served.clusters, self.cluster
        seen = series.affected(self.unit)
        if self._pin and self._pin.events:
            seen = seen.union(self._pin.events)
        if clusters:
            clusters.requests[cluster].inc()
            for event in events:
                clusters.events[event][cluster].inc()
        if events or seen:
            self._count_exposures(events, seen)
        else:
            self.rollout.exposing.add(series, clusters, cluster)
        if events and self.unit_given:
            series.affect(self.unit, events)

    def _count_exposures(self, events: tuple[str, ...], seen: frozenset[str]) -> None:
        """Of events that the unit has not had before this request."""
        series, clusters, cluster = self.served.series, self.served.clusters, self.cluster
        for event, exposure in series.unit_exposure:
            if event in seen:
                continue
            exposure.inc()
            if clusters:
                clusters.unit_exposure[event][cluster].inc()
            if event in events:
                series.unit_events[event].inc()
                if clusters:
                    clusters.unit_events[event][cluster].inc()

    def _render(
        self,
        render: Callable[[Part, Mapping[str, object]], R],
        given: Mapping[str, object],
        variables: Mapping[str, object],
        part: str,
    ) -> R:
        prompt = self.served.prompt
        values = variables
        try:
            values = {**given, **variables}
            chosen = prompt.part(part)
            missing = chosen.variables - values.keys()
            if missing:
                self.rollout.problem(
                    "missing_variable", f"{prompt.revision} needs {sorted(missing)}, not given to render()"
                )
            return render(chosen, values)
        except Exception as error:  # whatever a template does, the caller gets an answer
            self.render_failed = True
            self.rollout.problem(
                "render", f"{prompt.revision} cannot be rendered: {type(error).__name__}: {said(error)}"
            )
        return self.rollout.render_instead(render, prompt, values, part)
