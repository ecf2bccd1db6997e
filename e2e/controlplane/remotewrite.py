"""Samples of another time for a real Prometheus: its remote-write protocol 1.0, as any agent speaks it.

Protocol buffers and snappy are small enough to write here what is needed of them, and nothing else needs them:
https://prometheus.io/docs/specs/prw/remote_write_spec/ and https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Iterable, Mapping, Sequence

#: The flag that makes Prometheus take them.
RECEIVER = "--web.enable-remote-write-receiver"

Labels = Mapping[str, str]
#: (Unix seconds, value), in order of time.
Samples = Sequence[tuple[float, float]]

_LITERAL = 65_536


def push(url: str, series: Iterable[tuple[Labels, Samples]]) -> None:
    """Send samples; `__name__` is a label like the others. HTTPError, with Prometheus' own words, if it refuses."""
    body = b"".join(_field(1, _series(labels, samples)) for labels, samples in series)
    headers = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    asked = urllib.request.Request(f"{url}/api/v1/write", _snappy(body), headers)  # noqa: S310 - own server
    with urllib.request.urlopen(asked, timeout=30):  # noqa: S310 - own server
        pass


def _series(labels: Labels, samples: Samples) -> bytes:
    named = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for name, value in sorted(labels.items())
    )
    return named + b"".join(_field(2, _sample(at, value)) for at, value in samples)


def _sample(at: float, value: float) -> bytes:
    return b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000.0))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _snappy(data: bytes) -> bytes:
    """The block format, in literals only: valid, and not smaller."""
    parts = [_varint(len(data))]
    for start in range(0, len(data), _LITERAL):
        part = data[start : start + _LITERAL]
        parts.append(b"\xf4" + struct.pack("<H", len(part) - 1) + part)
    return b"".join(parts)
