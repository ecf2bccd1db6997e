"""Which programs are taken, and from where."""

from pathlib import Path

import pytest

from e2e.controlplane.binaries import cache_folder, locate
from e2e.controlplane.programs import PROGRAMS, parse_go_version, required_go, required_version

KUBECTL = next(program for program in PROGRAMS if program.name == "kubectl")


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return path


def test_assets_of_the_user_come_before_the_cache(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "KUBEBUILDER_ASSETS": str(tmp_path / "assets")}
    cached = executable(KUBECTL.cached(cache_folder(environment)))
    assert locate(KUBECTL, environment) == cached
    own = executable(tmp_path / "assets" / "kubectl")
    assert locate(KUBECTL, environment) == own


def test_a_file_that_cannot_be_executed_is_no_program(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    executable(KUBECTL.cached(cache_folder(environment))).chmod(0o644)
    assert locate(KUBECTL, environment) is None


def test_every_version_is_the_one_that_go_mod_pins() -> None:
    assert all(program.version.startswith("v") for program in PROGRAMS)
    assert KUBECTL.version == required_version((KUBECTL.folder / "go.mod").read_text(), "k8s.io/kubernetes")
    assert f"gitVersion={KUBECTL.version}" in " ".join(KUBECTL.build_arguments(Path("x")))


def test_a_module_that_is_not_required_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"example\.org/none"):
        required_version("module x\n\nrequire k8s.io/kubernetes v1.0.0\n", "example.org/none")


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.8\n", (1, 26, 8)), ("module x\n\ngo 1.26.0\n", (1, 26, 0)), ("", ()), ("devel", ())],
)
def test_go_versions_are_read_from_go_and_from_go_mod(text: str, version: tuple[int, ...]) -> None:
    assert parse_go_version(text) == version


def test_an_unknown_go_is_too_old() -> None:
    assert parse_go_version("") < required_go()


def test_every_program_is_cached_under_what_it_is_built_from() -> None:
    assert len({program.key for program in PROGRAMS}) == len(PROGRAMS)
    assert len(KUBECTL.key) == 12
