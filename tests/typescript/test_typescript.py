"""The TypeScript SDK: compiled under its strict settings, then node's own runner over its tests."""

import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

PACKAGE = Path(__file__).parents[2] / "sdk" / "typescript"
TSC = PACKAGE / "node_modules" / ".bin" / "tsc"

pytestmark = pytest.mark.skipif(
    not TSC.exists() and not os.environ.get("CI"),
    reason="sdk/typescript has no node_modules: run `make typescript`",
)


def run(*command: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own tools
        command, cwd=PACKAGE, check=False, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="session")
def compiled():
    """The tests compiled, with the SDK they test."""
    for project, made in (("tsconfig.build.json", "dist"), ("tsconfig.json", "build")):
        shutil.rmtree(PACKAGE / made, ignore_errors=True)
        done = run(TSC, "-p", project)
        assert done.returncode == 0, done.stdout
    return PACKAGE / "build" / "tests"


def failures(report: Path) -> tuple[int, list[str]]:
    """How many tests ran, and what failed with its message."""
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - written by node just now
    failed = [
        f"{case.get('name')}: {failure.get('message') or ''}"
        for case in cases
        for failure in case.iter("failure")
    ]
    return len(cases), failed


def test_nodes_own_runner_passes(compiled, tmp_path):
    report = tmp_path / "report.xml"
    done = run(
        "node", "--test", "--test-reporter=junit", f"--test-reporter-destination={report}", f"{compiled}/"
    )
    ran, failed = failures(report)
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran > 100
