"""Container images without a registry and without a builder: a layer of Python and packages, for `ctr images import`.

The interpreter and the packages are those of this environment (requirements.lock), so that what runs in the pod is what
the other tests have tested. The Dockerfiles of the repository are for users; they need a registry.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PYTHON = "opt/python"
_SITE = "opt/site"
_EPOCH = "1970-01-01T00:00:00Z"
_LEFT_OUT = {"__pycache__", "test", "tests", "site-packages", "idlelib", "tkinter", "ensurepip", "lib2to3"}


@dataclass(frozen=True)
class Image:
    """A Python image.

    Attributes:
        name: repository and tag.
        requires: distributions, with extras, whose closure is put in: `promptrollout[operator]`.
        trees: source folders by the module's name, put in as they are.
        scripts: programs on the PATH by name, each `module:function`.
    """

    name: str
    requires: Sequence[str]
    trees: Mapping[str, Path] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)


def write_python(image: Image, archive: Path) -> None:
    """Write the image as a docker-archive; its PATH has `python` and the scripts."""
    with _Layer(archive.with_suffix(".layer")) as layer:
        packages = sorted(_closure(image.requires), key=lambda d: d.name)
        _add_interpreter(layer, [file for found in packages for _, file in _files(found)])
        for found in packages:
            for name, file in _files(found):
                layer.file(file, f"{_SITE}/{name}")
        for name, folder in image.trees.items():
            layer.tree(folder, f"{_SITE}/{name}")
        for name, target in image.scripts.items():
            layer.text(f"usr/local/bin/{name}", _script(target), executable=True)
        layer.text("etc/passwd", "nobody:x:65532:65532::/tmp:/bin/false\n")
        layer.folder("tmp", 0o1777)
    environment = [
        "PATH=/usr/local/bin",
        f"PYTHONPATH=/{_SITE}",
        f"LD_LIBRARY_PATH=/{_PYTHON}/lib",
        "PYTHONUNBUFFERED=1",
        "PYTHONDONTWRITEBYTECODE=1",
    ]
    _write_archive(archive, image.name, layer.path, ["python"], environment)


def write_busybox(name: str, archive: Path, entrypoint: Sequence[str], binary: Path) -> None:
    """Write an image of static busybox alone."""
    with _Layer(archive.with_suffix(".layer")) as layer:
        layer.file(binary, "bin/busybox")
    _write_archive(archive, name, layer.path, entrypoint, ["PATH=/bin"])


class _Layer:
    """A tar of files that anyone may read, with no times and no owners: the same content gives the same digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: set[str] = set()

    def __enter__(self) -> _Layer:
        self._tar = tarfile.open(self.path, "w")
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def folder(self, name: str, mode: int = 0o755) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(info)

    def link(self, name: str, target: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)

    def text(self, name: str, text: str, *, executable: bool = False) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(text.encode()), 0o755 if executable else 0o644
        self._tar.addfile(info, io.BytesIO(text.encode()))

    def file(self, source: Path, name: str) -> None:
        if name in self._seen:
            return
        self._seen.add(name)
        info = tarfile.TarInfo(name)
        info.size = source.stat().st_size
        info.mode = 0o755 if os.access(source, os.X_OK) else 0o644
        with source.open("rb") as content:
            self._tar.addfile(info, content)

    def tree(self, folder: Path, name: str) -> None:
        """All files of a folder, symbolic links followed; caches and the like are left out."""
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not _LEFT_OUT & set(inside.parts):
                self.file(path, f"{name}/{inside}")


def _add_interpreter(layer: _Layer, packages: Sequence[Path]) -> None:
    """Python, its standard library, and the machine's shared libraries that it and the packages load."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    program = (prefix / "bin" / version).resolve()
    layer.file(program, f"{_PYTHON}/bin/{version}")
    layer.link("usr/local/bin/python", f"/{_PYTHON}/bin/{version}")
    layer.tree(prefix / "lib" / version, f"{_PYTHON}/lib/{version}")
    modules = sorted((prefix / "lib" / version / "lib-dynload").glob("*.so"))
    extensions = [file for file in packages if file.suffix == ".so"]
    for library in _libraries([program, *modules, *extensions]):
        if library.is_relative_to(prefix):
            layer.file(library, f"{_PYTHON}/lib/{library.name}")
        elif not library.is_relative_to(sys.prefix):
            layer.file(library, str(library).lstrip("/"))


def _libraries(programs: Sequence[Path]) -> list[Path]:
    """The shared libraries that these load, by the names that the loader looks for."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", said, re.MULTILINE)
    return sorted({Path(line) for line in found})


def _closure(requirements: Sequence[str]) -> set[Distribution]:
    """The distributions that these require, themselves included, but for those that are source trees of ours."""
    wanted = [Requirement(text) for text in requirements]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    while wanted:
        one = wanted.pop()
        name = canonicalize_name(one.name)
        found.setdefault(name, distribution(one.name))
        for extra in {"", *one.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for text in found[name].requires or []:
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    wanted.append(further)
    return set(found.values())


def _files(found: Distribution) -> list[tuple[str, Path]]:
    """A distribution's files, but for tests and caches: names in site-packages, and where they are."""
    named = [file for file in found.files or [] if not {"..", "__pycache__", "tests"} & set(file.parts)]
    located = [(str(file), Path(str(file.locate()))) for file in named if file.suffix != ".pth"]
    return [(name, path) for name, path in located if path.is_file()]


def _script(target: str) -> str:
    module, _, function = target.partition(":")
    return f"#!/usr/local/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"


def _write_archive(
    archive: Path, name: str, layer: Path, entrypoint: Sequence[str], environment: Sequence[str]
) -> None:
    digest = hashlib.sha256()
    with layer.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    config = json.dumps(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "created": _EPOCH,
            "config": {"Entrypoint": list(entrypoint), "Env": list(environment), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
            "history": [{"created": _EPOCH}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for file, text in ((config_name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(file)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        tar.add(layer, "layer.tar")
    layer.unlink()
