"""An example without a cluster: its programs on this machine, two prompts side by side at half the traffic each.

The payload is written as the operator would deliver it; what comes of it is read from the metrics that it compares.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from examples.kit import documents

_READY_WITHIN_S = 30.0


class Programs:
    """Programs of an example on ports of their own; all end with the block."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait()

    def serve(self, *command: str, **environment: str) -> str:
        """`python -m` a service; its URL, once it is healthy."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = self._start(command, {**environment, "HOST": "127.0.0.1", "PORT": str(port)})
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + _READY_WITHIN_S
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"python -m {' '.join(command)} did not start")
            time.sleep(0.05)
        return url

    def run(self, *command: str, **environment: str) -> None:
        """`python -m` a program to its end."""
        process = self._start(command, environment)
        if process.wait() != 0:
            raise SystemExit(f"python -m {' '.join(command)} failed")

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - programs of this repository
            [sys.executable, "-m", *command], env={**os.environ, **environment}
        )
        self._running.append(process)
        return process


def options(parser: argparse.ArgumentParser, folder: Path, rate: float) -> None:
    """What `try` takes."""
    patches = ", ".join(
        str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
        for file in sorted((folder / "tries").glob("*.yaml"))
    )
    parser.add_argument("patch", type=Path, help=f"a patch of the PromptRollout: {patches}")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long users come")
    parser.add_argument("--rate", type=float, default=rate, help="how many of them a second")


@contextlib.contextmanager
def prompts(folder: Path, patch: Path) -> Iterator[Path]:
    """A directory as pods mount it: rollout.yaml's prompt is stable, with the patch it is the candidate; half each."""
    with tempfile.TemporaryDirectory() as name:
        deliver(Path(name), folder, patch)
        yield Path(name)


def deliver(
    directory: Path, folder: Path, patch: Path, weight: int = 5_000, sequence: int = 1, drains_until: str = ""
) -> None:
    """Write both prompts there, the candidate's weight in 1/10,000; a later delivery has a higher sequence.

    `drains_until` (RFC 3339): until then pins lead to the candidate, which was rolled back under `onRollback: Drain`.
    """
    # The operator's own rooms, which the services' image does not have.
    from promptrollout.delivery import ArmWeight, Payload, PinnedRevision, render  # noqa: PLC0415
    from promptrollout.revision import seal  # noqa: PLC0415

    rollout = documents.rollout_of(folder)
    changed = documents.patched(rollout, patch)
    stable, candidate = (seal(one["spec"]["prompt"]["inline"]) for one in (rollout, changed))
    on_trial = (ArmWeight("candidate", candidate.short, weight),) if weight else ()
    payload = Payload(
        rollout=f"default/{rollout['metadata']['name']}",
        sequence=sequence,
        exposure=sequence,
        unit="user",
        salt="try",
        arms=(*on_trial, ArmWeight("stable", stable.short, 10_000 - weight)),
        pinned=(PinnedRevision(candidate.short, drains_until),) if drains_until else (),
    )
    for file, text in render(payload, {one.short: one.document for one in (stable, candidate)}).items():
        (directory / file).write_text(text)


@dataclass
class Seen:
    """What services have counted, added up by arm."""

    sums: defaultdict[tuple[str, ...], float] = field(default_factory=lambda: defaultdict(float))

    @classmethod
    def of(cls, *urls: str) -> Seen:
        """Scrape them once."""
        seen = cls()
        for url in urls:
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as page:
                for family in text_string_to_metric_families(page.read().decode()):
                    for sample in family.samples:
                        labels = sample.labels
                        name = sample.name.removeprefix("promptrollout_")
                        what = next(
                            (labels[key] for key in ("outcome", "metric", "score") if key in labels), ""
                        )
                        seen.sums[labels.get("arm", ""), name, what] += sample.value
        return seen

    def requests(self, arm: str) -> float:
        """All of an arm."""
        return sum(self.sums[arm, "requests_total", one] for one in ("ok", "error", "aborted"))

    def ratio(self, arm: str, part: tuple[str, str], whole: tuple[str, str] | None = None) -> float:
        """One sum of another, of all requests if none is named; 0 when there is nothing."""
        below = self.sums[(arm, *whole)] if whole else self.requests(arm)
        return self.sums[(arm, *part)] / below if below else 0.0


#: A row of the table: what it says, and how an arm's figure is made.
Row = tuple[str, Callable[[Seen, str], str]]


def outcome(name: str) -> Row:
    """How many requests ended so: error, aborted."""
    return (name, lambda seen, arm: f"{seen.ratio(arm, ('requests_total', name)):.1%}")


def event(name: str) -> Row:
    """How many requests had an event."""
    return (name, lambda seen, arm: f"{seen.ratio(arm, ('events_total', name)):.1%}")


def score(name: str) -> Row:
    """The mean of a score."""
    return (name, lambda seen, arm: f"{seen.ratio(arm, ('score_sum', name), ('score_count', name)):.2f}")


def mean_ms(name: str, histogram: str) -> Row:
    """The mean of a histogram of seconds."""
    return (
        name,
        lambda seen, arm: (
            f"{1000 * seen.ratio(arm, (f'{histogram}_sum', ''), (f'{histogram}_count', '')):.0f} ms"
        ),
    )


def table(seen: Seen, rows: Sequence[Row]) -> str:
    """Both arms beside each other."""
    whole: list[Any] = [("requests", lambda seen, arm: f"{seen.requests(arm):.0f}"), *rows]
    lines = [f"{'':<22}{'stable':>12}{'candidate':>12}"]
    lines += [
        f"{name:<22}{figure(seen, 'stable'):>12}{figure(seen, 'candidate'):>12}" for name, figure in whole
    ]
    return "\n".join(lines)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
