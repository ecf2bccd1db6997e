"""What counts as news, and what is the operator's own echo."""

import pytest

from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.memory import Memory, newer

KEY = ObjectKey("shop", "support")


def seen(version="10", uid="u1"):
    return RolloutObject(KEY, uid, 1, version, {}, {})


def test_a_first_sight_is_news():
    assert Memory().take(seen())


def test_the_echo_of_an_own_write_is_no_news():
    memory = Memory()
    memory.take(seen("10"))
    memory.entries[KEY].seen = seen("12")
    assert not memory.take(seen("12"))
    assert not memory.take(seen("11"))
    assert memory.take(seen("13"))


def test_a_namesake_of_a_deleted_rollout_starts_with_an_empty_memory():
    memory = Memory()
    memory.take(seen("10"))
    memory.entries[KEY].written = (4, None)
    assert memory.take(seen("9", uid="u2"))
    assert memory.entries[KEY].written is None


@pytest.mark.parametrize(
    ("version", "than", "said"),
    [("100", "99", True), ("99", "100", False), ("7", "7", False), ("b", "a", True)],
)
def test_resource_versions_are_compared_as_numbers(version, than, said):
    assert newer(version, than) is said
