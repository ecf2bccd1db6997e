"""MLflow's Python environment, exactly as requirements-mlflow.lock pins it: made once, in the user's cache folder.

`python -m e2e.mlflow.environment` makes it and prints where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from e2e.processes.supervisor import REPOSITORY

LOCK = REPOSITORY / "requirements-mlflow.lock"
Say = Callable[[str], None]


class EnvironmentError(RuntimeError):  # noqa: A001 - of Python environments
    """The environment could not be made; the message is pip's."""


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where it is; another lock file or another Python is another folder."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()[:12]
    return Path(base) / "promptrollout" / f"mlflow-{digest}"


def find(say: Say = print) -> Path:
    """The folder of its programs (python, mlflow); made first if it is missing. Raises EnvironmentError."""
    target = folder()
    ready = target / ".ready"
    if not ready.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may want it at once
            if not ready.is_file():
                say(f"installing MLflow into {target} (about 850 MB, a minute or two, once)")
                _make(target)
                ready.touch()
    return target / "bin"


def _make(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for argv in ([sys.executable, "-m", "venv", str(target)], [*pip, "--require-hashes", "-r", str(LOCK)]):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EnvironmentError(f"{' '.join(argv)}: {(done.stdout + done.stderr).strip()}")


def main() -> int:
    try:
        print(find(lambda line: print(line, flush=True)))
    except EnvironmentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
