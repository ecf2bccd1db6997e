"""The dispatcher in virtual time: what a channel does, and what it never does to others."""

import asyncio
import logging

import pytest

from promptrollout.notify import Dispatcher, Hooks, NotifierError
from promptrollout.notify.config import ChannelConfig
from promptrollout.notify.dispatcher import GIVE_UP_S, QUEUE_SIZE, Channel
from promptrollout.notify.templates import compiled

pytestmark = pytest.mark.looptime


class Other:
    """The other side: fails as it is told, by letter or for ever."""

    def __init__(self, *errors, forever=None):
        self.errors, self.forever = list(errors), forever
        self.sent, self.tried, self.closed = [], 0, False

    async def check(self):
        return ""

    async def send(self, letter):
        self.tried += 1
        error = self.errors.pop(0) if self.errors else self.forever
        if error == "hang":
            await asyncio.sleep(1e9)
        if error:
            raise error
        self.sent.append((asyncio.get_running_loop().time(), letter))

    async def close(self):
        self.closed = True


class Room:
    """A dispatcher with channels of that kind, and what its hooks were told."""

    def __init__(self, others, **settings):
        self.results, self.failures, self.others = [], [], others
        hooks = Hooks(lambda name, what: self.results.append((name, what)), self._failed)
        config = ChannelConfig.model_validate({"type": "webhook", "url": "http://x", **settings})
        self.dispatcher = Dispatcher(
            {
                name: Channel(name, config, other, compiled(None, None), hooks)
                for name, other in others.items()
            }
        )

    def _failed(self, name, told, why):
        self.failures.append((name, told.reason, why))

    def count(self, name, what):
        return self.results.count((name, what))


@pytest.fixture
async def room():
    rooms = []

    def make(others, **settings):
        one = Room(others if isinstance(others, dict) else {"team": others}, **settings)
        one.dispatcher.start()
        rooms.append(one)
        return one

    yield make
    for one in rooms:
        await one.dispatcher.close(0.0)
        assert all(other.closed for other in one.others.values())


DOWN = NotifierError("HTTP 503")


async def test_what_is_posted_is_sent(room, told):
    other = Other()
    here = room(other)
    here.dispatcher.post("team", told())
    await asyncio.sleep(0.1)
    assert [letter.title for _, letter in other.sent] == ["shop/support: RolledBack"]
    assert (here.results, here.failures) == ([("team", "sent")], [])


async def test_a_channel_that_hangs_delays_neither_its_caller_nor_another_channel(room, told):
    fine, dead = Other(), Other(forever="hang")
    here = room({"fine": fine, "dead": dead})
    before = asyncio.get_running_loop().time()
    for name in ("dead", "fine"):
        here.dispatcher.post(name, told())
    assert asyncio.get_running_loop().time() == before
    await asyncio.sleep(0.1)
    assert len(fine.sent) == 1


async def test_a_failure_that_may_pass_is_tried_again_with_growing_pauses(room, told, caplog):
    other = Other(DOWN, DOWN, DOWN)
    caplog.set_level(logging.INFO, "promptrollout")
    here = room(other)
    here.dispatcher.post("team", told())
    await asyncio.sleep(30)
    assert (other.tried, here.count("team", "sent")) == (4, 1)
    assert 3.5 <= other.sent[0][0] <= 7.5  # half to whole of 1 s, 2 s and 4 s
    assert [record.message for record in caplog.records] == [
        "channel team: HTTP 503; it is tried again",
        "channel team: it can be reached again",
    ]


async def test_the_pause_that_the_other_side_asks_for_is_kept_and_bounded(room, told):
    other = Other(NotifierError("HTTP 429", after=20.0), NotifierError("HTTP 429", after=1e9))
    room(other).dispatcher.post("team", told())
    await asyncio.sleep(100)
    assert other.sent[0][0] == pytest.approx(80.0, abs=1)


async def test_who_asks_for_no_pause_at_all_gets_one(room, told):
    other = Other(*[NotifierError("HTTP 429", after=0.0)] * 5)
    room(other).dispatcher.post("team", told())
    await asyncio.sleep(100)
    assert other.sent[0][0] == pytest.approx(5.0, abs=0.1)


async def test_a_failure_that_is_final_is_not_repeated_and_is_told(room, told):
    other = Other(NotifierError("HTTP 404", final=True))
    here = room(other)
    here.dispatcher.post("team", told())
    await asyncio.sleep(30)
    assert (other.tried, here.failures) == (1, [("team", "RolledBack", "HTTP 404")])


async def test_a_letter_is_given_up_after_a_while_and_the_rest_is_summed_up_when_the_channel_is_back(
    room, told
):
    other = Other(forever=DOWN)
    here = room(other)
    here.dispatcher.post("team", told())
    await asyncio.sleep(GIVE_UP_S + 1)
    assert here.failures == [("team", "RolledBack", "HTTP 503")]
    assert 10 < other.tried < 25
    other.forever = None
    await asyncio.sleep(120)
    ((_, letter),) = other.sent
    assert letter.title == "1 more notification was not sent one by one"
    assert letter.text.startswith("1 RolledBack; of shop/support.")


async def test_a_letter_that_comes_late_says_when_it_happened(room, told):
    other = Other(*[DOWN] * 10)
    here, notification = room(other), told()
    here.dispatcher.post("team", notification)
    await asyncio.sleep(GIVE_UP_S)
    assert other.sent[0][1].text.endswith(f"(it happened at {notification.as_texts()['at']})")


async def test_a_flood_is_cut_and_told_in_one_summary(room, told):
    other = Other()
    here = room(other, burst=3, perMinute=2)
    for number in range(20):
        here.dispatcher.post("team", told(rollout=f"r{number}"))
    await asyncio.sleep(1)
    assert (len(other.sent), here.count("team", "held")) == (3, 17)
    await asyncio.sleep(60)
    (_, _, _, (at, summary)) = other.sent
    assert at == pytest.approx(60.0, abs=0.1)
    assert summary.title == "17 more notifications were not sent one by one"
    assert "17 RolledBack; of shop/r3, shop/r4, shop/r5, shop/r6, shop/r7 and 12 more" in summary.text


async def test_what_waits_for_a_dead_channel_is_bounded(room, told):
    here = room(Other(forever=DOWN), burst=600, perMinute=600)
    await asyncio.sleep(0.1)
    for number in range(QUEUE_SIZE + 50):
        here.dispatcher.post("team", told(rollout=f"r{number}"))
    assert here.dispatcher.waiting == QUEUE_SIZE
    assert here.count("team", "dropped") == 50


async def test_an_error_of_any_kind_ends_no_channel_and_is_not_quoted(room, told, caplog):
    other = Other(ValueError("hunter2"), RuntimeError("hunter2"))
    here = room(other)
    here.dispatcher.post("team", told())
    await asyncio.sleep(30)
    assert here.count("team", "sent") == 1
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_at_the_end_what_waits_is_sent(room, told):
    other = Other()
    here = room(other)
    for number in range(5):
        here.dispatcher.post("team", told(rollout=f"r{number}"))
    await here.dispatcher.close()
    assert len(other.sent) == 5


@pytest.mark.parametrize(("forever", "longest"), [(DOWN, 0.5), ("hang", 3.5)])
async def test_a_dead_channel_does_not_hold_up_the_end(room, told, caplog, forever, longest):
    here = room(Other(forever=forever))
    here.dispatcher.post("team", told())
    await asyncio.sleep(0.1)
    before = asyncio.get_running_loop().time()
    await here.dispatcher.close()
    assert asyncio.get_running_loop().time() - before <= longest
    assert "channel team: 1 notifications were not sent" in caplog.text


async def test_a_broken_template_and_wrong_settings_are_said_at_start(room, told, caplog):
    class Wrong(Other):
        async def check(self):
            return "url does not hold a webhook of Slack's"

    hooks = Hooks(lambda *_: None, lambda *_: None)
    config = ChannelConfig.model_validate({"type": "webhook", "url": "http://x"})
    wrong = Wrong()
    here = Dispatcher({"team": Channel("team", config, wrong, compiled(None, "{{ mesage }}"), hooks)})
    here.start()
    await asyncio.sleep(0.1)
    here.post("team", told())
    here.post("nobody", told())
    await here.close()
    assert [record.message for record in caplog.records] == [
        "channel team: template: 'mesage' is undefined; the default is used instead",
        "channel team: url does not hold a webhook of Slack's",
    ]
    assert "'mesage' is undefined" in wrong.sent[0][1].text
