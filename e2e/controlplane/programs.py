"""Which programs the control plane is made of, what they are built from, and how long a cold build took.

Versions stand in the go.mod files of e2e/binaries; nothing here repeats them.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).resolve().parents[1] / "binaries"
GO_WHEEL = MODULES / "go.lock"


@dataclass(frozen=True)
class Program:
    """One program: built from `package` inside the module folder `module`, whose version is that of `pinned`.

    `cold_s`: seconds of a build with empty caches, in the order of PROGRAMS (the later ones share what the earlier
    compiled), downloads included; measured on 2 cores of which about half were busy otherwise.
    """

    name: str
    module: str
    package: str
    pinned: str
    cold_s: float
    version_flags: str = ""
    tags: str = ""

    @property
    def folder(self) -> Path:
        return MODULES / self.module

    @property
    def version(self) -> str:
        return required_version((self.folder / "go.mod").read_text(), self.pinned)

    @property
    def key(self) -> str:
        """Changes with whatever can change the binary: its module's pins, flags, operating system, architecture."""
        digest = hashlib.sha256(f"{sys.platform} {platform.machine()}".encode())
        digest.update("\0".join(self.build_arguments(Path(self.name))).encode())
        own = ["main.go"] if self.package == "." else []
        for file in ("go.mod", "go.sum", *own):
            digest.update((self.folder / file).read_bytes())
        return digest.hexdigest()[:12]

    def cached(self, cache: Path) -> Path:
        """Where it is kept in the folder `cache`."""
        return cache / self.key / self.name

    def build_arguments(self, output: Path) -> list[str]:
        """What follows `go`; CGO_ENABLED=0 makes it static."""
        linker = (
            f"-s -w {self.version_flags.format(version=self.version, short=self.version.lstrip('v'))}".strip()
        )
        tags = ["-tags", self.tags] if self.tags else []
        return ["build", "-trimpath", *tags, "-ldflags", linker, "-o", str(output), self.package]


_KUBERNETES = (
    "-X k8s.io/component-base/version.gitVersion={version} "
    "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
)

#: In the order in which they are built: what gives the first sign of life soonest comes first.
PROGRAMS: tuple[Program, ...] = (
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", 63),
    Program(
        "kube-apiserver",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes",
        403,
        _KUBERNETES,
    ),
    Program("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes", 41, _KUBERNETES),
    Program(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
        "github.com/prometheus/prometheus",
        145,
        "-X github.com/prometheus/common/version.Version={short}",
        tags="remove_all_sd",  # leaves static and file discovery: 1,043 of 1,517 packages
    ),
    Program(
        "kube-controller-manager",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes",
        135,
        _KUBERNETES,
    ),
    Program(
        "helm",
        "helm",
        "helm.sh/helm/v4/cmd/helm",
        "helm.sh/helm/v4",
        146,
        "-X helm.sh/helm/v4/internal/version.version={version}",
    ),
)

#: What a real node has besides (make e2e-node); only built when asked for by name.
NODE_PROGRAMS: tuple[Program, ...] = (
    Program(
        "kube-scheduler",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes",
        30,
        _KUBERNETES,
    ),
    Program("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes", 80, _KUBERNETES),
)

#: What single tests need; only built when asked for by name.
TEST_PROGRAMS: tuple[Program, ...] = (
    Program("flagd-evaluator", "flagd", ".", "github.com/open-feature/flagd/core", 45),
    Program(
        "promtool",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/promtool",
        "github.com/prometheus/prometheus",
        60,
        tags="remove_all_sd",
    ),
)


def required_version(go_mod: str, module: str) -> str:
    """The version that the text of a go.mod requires of `module`, such as `v1.37.2`."""
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise LookupError(f"go.mod requires no {module}")
    return found.group(1)


def required_go() -> tuple[int, ...]:
    """The oldest Go that all modules accept, such as (1, 26, 0)."""
    return max(
        parse_go_version((MODULES / name / "go.mod").read_text()) for name in {p.module for p in PROGRAMS}
    )


def parse_go_version(text: str) -> tuple[int, ...]:
    """From a go.mod (`go 1.26.0`) or `go version`'s answer (`go1.26.8`); empty when there is none."""
    found = re.search(r"^go ?(\d+(?:\.\d+)*)", text, re.MULTILINE)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()
