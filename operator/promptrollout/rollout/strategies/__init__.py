"""Strategies. A new one is one file that implements `Strategy`, and its line in the table below."""

from collections.abc import Callable, Mapping

from promptrollout.api.spec import Strategy as StrategySpec
from promptrollout.rollout.strategies.abtest import AbTestStrategy
from promptrollout.rollout.strategies.base import (
    Advance,
    ArmView,
    Ask,
    Finish,
    Goal,
    Move,
    Refuse,
    Split,
    Stay,
    Strategy,
    Undecided,
    View,
)
from promptrollout.rollout.strategies.canary import CanaryStrategy
from promptrollout.rollout.strategies.immediate import ImmediateStrategy
from promptrollout.rollout.strategies.shadow import ShadowStrategy

__all__ = [
    "Advance",
    "ArmView",
    "Ask",
    "Finish",
    "Goal",
    "Move",
    "Refuse",
    "Split",
    "Stay",
    "Strategy",
    "Undecided",
    "View",
    "strategy_of",
]


def _canary(spec: StrategySpec) -> Strategy | None:
    return CanaryStrategy(spec.canary) if spec.canary else None


def _ab_test(spec: StrategySpec) -> Strategy | None:
    return AbTestStrategy(spec.ab_test) if spec.ab_test else None


def _shadow(spec: StrategySpec) -> Strategy | None:
    return ShadowStrategy(spec.shadow) if spec.shadow else None


def _immediate(spec: StrategySpec) -> Strategy | None:
    return ImmediateStrategy() if spec.immediate is not None else None


_STRATEGIES: Mapping[str, Callable[[StrategySpec], Strategy | None]] = {
    "canary": _canary,
    "abTest": _ab_test,
    "shadow": _shadow,
    "immediate": _immediate,
}


def strategy_of(spec: StrategySpec) -> Strategy:
    """The strategy that this spec names; ValueError if it names none (parse_spec refuses that before)."""
    for make in _STRATEGIES.values():
        if strategy := make(spec):
            return strategy
    raise ValueError(f"spec.strategy names none of {', '.join(_STRATEGIES)}")
