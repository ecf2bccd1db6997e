"""Tells a rollout's story in the terminal while it happens: one line for each thing decided, and a live picture."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from e2e.views import Status, rollback_timings

_COLOURS = {"Healthy": "green", "Degraded": "red", "RollingBack": "red", "Paused": "yellow", "Invalid": "red"}
_BAR = 40


class Narrator:
    """Prints to a console; on a terminal it keeps a picture of the current state below what was printed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._last: tuple[str, str, int] | None = None

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.rule(Text(text, style="bold"), align="left")

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(f"{time.monotonic() - self._began:6.1f} s  {text}", style=style))

    def shell(self, command: str, output: str) -> None:
        """A command and what it really printed."""
        self.console.print(Text(f"$ {command}", style="bold cyan"))
        self.console.print(Text(output.rstrip(), style="dim"))

    def status(self, status: Status) -> None:
        """One line when phase, step or weight have changed."""
        with self._lock:
            now = (status.phase, status.step, status.weight)
            if now == self._last or not status.phase:
                return
            self._last = now
        per_cent = f"{status.weight / 100:g} %"
        line = f"{status.phase:12} step {status.step or '-':4} candidate {per_cent:>6}  {status.message}"
        self.say(line, _COLOURS.get(status.phase, ""))

    def numbers(self, status: Status) -> None:
        """What the decision rests on."""
        self.console.print(evidence_table(status))

    def rollback(self, status: Status) -> None:
        """How fast it was, part by part."""
        timings = rollback_timings(status.rollback)
        parts = {
            "data readable -> ConfigMap written": timings["readable_to_written"],
            "ConfigMap written -> last pod back at stable": timings["written_to_acknowledged"],
            "in all": timings["readable_to_acknowledged"],
        }
        for what, seconds in parts.items():
            self.say(f"{what}: {'not recorded' if seconds is None else f'{seconds * 1000:.0f} ms'}", "bold")

    @contextlib.contextmanager
    def picture(self, current: Live | None) -> Iterator[None]:
        """Keep the live picture while the block runs; nothing without a terminal."""
        if current is None:
            yield
        else:
            with current:
                yield

    def live(self, render: Renderer) -> Live | None:
        if not self.console.is_terminal:
            return None
        return Live(get_renderable=render.render, console=self.console, refresh_per_second=4, transient=True)


class Renderer:
    """The live picture of one rollout."""

    def __init__(self) -> None:
        self.current: Status | None = None

    def render(self) -> RenderableType:
        status = self.current
        if status is None or not status.phase:
            return Text("waiting for the operator …")
        filled = round(status.weight / 10000 * _BAR)
        bar = Text("█" * filled, style="yellow") + Text("█" * (_BAR - filled), style="green")
        legend = (
            f"  candidate {status.candidate or '-'} {status.weight / 100:g} %   stable {status.stable or '-'}"
        )
        title = f"{status.phase}  {status.step}"
        style = _COLOURS.get(status.phase, "cyan")
        return Panel(
            Group(bar + Text(legend), evidence_table(status), Text(status.message)),
            title=title,
            border_style=style,
        )


def evidence_table(status: Status) -> Table:
    """Each metric: both arms' values, the evidence for harm and for non-inferiority, the verdict."""
    table = Table(box=None, pad_edge=False, min_width=100)
    for column in ("metric", "role", "stable", "candidate", "answers", "harm", "non-inferior", "verdict"):
        table.add_column(column, no_wrap=True)
    for metric in status.metrics:
        fields = ("name", "role", "stable", "candidate", "samples", "harm", "nonInferiority", "verdict")
        table.add_row(*(metric.text(name) for name in fields))
    return table
