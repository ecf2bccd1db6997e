"""Who is told of what: Events always, channels by the rollout's wish and the administrator's word."""

from datetime import UTC, datetime

import pytest

from promptrollout.api.reasons import REASONS, TOLD
from promptrollout.api.spec import RolloutSpec
from promptrollout.cluster.objects import ObjectKey, RolloutObject
from promptrollout.controller.heralding import Herald
from promptrollout.notify import NotificationsConfig
from promptrollout.rollout import Note

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
KEY = ObjectKey("shop", "support")
STATUS = {
    "phase": "Progressing",
    "step": "2/3",
    "weight": "25%",
    "stableRevision": "aaaa000000",
    "candidateRevision": "bbbb000000",
    "analysis": {"verdict": "NonInferior"},
}
CHANNELS = {
    "team": {"type": "slack", "urlFile": "/s/url"},
    "audit": {"type": "webhook", "url": "https://x", "secretFile": "/s/key", "reasons": ["*"]},
    "search": {"type": "teams", "urlFile": "/s/url", "namespaces": ["search"]},
}


def rollout(status=STATUS, version="7", namespace="shop"):
    return RolloutObject(ObjectKey(namespace, "support"), "uid-1", 1, version, {}, status)


def spec(notify=None):
    return RolloutSpec.model_validate({"prompt": {"inline": {"text": "Hello"}}, "notify": notify})


class Cluster:
    def __init__(self):
        self.events = []

    def emit(self, regarding, kind, reason, message):
        self.events.append((kind, reason, message))


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
async def herald(cluster):
    """What the channels are told is kept, and nothing is sent."""

    def make(*default, channels=CHANNELS):
        config = NotificationsConfig.model_validate({"channels": channels, "defaultChannels": default})
        made = Herald(cluster, config, lambda *_: None, lambda: NOW)
        made.told = []
        made.dispatcher.post = lambda name, told: made.told.append((name, told))
        return made

    return make


def channels_told(herald, reason, seen=None):
    herald.told.clear()
    herald.tell(seen or rollout(), Note("Warning", reason, "it happened"))
    return [name for name, _ in herald.told]


async def test_every_note_is_an_event_whoever_else_is_told(herald, cluster):
    herald().tell(rollout(), Note("Warning", "RolledBack", "it harms"))
    assert cluster.events == [("Warning", "RolledBack", "it harms")]


async def test_a_rollout_without_a_wish_is_told_to_the_default_channels(herald):
    one = herald("team")
    one.heed(rollout(), spec())
    assert channels_told(one, "RolledBack") == ["team"]
    assert channels_told(one, "StepStarted") == []


async def test_an_empty_wish_is_none(herald):
    one = herald("team")
    one.heed(rollout(), spec([]))
    assert channels_told(one, "RolledBack") == []


@pytest.mark.parametrize("reason", REASONS)
async def test_a_channel_is_told_what_the_rollout_wants_else_its_own_else_what_people_need(herald, reason):
    one = herald("team")
    about_channels = reason.startswith("Notification")
    for notify, wanted in [
        ([{"channel": "team"}], reason in TOLD),
        ([{"channel": "audit"}], not about_channels),
        ([{"channel": "audit", "reasons": ["Promoted"]}], reason == "Promoted"),
        ([{"channel": "team", "reasons": ["*"]}], not about_channels),
        ([{"channel": "team", "reasons": []}], False),
    ]:
        one.heed(rollout(), spec(notify))
        assert channels_told(one, reason) == ([notify[0]["channel"]] if wanted else [])


async def test_a_channel_of_other_namespaces_is_told_nothing_and_that_is_said_once(herald, cluster):
    one, wish = herald(), spec([{"channel": "search"}])
    one.heed(rollout(), wish)
    one.heed(rollout(), wish)
    assert channels_told(one, "RolledBack") == []
    ((kind, reason, message), _) = cluster.events
    assert (kind, reason) == ("Warning", "NotificationUnknown")
    assert message.startswith(
        "spec.notify[0].channel: 'search' is not configured for namespace shop; use one of: audit, team."
    )
    one.heed(rollout(namespace="search"), wish)
    assert channels_told(one, "RolledBack", rollout(namespace="search")) == ["search"]


async def test_a_slip_of_the_pen_is_said_with_its_path_and_holds_nothing_up(herald, cluster):
    one = herald()
    one.heed(
        rollout(), spec([{"channel": "team", "reasons": ["RoledBack", "RolledBack"]}, {"channel": "teem"}])
    )
    assert [message.partition(":")[0] for _, _, message in cluster.events] == [
        "spec.notify[0].reasons",
        "spec.notify[1].channel",
    ]
    assert channels_told(one, "RolledBack") == ["team"]


async def test_a_spec_that_cannot_be_read_says_what_it_said_before(herald):
    one = herald()
    one.heed(rollout(), spec([{"channel": "team"}]))
    one.heed(rollout(), None)
    assert channels_told(one, "Invalid") == ["team"]
    one.forget(KEY)
    assert channels_told(one, "Invalid") == []


async def test_a_notification_says_how_the_rollout_stands_and_who_has_just_left(herald):
    one = herald("team")
    over = {"phase": "RollingBack", "stableRevision": "aaaa000000"}
    one.tell(rollout(over, "8"), Note("Warning", "RolledBack", "it harms"), STATUS)
    ((_, told),) = one.told
    assert (told.phase, told.weight, told.stable, told.candidate) == (
        "RollingBack",
        "",
        "aaaa000000",
        "bbbb000000",
    )
    assert told.verdict == "no worse than stable, within the margins"
    one.tell(rollout(over, "8"), Note("Warning", "RolledBack", "it harms"), STATUS)
    one.tell(rollout(over, "9"), Note("Warning", "RolledBack", "it harms"), STATUS)
    first, again, another = (told.id for _, told in one.told)
    assert first == again != another


async def test_a_credential_in_a_message_goes_to_no_channel(herald):
    one = herald("team")
    one.tell(rollout(), Note("Warning", "RolledBack", "source: Authorization: Bearer hunter2hunter2"))
    assert "hunter2" not in str(one.told)


async def test_what_a_channel_does_is_never_in_the_way(herald, cluster, caplog):
    one = herald("team")

    def broken(name, told):
        raise RuntimeError("no")

    one.dispatcher.post = broken
    one.tell(rollout(), Note("Warning", "RolledBack", "it harms"))
    assert cluster.events
    assert "could not be put to the channels" in caplog.text


async def test_a_channel_that_fails_is_said_at_the_rollout_and_to_no_channel(herald, cluster):
    one = herald("team")
    one.heed(rollout(), spec())
    one.tell(rollout(), Note("Warning", "RolledBack", "it harms"))
    ((_, told),) = one.told
    one._failed("team", told, "HTTP 404")
    assert cluster.events[-1][:2] == ("Warning", "NotificationFailed")
    assert "channel team was not told of RolledBack: HTTP 404" in cluster.events[-1][2]
    assert len(one.told) == 1
    one.forget(KEY)
    one._failed("team", told, "HTTP 404")
    assert len(cluster.events) == 2
