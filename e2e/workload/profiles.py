"""How good a prompt is: a deterministic rule from its text to the behaviour of the simulated model.

Ordinary phrases have ordinary effects, so that a prompt in the demo reads like one. A test that wants exact figures
adds a directive to the system prompt: `[simulate error_rate=0.12 score_mean=0.7 icc=0.2]`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from e2e.workload.judge import ELEMENTS


@dataclass(frozen=True)
class Profile:
    """Probabilities, scores in [0,1], times in seconds.

    `icc`: how much the requests of one conversation share their fate (intra-class correlation; 0: nothing).
    """

    error_rate: float = 0.02
    score_mean: float = 0.80
    score_sd: float = 0.15
    latency_s: float = 0.02
    latency_sigma: float = 0.3
    icc: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What the model does with one request. `elements`: how many of the judge's ELEMENTS the answer has."""

    fails: bool
    elements: int
    latency_s: float


#: A phrase of the system prompt, in lower case, and what it does; of two that speak of the same thing the later wins.
PHRASES: Mapping[str, Mapping[str, float]] = {
    "reply only with json": {"error_rate": 0.12},  # the format is broken more often than prose is
    "think step by step": {"latency_s": 0.06, "score_mean": 0.82},
    "name the next step": {"score_mean": 0.84},
    "as few words as possible": {"score_mean": 0.76},  # nothing fails, but less is answered
}
_DIRECTIVE = re.compile(r"\[simulate ([^\]]*)\]")


def profile_of(system_prompt: str) -> Profile:
    """Raises ValueError for a directive that names no field of Profile or gives no number."""
    lowered = system_prompt.lower()
    profile = Profile()
    for phrase, effect in PHRASES.items():
        if phrase in lowered:
            profile = replace(profile, **effect)
    directive = _DIRECTIVE.search(system_prompt)
    if directive is None:
        return profile
    known = {field.name for field in fields(Profile)}
    wanted = dict(pair.split("=", 1) for pair in directive.group(1).split())
    unknown = set(wanted) - known
    if unknown:
        raise ValueError(f"[simulate …] names {sorted(unknown)}; known are {sorted(known)}")
    return replace(profile, **{name: float(value) for name, value in wanted.items()})


def draw(profile: Profile, seed: str, request: str, user: str) -> Outcome:
    """The outcome of one request, the same for the same seed and request text."""
    own = _generator(seed, "request", request)
    shared = _generator(seed, "user", user)
    mean, sd, rho = profile.score_mean, profile.score_sd, profile.icc
    score = own.gauss(mean + shared.gauss(0.0, sd * rho**0.5), sd * (1 - rho) ** 0.5)
    return Outcome(
        fails=own.random() < _propensity(profile.error_rate, rho, shared),
        elements=round(min(max(score, 0.0), 1.0) * ELEMENTS),
        latency_s=profile.latency_s * own.lognormvariate(0.0, profile.latency_sigma),
    )


def _propensity(rate: float, rho: float, shared: random.Random) -> float:
    """The conversation's own error rate: beta-distributed with mean `rate` and intra-class correlation `rho`."""
    if not 0 < rate < 1 or not 0 < rho < 1:
        return rate
    scale = (1 - rho) / rho
    return shared.betavariate(rate * scale, (1 - rate) * scale)


def _generator(seed: str, purpose: str, text: str) -> random.Random:
    digest = hashlib.sha256("\x1f".join((seed, purpose, text)).encode()).digest()
    return random.Random(digest)  # noqa: S311 - a simulation
