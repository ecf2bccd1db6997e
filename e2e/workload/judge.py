"""A tiny judge: how helpful an answer is, from its text alone, as an LLM judge would be asked to say."""

from __future__ import annotations

import re

#: A full answer has this many numbered elements: "(1) …" to "(20) …".
ELEMENTS = 20
_ELEMENT = re.compile(r"\((\d{1,2})\)")


def helpfulness(answer: str) -> float:
    """In [0,1]: which share of the elements of a full answer it has."""
    found = {int(number) for number in _ELEMENT.findall(answer)}
    return len(found & set(range(1, ELEMENTS + 1))) / ELEMENTS


def compose(elements: int) -> str:
    """An answer with so many elements; what the model server says."""
    advice = " ".join(f"({number}) {_ADVICE[number % len(_ADVICE)]}" for number in range(1, elements + 1))
    return f"Thank you for asking. {advice}".strip()


_ADVICE = (
    "check the order number",
    "open the account page",
    "choose the parcel",
    "print the label",
    "keep the receipt",
)
