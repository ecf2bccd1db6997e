"""Finds the programs of the control plane, building what is missing.

Looked for, each program on its own, in this order: the folder `KUBEBUILDER_ASSETS`; the cache
`$XDG_CACHE_HOME/promptrollout/<key of its version>/`; a Go build into that cache. An
existing cluster is chosen in cluster.py.

`python -m e2e.controlplane.binaries [name ...]` does it and prints where they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.controlplane.build import BuildError, Say, build
from e2e.controlplane.programs import NODE_PROGRAMS, PROGRAMS, TEST_PROGRAMS, Program


@dataclass(frozen=True)
class Binaries:
    """Paths of the programs by name, `binaries["kubectl"]` say."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where built programs are kept, each in a folder named by what it was built from."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "promptrollout"


def locate(program: Program, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where the program is, None when it has to be built."""
    own = [Path(assets) / program.name for assets in [environment.get("KUBEBUILDER_ASSETS")] if assets]
    for candidate in [*own, program.cached(cache_folder(environment))]:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return None


def find(names: Iterable[str] | None = None, say: Say = print) -> Binaries:
    """The programs called `names` (default: PROGRAMS), built first where they are missing.

    Raises:
        BuildError: one could not be built.
    """
    chosen = {program.name for program in PROGRAMS} if names is None else set(names)
    wanted = [program for program in (*PROGRAMS, *NODE_PROGRAMS, *TEST_PROGRAMS) if program.name in chosen]
    missing = [program for program in wanted if locate(program) is None]
    if missing:
        build(missing, cache_folder(), say)
    paths = {program.name: locate(program) for program in wanted}
    return Binaries({name: path for name, path in paths.items() if path is not None})


def main(names: Sequence[str]) -> int:
    try:
        found = find(names or None, say=lambda line: print(line, flush=True))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for program in (*PROGRAMS, *NODE_PROGRAMS, *TEST_PROGRAMS):
        if program.name in found.paths:
            print(f"{program.name:24} {program.version:10} {found[program.name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
