"""The volume's folder behaves as one that kubelet keeps."""

import threading
from pathlib import Path

from e2e.workload.projector import project


def shown(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("..")}


def test_files_appear_through_the_data_link(tmp_path: Path) -> None:
    assert project(tmp_path, {"rollout.json": b"1", "abc.json": b"2"})
    assert shown(tmp_path) == {"rollout.json": b"1", "abc.json": b"2"}
    assert (tmp_path / "rollout.json").readlink() == Path("..data/rollout.json")
    assert (tmp_path / "..data").is_symlink()


def test_unchanged_content_is_left_alone(tmp_path: Path) -> None:
    project(tmp_path, {"a": b"1"})
    version = (tmp_path / "..data").readlink()
    assert not project(tmp_path, {"a": b"1"})
    assert (tmp_path / "..data").readlink() == version


def test_a_change_leaves_one_version_and_no_stale_key(tmp_path: Path) -> None:
    project(tmp_path, {"a": b"1", "gone": b"x"})
    assert project(tmp_path, {"a": b"2", "new": b"y"})
    assert shown(tmp_path) == {"a": b"2", "new": b"y"}
    versions = [path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(versions) == 1


def test_a_folder_without_keys_still_has_a_version(tmp_path: Path) -> None:
    assert project(tmp_path, {})
    assert (tmp_path / "..data").is_dir()
    assert not project(tmp_path, {})


def test_a_reader_that_resolves_the_link_once_never_sees_a_mixture(tmp_path: Path) -> None:
    project(tmp_path, {"a": b"0", "b": b"0"})
    mixtures: list[tuple[bytes, bytes]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            version = tmp_path / (tmp_path / "..data").readlink()
            try:
                pair = ((version / "a").read_bytes(), (version / "b").read_bytes())
            except FileNotFoundError:
                continue  # it was replaced meanwhile; a reader takes the link again
            if pair[0] != pair[1]:
                mixtures.append(pair)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 200):
        content = str(number).encode()
        project(tmp_path, {"a": content, "b": content})
    stop.set()
    reader.join()
    assert not mixtures
