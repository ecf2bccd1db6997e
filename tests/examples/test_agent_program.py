"""The agent's own logic: tools on its database, the loop and its budget, pins, and what counts as success."""

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from examples.agent import desk as desks
from examples.agent.desk import BUDGET, OVER_BUDGET, SUCCESS, Desk, ModelError, Reply, wish_of
from examples.agent.orders import Orders, ToolError, calculate
from examples.agent.sessions import NoConversationError, Sessions
from examples.kit import trial
from promptrollout_sdk import PromptRollout
from tests.examples.counters import counted

FOLDER = Path(desks.__file__).parent
TRY = FOLDER / "tries" / "thorough.yaml"
PAID, PACKED, SHIPPED = "A-1", "A-2", "A-3"


@pytest.fixture
def orders():
    made = Orders()
    made.fill(6)
    return made


# Tools


def test_the_calculator_is_exact_and_knows_nothing_but_sums():
    assert calculate("58.10 * (1 - 0.1)") == {"result": "52.29"}
    assert calculate("10/3") == {"result": "3.33"}
    for wrong in ("__import__('os')", "2 ** 9", "1 / 0", "1 +", "a", "1e9999999", "(" * 150, "1" * 300, ""):
        with pytest.raises(ToolError):
            calculate(wrong)


def test_an_order_is_cancelled_and_paid_back_once(orders):
    price = orders.get(PACKED).cents
    assert json.loads(orders.call("refund", f'{{"order": "{PACKED}", "amount": "1"}}')) == {
        "error": f"{PACKED} is packed; cancel it first"
    }
    orders.cancel_order(PACKED)
    orders.cancel_order(PACKED)
    orders.refund(PACKED, f"{price * 9 // 10 / 100:.2f}")
    assert (orders.get(PACKED).status, orders.get(PACKED).refunded) == ("cancelled", price * 9 // 10)
    with pytest.raises(ToolError, match="paid back already"):
        orders.refund(PACKED, "1.00")


def test_a_shipped_order_stays_and_no_more_is_paid_back_than_was_paid(orders):
    with pytest.raises(ToolError, match="shipped"):
        orders.cancel_order(SHIPPED)
    orders.cancel_order(PAID)
    for amount in ("99999", "0", "-5", "a lot"):
        with pytest.raises(ToolError):
            orders.refund(PAID, amount)
    assert orders.get(PAID).refunded == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("find_order", "{}"),
        ("find_order", "no json"),
        ("find_order", "[1]"),
        ("drop_table", "{}"),
        ("find_order", '{"order": "A-99"}'),
    ],
)
def test_a_call_that_is_none_is_told_to_the_model(orders, name, arguments):
    assert "error" in json.loads(orders.call(name, arguments))


def test_a_database_that_is_filled_keeps_its_orders(tmp_path):
    first = Orders(tmp_path / "desk.db")
    first.fill(3)
    first.cancel_order(PAID)
    again = Orders(tmp_path / "desk.db")
    again.fill(3)
    assert again.get(PAID).status == "cancelled"


# Turns


def call(number, name, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call-{number}", "type": "function", "function": function}


class Scripted:
    """Planner's replies one after the other, the last again and again; the answerer repeats its system prompt."""

    def __init__(self, *planned):
        self.planned = list(planned)
        self.asked = []

    async def __call__(self, assignment, messages, tools, r):
        self.asked.append(messages)
        r.tokens(input=1)
        if not tools:
            return Reply({"role": "assistant", "content": messages[0]["content"]})
        reply = self.planned.pop(0) if len(self.planned) > 1 else self.planned[0]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, str):
            return Reply({"role": "assistant", "content": reply})
        return Reply({"role": "assistant", "content": None, "tool_calls": reply})


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def mount(tmp_path):
    mounted = tmp_path / "prompts"
    mounted.mkdir()
    trial.deliver(mounted, FOLDER, TRY)
    return mounted


@pytest.fixture
def rollout(mount, registry):
    loaded = PromptRollout.from_directory(
        mount, registry=registry, events=[OVER_BUDGET], scores=[SUCCESS], watch=False
    )
    yield loaded
    loaded.close()


async def test_a_turn_with_all_its_calls_is_one_request(rollout, registry, orders):
    wish = wish_of(orders, PAID, cancel=True)
    price = f"{orders.get(PAID).cents / 100:.2f}"
    model = Scripted(
        [call(1, "find_order", order=PAID)],
        [call(2, "cancel_order", order=PAID), call(3, "calculate", expression=price)],
        [call(4, "refund", order=PAID, amount=price)],
        "It is done.",
    )
    desk = Desk(rollout, model, orders)
    turn = await desk.turn(Sessions().open(wish), "Yes, go ahead.")
    assert "Notes: It is done." in turn.answer
    assert counted(registry, "requests_total") == 1
    assert counted(registry, "tokens_total", direction="input") == 5
    last = model.asked[3]  # the planner's fourth look has all results, each beside its call
    assert [m.get("tool_call_id") for m in last if m["role"] == "tool"] == [f"call-{n}" for n in (1, 2, 3, 4)]
    assert PAID in last[0]["content"]
    assert desk.close(turn.conversation)
    assert counted(registry, "score_sum", score=SUCCESS) == 1.0


async def test_a_planner_without_an_end_is_stopped_and_nobody_has_what_they_came_for(
    rollout, registry, orders
):
    model = Scripted([call(1, "find_order", order=PAID)])
    desk = Desk(rollout, model, orders)
    turn = await desk.turn(Sessions().open(wish_of(orders, PAID, cancel=True)), "Yes, go ahead.")
    assert len(model.asked) == BUDGET + 1
    assert counted(registry, "events_total", metric=OVER_BUDGET) == 1
    assert counted(registry, "requests_total", outcome="ok") == 1
    assert not desk.close(turn.conversation)
    assert (
        counted(registry, "score_count", score=SUCCESS),
        counted(registry, "score_sum", score=SUCCESS),
    ) == (1, 0)


async def test_a_model_that_fails_counts_once_and_leaves_the_conversation_as_it_was(
    rollout, registry, orders
):
    conversation = Sessions().open(wish_of(orders, PAID, cancel=False))
    with pytest.raises(ModelError):
        await Desk(rollout, Scripted(ModelError("gone")), orders).turn(conversation, "Where is it?")
    assert counted(registry, "requests_total", outcome="error") == 1
    assert counted(registry, "requests_total") == 1
    assert conversation.pin == ""


async def test_the_wrong_amount_is_no_success(rollout, orders):
    desk = Desk(rollout, Scripted("never mind"), orders)
    conversation = Sessions().open(wish_of(orders, PACKED, cancel=True))
    orders.cancel_order(PACKED)
    orders.refund(PACKED, f"{orders.get(PACKED).cents / 100:.2f}")  # the fee was forgotten
    assert not desk.close(conversation)


def test_who_asks_for_what_cannot_be_had_is_told(orders):
    with pytest.raises(ToolError, match="shipped"):
        wish_of(orders, SHIPPED, cancel=True)
    assert wish_of(orders, SHIPPED, cancel=False)["status"] == "shipped"


# Pins


async def test_a_conversation_keeps_its_prompt_while_weights_change(tmp_path, mount, rollout, orders):
    desk = Desk(rollout, Scripted("done"), orders)
    store = Sessions(tmp_path / "desk.db")
    turns = [
        await desk.turn(store.open(wish_of(orders, PAID, cancel=False)), "Where is it?") for _ in range(40)
    ]
    began = {turn.conversation.id: turn.revision for turn in turns if turn.arm == "candidate"}
    assert 0 < len(began) < 40
    for turn in turns:
        store.keep(turn.conversation)
    trial.deliver(mount, FOLDER, TRY, weight=1, sequence=2)  # by its bucket nobody would be there
    assert rollout.refresh()
    again = Sessions(tmp_path / "desk.db")  # as after a restart
    later = [await desk.turn(again.get(turn.conversation.id), "And now?") for turn in turns]
    assert {one.conversation.id: one.revision for one in later if one.arm == "candidate"} == began
    assert (await desk.turn(store.open(wish_of(orders, PAID, cancel=False)), "Where is it?")).arm == "stable"


@pytest.mark.parametrize(
    ("drains_until", "keeps"), [("", False), ("2999-01-01T00:00:00Z", True), ("2020-01-01T00:00:00Z", False)]
)
async def test_after_a_rollback_conversations_get_stable_at_once_or_while_they_drain_end_as_they_began(
    mount, rollout, orders, drains_until, keeps
):
    desk, store = Desk(rollout, Scripted("done"), orders), Sessions()

    def opened():
        return store.open(wish_of(orders, PAID, cancel=False))

    turns = [await desk.turn(opened(), "Where is it?") for _ in range(40)]
    began = [turn for turn in turns if turn.arm == "candidate"]
    assert 0 < len(began) < 40
    trial.deliver(mount, FOLDER, TRY, weight=0, sequence=2, drains_until=drains_until)
    assert rollout.refresh()
    later = [await desk.turn(turn.conversation, "And now?") for turn in began]
    assert {turn.revision == began[0].revision for turn in later} == {keeps}
    again = [await desk.turn(turn.conversation, "And now?") for turn in later]
    assert [turn.revision for turn in again] == [turn.revision for turn in later]
    assert {(await desk.turn(opened(), "Where is it?")).arm for _ in range(20)} == {"stable"}


def test_a_conversation_that_is_over_cannot_go_on():
    store = Sessions()
    conversation = store.open({"order": PAID})
    store.close(conversation, done=True)
    for name in (conversation.id, "never"):
        with pytest.raises(NoConversationError):
            store.get(name)
