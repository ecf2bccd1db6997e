"""The work of an order desk by tools: look up, ask, cancel, compute, pay back; and words for the customer afterwards.

It goes one step after the other, and stops when it is told to stop once the tools say that it is done. Told to be
thorough instead, it looks everything up again and again before it goes on, as models do that nobody has given an end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from examples.kit.model.conversation import Call, Conversation, Reply

_CONFIRMED = ("yes", "go ahead", "please do")
#: How often it looks once more when it is told to be thorough, and how often it forgets the fee.
_AGAIN, _SLIP = 0.85, 0.03


def work_at_desk(conversation: Conversation, chance: random.Random) -> Reply | None:
    """The next call of a tool, or what there is to tell."""
    if "find_order" not in conversation.tools:
        return None
    results = _results(conversation)
    order = _order(conversation)
    again = not conversation.is_told("stop") and chance.random() < _AGAIN
    if "find_order" not in results or again:
        return Reply(calls=[Call("find_order", {"order": order})])
    found = results["find_order"]
    asked = [str(m.get("content")).lower() for m in conversation.messages if m.get("role") == "user"]
    if "error" in found:
        return Reply(f"Tell the customer: {found['error']}.")
    if not any("cancel" in text for text in asked):
        what = f"order {order}, {found['quantity']} x {found['item']}, is {found['status']}"
        return Reply(f"Tell the customer: {what}.")
    if not any(word in asked[-1] for word in _CONFIRMED):
        what = f"{order}, {found['item']}, {found['price']} EUR, be cancelled"
        return Reply(f"Ask the customer to confirm that {what}.")
    return _cancel(order, found, results, chance)


def _cancel(
    order: str, found: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]], chance: random.Random
) -> Reply:
    """The steps of a confirmed cancellation, two at once where one does not need the other."""
    if "calculate" not in results:
        kept = found["status"] == "packed" and chance.random() >= _SLIP
        sum_ = f"{found['price']} * (1 - 0.1)" if kept else found["price"]
        return Reply(calls=[Call("cancel_order", {"order": order}), Call("calculate", {"expression": sum_})])
    if "refund" not in results:
        amount = results["calculate"].get("result", found["price"])
        return Reply(calls=[Call("refund", {"order": order, "amount": amount})])
    paid = results["refund"].get("refunded", "nothing")
    return Reply(f"Tell the customer: {order} is cancelled, {paid} EUR are paid back.")


def tell(conversation: Conversation, chance: random.Random) -> Reply | None:  # noqa: ARG001 - the shape of a skill
    """The notes of whoever did the work, in friendly words."""
    if not conversation.is_told("notes:"):
        return None
    told = "\n".join(str(m.get("content")) for m in conversation.messages if m.get("role") == "system")
    notes = told.rpartition("Notes:")[2].strip()
    for begins, friendly in (
        ("Tell the customer: ", ""),
        ("Ask the customer to confirm that", "Please confirm that"),
    ):
        notes = notes.replace(begins, friendly)
    return Reply(f"Thank you for waiting. {notes}")


def _results(conversation: Conversation) -> Mapping[str, Mapping[str, Any]]:
    """What each tool said in this turn, the latest; a tool's message answers the call of its id."""
    turn = _this_turn(conversation.messages)
    names = {call["id"]: call["function"]["name"] for m in turn for call in m.get("tool_calls") or []}
    return {
        names[m["tool_call_id"]]: json.loads(m["content"])
        for m in turn
        if m.get("role") == "tool" and m.get("tool_call_id") in names
    }


def _this_turn(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    asked = max((n for n, message in enumerate(messages) if message.get("role") == "user"), default=0)
    return messages[asked:]


def _order(conversation: Conversation) -> str:
    """The order that the system prompt says it is about."""
    told = "\n".join(str(m.get("content")) for m in conversation.messages if m.get("role") == "system")
    return told.rpartition("Order:")[2].split()[0].strip(".") if "Order:" in told else ""
