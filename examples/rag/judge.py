"""The judge, a process of its own: is every sentence of an answer carried by a passage?

POST /answers {token, answer, passages}: the token is all it knows of where the answer came from.
In earnest an LLM would judge; this one compares words, and needs no other model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.kit import serving
from promptrollout_sdk import Judge

SCORE = "groundedness"
#: A sentence is carried by a passage that has this share of its words.
CARRIED = 0.6
_WORD = re.compile(r"[a-z0-9]{3,}")
_SENTENCE = re.compile(r"[^.!?]+[.!?]?")
_NO_CLAIM = re.compile(r"\b(do|does) not answer\b|\b(don't|do not) know\b|\bthank you\b", re.IGNORECASE)


def groundedness(answer: str, passages: Sequence[str]) -> float:
    """In [0,1]: the share of the answer's claims that a passage carries; 1 for an answer that claims nothing."""
    sources = [set(_WORD.findall(passage.lower())) for passage in passages]
    sentences = [one for one in _SENTENCE.findall(answer) if _WORD.search(one.lower())]
    claims = [set(_WORD.findall(one.lower())) for one in sentences if not _NO_CLAIM.search(one)]
    carried = sum(any(len(claim & source) >= CARRIED * len(claim) for source in sources) for claim in claims)
    return carried / len(claims) if claims else 1.0


def application(judge: Judge) -> Starlette:
    """The ASGI application; it serves the judge's metrics."""

    async def answers(request: Request) -> Response:
        said = await request.json()
        value = groundedness(said["answer"], said["passages"])
        counted = judge.score(said["token"], SCORE, value)
        return JSONResponse({"groundedness": value}, status_code=200 if counted else 400)

    return serving.application([Route("/answers", answers, methods=["POST"])], registry=judge.registry)
