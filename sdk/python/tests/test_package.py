"""The wheel in an empty environment: what it needs, that it works there, and that a user's program type-checks."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

from testkit import NEW, OLD, payload

SDK = Path(__file__).parents[1]

APPLICATION = """
import asyncio
import sys
from collections.abc import AsyncIterator

from promptrollout_sdk import Assignment, Judge, PromptRollout

rollout = PromptRollout.from_directory(sys.argv[1], default="Hi {{shop}}", scores=["helpfulness"])


async def words() -> AsyncIterator[str]:
    yield "w"


async def answer(a: Assignment) -> list[str]:
    async with a.request(aborts=(TimeoutError,)) as r:
        r.tokens(input=1, output=2)
        return [word async for word in r.astream(words())]


async def candidate(a: Assignment, /, *, shadow: bool) -> None:
    a.score("helpfulness", 0.5)


a = rollout.assign(unit="u1", pin=None)
said: list[str] = asyncio.run(answer(a))
text: str = a.render_text(shop="S")
a.score("helpfulness", 0.8)
started: bool = a.shadow(candidate)
Judge().score(a.token, "helpfulness", 1.0)
loaded = sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
print(a.revision, text, said, [name for name in loaded if not name.startswith("_")])
"""

WRONG = {
    "rollout.assign(unit=7)": "arg-type",
    'rollout.assign("u").score("helpfulness", "good")': "arg-type",
    'rollout.assign("u").render(shop="S").strip()': "attr-defined",
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An environment with the wheel as `pip install` puts it there, and prometheus-client as this one has it."""
    folder = tmp_path_factory.mktemp("empty")
    # A copy: a build writes beside its sources.
    shutil.copytree(SDK / "promptrollout_sdk", folder / "source" / "promptrollout_sdk")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(SDK / name, folder / "source" / name)
    pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(folder / "source"))
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    pip(f"--python={python}", "install", "--no-index", "--no-deps", str(wheel))
    site = (
        folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    )
    client = distribution("prometheus-client")
    for file in client.files or ():
        if file.suffix != ".pyc":
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(client.locate_file(file), site / file)
    return python


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, timeout=200)  # noqa: S603 - our own package


def run(*words, check=True):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(  # noqa: S603 - our own programs
        list(map(str, words)), check=check, env=env, capture_output=True, text=True, timeout=200
    )


def test_it_needs_prometheus_client_and_nothing_else(empty):
    said = run(
        empty,
        "-c",
        "from importlib.metadata import requires; print(*requires('promptrollout-sdk'), sep='\\n')",
    )
    needed = [line for line in said.stdout.splitlines() if "extra ==" not in line]
    assert needed == ["prometheus-client>=0.20"]


def test_it_works_there_and_imports_nothing_else(empty, mount, tmp_path):
    mount.deliver(payload())
    (tmp_path / "application.py").write_text(APPLICATION)
    said = run(empty, tmp_path / "application.py", mount.path).stdout
    revision, text = said.split()[:2]
    assert (revision, text) in ((NEW.short, "New"), (OLD.short, "Old"))
    assert said.rstrip().endswith("['w'] ['prometheus_client', 'promptrollout_sdk']")


def test_a_users_program_type_checks_strictly_and_mistakes_are_found(empty, tmp_path):
    (tmp_path / "application.py").write_text(APPLICATION)
    mypy = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--python-executable={empty}",
        f"--cache-dir={tmp_path}/cache",
    )
    run(*mypy, tmp_path / "application.py")
    for mistake, code in WRONG.items():
        (tmp_path / "wrong.py").write_text(f"{APPLICATION}\n{mistake}\n")
        found = run(*mypy, tmp_path / "wrong.py", check=False)
        assert found.stdout.count("error:") == 1, found.stdout
        assert f"[{code}]" in found.stdout
