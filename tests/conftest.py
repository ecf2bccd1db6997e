"""The order of the tests, and which of them one worker of several (`-n 2`) keeps together."""

import pytest
from xdist.scheduler import LoadFileScheduling

NODE = "tests/node/"
REAL = {"realcluster", "realregistry", "realnode"}


class ByFileAndOneNode(LoadFileScheduling):
    """A file's tests share its fixtures, so they stay together; those of the real node do, since a machine has one."""

    def _split_scope(self, nodeid: str) -> str:
        return NODE if nodeid.startswith(NODE) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """Instead of what `--dist` says."""
    return ByFileAndOneNode(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what takes longest and waits most, so that the workers end together."""

    def turn(item: pytest.Item) -> int:
        real = REAL & {mark.name for mark in item.iter_markers()}
        return 2 if not real else 1 if not item.nodeid.startswith(NODE) else 0

    items.sort(key=turn)
