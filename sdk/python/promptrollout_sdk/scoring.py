"""Counting a score: checked, bounded, into its arm's series and its cluster's."""

from __future__ import annotations

import math
import re

from promptrollout_sdk.counting import Key
from promptrollout_sdk.errors import said
from promptrollout_sdk.ledger import Ledger
from promptrollout_sdk.metrics import Families

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


class Scoring:
    """The scores of one rollout."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @classmethod
    def standalone(cls, families: Families) -> Scoring:
        """For a process that counts nothing but scores."""
        return cls(Ledger(families, (), ()))

    def count(self, key: Key, cluster: int, name: str, value: float) -> str:
        """Count it; what is wrong with it, or nothing."""
        try:
            number = float(value)
        except Exception:  # whatever it is, it is no number
            number = math.nan
        if not 0.0 <= number <= 1.0:
            return f"score {said(name)} must be a number from 0 to 1, was {said(value)}"
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not self._ledger.admits_score(name):
            return f"{said(name)} is no name of a score, or there are too many of them"
        self._ledger.score(key, name).add(number)
        clusters = self._ledger.clusters(key.rollout, key.arm)
        if clusters:
            clusters.score(name, cluster, number)
        return ""
