"""The formulas that every SDK shares; `sdk/conformance/assignment.json` and `scores.json` hold their vectors."""

from __future__ import annotations

from hashlib import sha256

WHOLE = 10_000
CLUSTERS = 16
NODES = 21


def utf8(text: str) -> bytes:
    """The text's bytes; a lone surrogate, which has none, becomes U+FFFD as in every other language."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def bucket_of(salt: str, unit: str) -> int:
    """The unit's bucket, 0 … 9999."""
    digest = sha256(utf8(f"{salt}\x1f{unit}")).digest()
    return int.from_bytes(digest[:8], "big") * WHOLE >> 64


def cluster_of(unit: str) -> int:
    """The unit's cluster, 0 … 15; without salt, so that history outlives a candidate."""
    return sha256(utf8(f"cluster\x1f{unit}")).digest()[0] % CLUSTERS


def split_score(score: float) -> tuple[int, float, float]:
    """A score in [0, 1] as (i, weight of node i, weight of node i + 1) of its badness 1 - score on 21 nodes.

    The linear split keeps the mean exactly. The second weight is 0 at the last node.
    """
    position = (1.0 - score) * (NODES - 1)
    node = min(int(position), NODES - 1)
    fraction = position - node
    return node, 1.0 - fraction, fraction
