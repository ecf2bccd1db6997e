"""Building: one at a time, atomically, and a failure says why. The compiler here is a small script."""

import threading
from pathlib import Path

import pytest

from e2e.controlplane import build as building
from e2e.controlplane.build import BuildError, build
from e2e.controlplane.programs import PROGRAMS

TWO = PROGRAMS[:2]
WRITES_ITS_OUTPUT = 'while [ "$1" != -o ]; do shift; done; echo built > "$2"; chmod +x "$2"'


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "go"
    monkeypatch.setattr(building, "find_go", lambda _cache, _say: script)
    compile_by(script, WRITES_ITS_OUTPUT)
    return script


def compile_by(script: Path, body: str) -> None:
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def test_what_is_missing_is_built_and_what_is_there_is_not(go: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    said: list[str] = []
    build(TWO, folder, said.append)
    assert all(program.cached(folder).read_text() == "built\n" for program in TWO)
    assert {path.name for path in folder.iterdir()} == {".lock", *(program.key for program in TWO)}
    assert any("[2/2]" in line for line in said)
    compile_by(go, "exit 1")
    build(TWO, folder, said.append)


def test_a_failed_build_says_what_the_compiler_said_and_leaves_nothing_under_the_name(
    go: Path, tmp_path: Path
) -> None:
    compile_by(go, f'{WRITES_ITS_OUTPUT}; echo "x.go:1: undefined: nothing" >&2; exit 1')
    with pytest.raises(BuildError, match=r"(?s)etcd.*undefined: nothing"):
        build(TWO, tmp_path / "cache", lambda _line: None)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".lock"}


@pytest.mark.parametrize(
    ("complaint", "cure"),
    [
        ("write: no space left on device", "disk is full"),
        ("dial tcp: lookup failed", "GOPROXY"),
        ("compile: signal: killed", "memory"),
    ],
)
def test_a_failure_that_is_not_the_codes_comes_with_its_cure(
    go: Path, tmp_path: Path, complaint: str, cure: str
) -> None:
    compile_by(go, f'echo "{complaint}" >&2; exit 1')
    with pytest.raises(BuildError, match=cure):
        build(TWO, tmp_path / "cache", lambda _line: None)


def test_two_builders_share_one_build(go: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    compile_by(go, f"echo run >> {count}; {WRITES_ITS_OUTPUT}")
    builders = [
        threading.Thread(target=build, args=(TWO, tmp_path / "cache", lambda _line: None)) for _ in range(2)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert count.read_text().split() == ["run"] * len(TWO)
