"""Scores that come later and elsewhere: in a process that has no payload, only tokens."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, push_to_gateway

from promptrollout_sdk.counting import Key
from promptrollout_sdk.errors import Once
from promptrollout_sdk.metrics import families_of
from promptrollout_sdk.pins import parse_token
from promptrollout_sdk.scoring import Scoring

_MAX_ROLLOUTS = 256


class Judge:
    """Counts scores by token, for any rollout, and pushes them where the process is too short-lived to be scraped.

    The counters grow over the life of the process: push again and again from one process (or keep one grouping
    key for each run), since a push replaces what the same grouping key pushed before.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._scoring: dict[str, Scoring] = {}
        self._once = Once()

    def score(self, token: str, name: str, value: float) -> bool:
        """A judgement of the answer that `token` names; False (and one log line) when it could not be counted."""
        parsed = parse_token(token) if isinstance(token, str) else None
        if parsed is None:
            self._once.warn("a score came with something that is no token")
            return False
        scoring = self._scoring.get(parsed.rollout)
        if scoring is None:
            if len(self._scoring) >= _MAX_ROLLOUTS:
                self._once.warn(
                    f"scores of more than {_MAX_ROLLOUTS} rollouts; of {parsed.rollout} none is counted"
                )
                return False
            scoring = self._scoring[parsed.rollout] = Scoring.standalone(families_of(self.registry))
        key = Key(parsed.rollout, parsed.revision, parsed.arm, str(parsed.exposure))
        problem = scoring.count(key, parsed.cluster, name, value)
        if problem:
            self._once.warn(f"{parsed.rollout}: {problem}")
        return not problem

    def push(
        self, gateway: str, job: str, grouping: Mapping[str, str] | None = None, timeout: float = 10.0
    ) -> None:
        """Push all scores to a Pushgateway. OSError when it cannot be reached: then push again later."""
        push_to_gateway(gateway, job, self.registry, grouping_key=dict(grouping or {}), timeout=timeout)
