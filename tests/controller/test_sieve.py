"""What watch and list say in whatever order, the intake ends up with what is true."""

from hypothesis import given, settings
from hypothesis import strategies as st

from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.controller.children import KIND_LABEL
from promptrollout.controller.feed import Sieve

KEY = ObjectKey("shop", "support")


class Intake:
    """Knows what it was told, and notes what it must never be told."""

    def __init__(self):
        self.rollouts, self.told, self.wrong = {}, [], []

    def rollout_changed(self, seen):
        old = self.rollouts.get(seen.key)
        if old and old.uid != seen.uid:
            self.wrong.append(f"{seen.uid} took the place of {old.uid}, which never went")
        if old and int(old.resource_version) >= int(seen.resource_version):
            self.wrong.append(f"{seen.resource_version} came after {old.resource_version}")
        self.rollouts[seen.key] = seen
        self.told.append(seen.resource_version)

    def rollout_gone(self, key):
        self.rollouts.pop(key, None)
        self.told.append("gone")

    def configmap_changed(self, seen, *, gone):
        self.told.append((seen.key.name, gone))


def version(number, uid="a", key=KEY):
    return RolloutObject(key, uid, 1, str(number), {}, {})


def sieve():
    intake = Intake()
    return Sieve(intake), intake


def test_each_version_is_told_once_whoever_says_it_first():
    one, intake = sieve()
    assert one.rollout(version(5))
    assert not one.rollout(version(5), listed=True)
    assert one.rollout(version(7), listed=True)
    assert not one.rollout(version(7))
    assert not one.rollout(version(6))
    assert intake.told == ["5", "7"]


def test_a_late_word_of_a_deleted_namesake_is_not_taken_for_the_new_one():
    one, intake = sieve()
    one.rollout(version(5, "old"))
    one.rollout(version(9, "new"))
    one.rollout(version(6, "old"))
    one.rollout(version(8, "old"), gone=True)
    assert intake.told == ["5", "gone", "9"]
    assert intake.rollouts[KEY].uid == "new"


def test_a_list_that_was_read_before_a_deletion_does_not_bring_the_object_back():
    one, intake = sieve()
    one.rollout(version(5))
    before = one.begin_list()
    one.rollout(version(6), gone=True)
    one.rollout(version(5), listed=True)
    one.miss_rollouts(before, {KEY})
    assert intake.rollouts == {}


def test_a_deletion_that_no_watch_told_is_found_by_the_list():
    one, intake = sieve()
    one.rollout(version(5))
    assert one.miss_rollouts(one.begin_list(), set()) == 1
    assert intake.rollouts == {}


def test_what_was_created_while_a_list_was_read_is_not_taken_for_lost():
    one, intake = sieve()
    before = one.begin_list()
    one.rollout(version(5))
    assert one.miss_rollouts(before, set()) == 0
    assert KEY in intake.rollouts


def test_what_was_made_anew_while_a_list_was_read_is_not_taken_for_lost():
    one, intake = sieve()
    one.rollout(version(5, "old"))
    before = one.begin_list()
    one.rollout(version(6, "old"), gone=True)
    one.rollout(version(7, "new"))
    assert one.miss_rollouts(before, set()) == 0
    assert intake.rollouts[KEY].uid == "new"


def test_a_watch_is_deaf_when_it_has_not_told_what_the_list_has():
    one, _ = sieve()
    one.rollout(version(5))
    one.rollout(version(8), listed=True)
    assert one.unheard({KEY: version(8)}) == 1
    assert one.unheard({KEY: version(5)}) == 0
    one.rollout(version(8))
    assert one.unheard({KEY: version(8)}) == 0
    one.rollout(version(9), gone=True)
    assert one.unheard({KEY: version(8)}) == 0


def config_map(name, uid="1", kind="payload"):
    return ConfigMapObject(ObjectKey("shop", name), uid, "1", {"big": "content"}, labels={KIND_LABEL: kind})


def test_a_payload_that_vanished_unheard_is_found_by_the_list_and_a_revision_is_not_looked_for():
    one, intake = sieve()
    for name, kind in (("payload", "payload"), ("kept", "payload"), ("revision", "revision")):
        one.configmap(config_map(name, kind=kind))
    before = one.payloads
    assert all(payload.data == {} for payload in before)
    intake.told.clear()
    assert one.miss_payloads(before, {ObjectKey("shop", "kept")}) == 1
    assert intake.told == [("payload", True)]
    assert one.miss_payloads(one.payloads, {ObjectKey("shop", "kept")}) == 0


def test_a_payload_that_changed_while_the_list_was_read_is_not_taken_for_lost():
    one, intake = sieve()
    one.configmap(config_map("payload"))
    before = one.payloads
    one.configmap(config_map("payload", uid="2"))
    intake.told.clear()
    assert one.miss_payloads(before, set()) == 0
    one.configmap(config_map("payload", uid="1"), gone=True)
    assert [payload.uid for payload in one.payloads] == ["2"]


@st.composite
def histories(draw):
    """What really happens: each moment one object is made, changed or deleted. (number, key, uid, gone)"""
    alive, moments = {}, []
    for number in range(1, draw(st.integers(1, 14))):
        key = ObjectKey("shop", draw(st.sampled_from("ab")))
        gone = key in alive and draw(st.booleans())
        uid = alive.get(key) or f"{key.name}{number}"
        moments.append((number, key, uid, gone))
        if gone:
            del alive[key]
        else:
            alive[key] = uid
    return moments


def truth(moments):
    alive = {}
    for number, key, uid, gone in moments:
        if gone:
            alive.pop(key)
        else:
            alive[key] = version(number, uid, key)
    return alive


class List:
    """A list under way: what was true at one moment, told item by item."""

    def __init__(self, one, real):
        self.before, self.left, self.listed = one.begin_list(), list(real.values()), set(real)

    def tell(self, one):
        """The next item; whether that was all."""
        if self.left:
            one.rollout(self.left.pop(), listed=True)
            return False
        one.miss_rollouts(self.before, self.listed)
        return True


@given(histories(), st.data())
@settings(max_examples=300, deadline=None)
def test_the_intake_ends_with_the_truth_however_the_watch_shuffles_and_loses_and_the_list_lags(moments, data):
    """The watch keeps the order of one uid only, and may lose anything; a list is as old as when it was read."""
    one, intake = sieve()
    pending = {}
    for moment in moments:
        pending.setdefault(moment[2], []).append(moment)
    heard, reading = 0, None
    while any(pending.values()) or reading:
        choices = [uid for uid, left in pending.items() if left] + ["list"]
        choice = data.draw(st.sampled_from(choices))
        if choice != "list":
            number, key, uid, gone = pending[choice].pop(0)
            if data.draw(st.integers(0, 4)):
                one.rollout(version(number, uid, key), gone=gone)
                heard = max(heard, number)
        elif reading is None:
            if not any(pending.values()):
                break
            reading = List(one, truth(moments[: data.draw(st.integers(heard, len(moments)))]))
        elif reading.tell(one):
            reading = None
    last = List(one, truth(moments))
    while not last.tell(one):
        pass
    found = {key: (seen.uid, seen.resource_version) for key, seen in intake.rollouts.items()}
    assert found == {key: (seen.uid, seen.resource_version) for key, seen in truth(moments).items()}
    assert not intake.wrong
