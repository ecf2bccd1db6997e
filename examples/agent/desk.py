"""One turn of the agent: it plans and calls tools until it is done or its budget is, then answers.

However many calls a turn takes, and however often one is tried again, it is one logical request: all of it stands
inside one `with assignment.request()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from examples.agent.orders import Orders, ToolError
from examples.agent.sessions import Conversation
from promptrollout_sdk import Assignment, PromptRollout, Request

#: Calls of the planner in one turn. What is not done then is not done.
BUDGET = 8
OVER_BUDGET = "over_budget"
SUCCESS = "task_success"

Message = dict[str, Any]


class ModelError(RuntimeError):
    """The model gave no answer, after all tries."""


@dataclass(frozen=True)
class Reply:
    """What the model says: text, or tools to call, in the provider's format."""

    message: Message

    @property
    def text(self) -> str:
        """What it says; empty while it calls tools."""
        return str(self.message.get("content") or "")

    @property
    def calls(self) -> Sequence[Mapping[str, Any]]:
        """The tools that it wants to be called."""
        return self.message.get("tool_calls") or []


class Model(Protocol):
    """Whoever answers; ModelError when nobody does. Tokens and cost are its to tell to `r`."""

    async def __call__(
        self,
        assignment: Assignment,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        r: Request,
    ) -> Reply:
        """The model's next message."""
        ...


@dataclass(frozen=True)
class Turn:
    """What came of a turn: the conversation with it, the answer, and whose prompt it was."""

    conversation: Conversation
    answer: str
    revision: str
    arm: str


class Desk:
    """Talks to customers, and says at the end whether they got what they came for."""

    def __init__(self, rollout: PromptRollout, model: Model, orders: Orders) -> None:
        self._rollout = rollout
        self._model = model
        self._orders = orders

    async def turn(self, conversation: Conversation, said: str) -> Turn:
        """One turn. ModelError when there is no answer; the conversation stays as it was then.

        The pin of the turns before keeps the prompt, also while a ramp moves this conversation's bucket.
        """
        assignment = self._rollout.assign(unit=conversation.id, pin=conversation.pin or None)
        history: list[Message] = [*map(dict, conversation.messages), {"role": "user", "content": said}]
        with assignment.request() as r:
            notes = await self._plan(assignment, conversation, history, r)
            messages = assignment.render(part="answerer", notes=notes, question=said)
            answer = (await self._model(assignment, messages, [], r)).text
        kept = replace(
            conversation,
            messages=[*history, {"role": "assistant", "content": answer}],
            pin=assignment.pin,
            token=assignment.token,
        )
        return Turn(kept, answer, assignment.revision, assignment.arm)

    async def _plan(
        self, assignment: Assignment, conversation: Conversation, history: Sequence[Message], r: Request
    ) -> str:
        """Call tools until the planner has something to say; that."""
        order = conversation.wish.get("order", "")
        messages = [*assignment.render(part="planner", order=order), *history]
        tools = assignment.parts["planner"].tools
        for _ in range(BUDGET):
            reply = await self._model(assignment, messages, tools, r)
            if not reply.calls:
                return reply.text
            messages += [reply.message, *(self._call(call) for call in reply.calls)]
        r.event(OVER_BUDGET)
        return "It is not done yet; a colleague will look at it."

    def _call(self, call: Mapping[str, Any]) -> Message:
        function = call["function"]
        # SQLite on this machine answers in far less than a millisecond: not worth a thread.
        result = self._orders.call(str(function["name"]), str(function["arguments"]))
        return {"role": "tool", "tool_call_id": call["id"], "content": result}

    def close(self, conversation: Conversation) -> bool:
        """Whether the customer has what they came for, by the database; counted as the latest answer's score."""
        done = self._fulfilled(conversation.wish)
        if conversation.token:
            self._rollout.score(conversation.token, SUCCESS, float(done))
        return done

    def _fulfilled(self, wish: Mapping[str, str]) -> bool:
        """A wish holds what was paid back when everything is done right, as the shop's rules said at its beginning."""
        try:
            order = self._orders.get(wish["order"])
        except ToolError:
            return False
        return (order.status, str(order.refunded)) == (wish["status"], wish["refunded"])


def wish_of(orders: Orders, order_id: str, *, cancel: bool) -> Mapping[str, str]:
    """What the database must say when the customer has what they came for. ToolError: it cannot be had."""
    order = orders.get(order_id)
    if not cancel:
        return {"order": order_id, "status": order.status, "refunded": str(order.refunded)}
    return {"order": order_id, "status": "cancelled", "refunded": str(order.refund())}
