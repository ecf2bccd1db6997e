"""The search: BM25 over the help pages in documents/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s

DOCUMENTS = Path(__file__).parent / "documents"
#: A page with less than this shares no word of weight with the question.
LEAST_SCORE = 0.5


@dataclass(frozen=True)
class Passage:
    """A help page's text; `number` is its rank, from 1."""

    number: int
    page: str
    text: str


class Index:
    """The help pages, indexed once."""

    def __init__(self, folder: Path = DOCUMENTS) -> None:
        files = sorted(folder.glob("*.md"))
        self._pages = [(file.stem, file.read_text().partition("\n")[2].strip()) for file in files]
        self._bm25 = bm25s.BM25()
        self._bm25.index(_tokens([file.read_text() for file in files]), show_progress=False)

    def search(self, query: str, count: int) -> Sequence[Passage]:
        """The `count` best pages for a query's words; fewer, or none, when no more of them fit."""
        [tokens] = _tokens([query])
        if not tokens:
            return []
        found, scores = self._bm25.retrieve([tokens], k=min(count, len(self._pages)), show_progress=False)
        best = [number for number, score in zip(found[0], scores[0], strict=True) if score >= LEAST_SCORE]
        return [Passage(rank, *self._pages[number]) for rank, number in enumerate(best, 1)]


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    tokens: list[list[str]] = bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
    return tokens
