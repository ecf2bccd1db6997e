"""The windows that a comparison rests on, kept within a bound: what evidence can be recomputed from.

A ledger has a beginning (the evidence before its first window) and all windows since. Each is compressed when it comes:
as an object it takes twenty times as much memory, and left for later the windows of a thousand trials that began
together would have to be compressed in one tick. They are sealed in chunks, each with the evidence before it; when they
outgrow the bound the oldest chunk goes, and the ledger begins where the next one does. So `fold(plan, base, windows)`
is the evidence, to the bit, however much was dropped.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from promptrollout.analysis.counts import History, Window
from promptrollout.analysis.encoding import EncodingError, decode_window, encode_window
from promptrollout.analysis.evidence import Evidence
from promptrollout.analysis.plan import AnalysisPlan

#: Compressed windows that a ledger keeps, in bytes; ConfigMaps hold 1 MiB, and there is more to say than windows.
WINDOWS_LIMIT = 700_000
#: Windows in a chunk: how much is dropped at once.
CHUNK_WINDOWS = 64

#: Why a ledger does not begin where its trial does.
FROM_CHECKPOINT = "the operator was restarted: it went on from the checkpoint in the status"
FROM_EDIT = "the metrics were edited: what was compared before is in the checkpoint"
FROM_BOUND = "older windows were dropped to stay within the size of a ConfigMap and the operator's memory"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some windows, a gzip member each, and the evidence before the first of them."""

    before: Evidence
    data: bytes
    windows: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Windows since `base`, under `plan`; `now` is the evidence after them.

    `seed` is the stable arm's history by metric, where it is known. `dropped` says why windows before `base` are
    missing; empty if none is: then `base` is `Evidence.initial(plan, seed)`. `tail` are the windows after the last
    chunk, a gzip member each, and `tail_base` the evidence before them. `weight` is the candidate's in the latest
    window, 1/10,000; 0 if there was none.
    """

    plan: AnalysisPlan
    base: Evidence
    now: Evidence
    seed: Mapping[str, History] = field(default_factory=dict)
    dropped: str = ""
    chunks: tuple[Chunk, ...] = ()
    tail: tuple[bytes, ...] = ()
    tail_base: Evidence | None = None
    weight: int = 0

    @classmethod
    def begin(
        cls, plan: AnalysisPlan, base: Evidence, seed: Mapping[str, History] | None = None, dropped: str = ""
    ) -> Ledger:
        """A ledger without windows yet."""
        return cls(plan, base, base, dict(seed or {}), dropped)

    def plus(self, windows: Iterable[Window], after: Evidence, limit: int = WINDOWS_LIMIT) -> Ledger:
        """With `windows` too, whose evidence is `after`; the oldest ones may go."""
        added = tuple(windows)
        if not added:
            return replace(self, now=after)
        tail = (*self.tail, *(compress([window]) for window in added))
        begun = self.tail_base if self.tail_base is not None else self.now
        fresh = replace(self, now=after, tail=tail, tail_base=begun, weight=added[-1].weight)
        if len(tail) < CHUNK_WINDOWS:
            return fresh
        chunks = (*self.chunks, Chunk(begun, b"".join(tail), len(tail)))
        return replace(fresh, chunks=chunks, tail=(), tail_base=None).within(limit)

    def under(self, plan: AnalysisPlan, evidence: Evidence) -> Ledger:
        """The ledger of an edited plan, whose evidence so far is `evidence`."""
        kept = {name: past for name, past in self.seed.items() if name in plan.positions}
        return Ledger.begin(plan, evidence, kept, FROM_EDIT)

    def within(self, limit: int) -> Ledger:
        """Without the oldest chunks, so that the rest takes at most `limit` bytes."""
        chunks = list(self.chunks)
        size = self.size
        while chunks and size > limit:
            size -= len(chunks.pop(0).data)
        if len(chunks) == len(self.chunks):
            return self
        base = chunks[0].before if chunks else (self.tail_base or self.now)
        return replace(self, base=base, chunks=tuple(chunks), dropped=FROM_BOUND)

    @property
    def size(self) -> int:
        """Bytes of the sealed windows."""
        return sum(len(chunk.data) for chunk in self.chunks)

    @property
    def count(self) -> int:
        """How many windows there are."""
        return sum(chunk.windows for chunk in self.chunks) + len(self.tail)

    @property
    def since(self) -> float | None:
        """End of the last window before those in here, unix seconds; None if they are all."""
        return self.base.last_end if self.dropped else None

    def compressed(self) -> bytes:
        """All windows: gzip, JSON lines. As one member they are a fifth smaller than each on its own."""
        parts = [chunk.data for chunk in self.chunks] + [b"".join(self.tail)]
        text = "".join(map(decompress, parts))
        return _packed(text) if text else b""


def compress(windows: Iterable[Window]) -> bytes:
    """One gzip member; members one after another are gzip again."""
    return _packed(lines(windows))


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def lines(windows: Iterable[Window]) -> str:
    """A window a line."""
    return "".join(
        json.dumps(encode_window(window), separators=(",", ":"), allow_nan=False) + "\n" for window in windows
    )


def read_lines(text: str) -> tuple[Window, ...]:
    """The windows of `lines`; EncodingError, with the line's number, if one is none."""
    windows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            windows.append(decode_window(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise EncodingError(f"line {number}: {error}") from None
    return tuple(windows)


def decompress(data: bytes, limit: int = 64 * 1024 * 1024) -> str:
    """The text of `compress`, or of several members together; EncodingError if it is none or more than `limit`."""
    parts: list[bytes] = []
    size, rest = 0, data
    while rest:
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(rest, limit - size + 1)
        except zlib.error as error:
            raise EncodingError(f"not gzip: {error}") from None
        size += len(part)
        if size > limit:
            raise EncodingError(f"more than {limit:,} bytes of windows")
        if not stream.eof:
            raise EncodingError("not gzip: it ends too early")
        parts.append(part)
        rest = stream.unused_data
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise EncodingError("not UTF-8") from None
