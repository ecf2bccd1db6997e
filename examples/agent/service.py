"""The service, and the customers' way to it.

POST /conversations {order, cancel} -> {conversation}            what the customer came for, from the page that opens it
POST /conversations/ID/turns {text} -> {answer, revision, arm}
DELETE /conversations/ID -> {done}                               it is over: counted by what the database says then
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.agent.desk import OVER_BUDGET, SUCCESS, Desk, ModelError, wish_of
from examples.agent.model import ChatModel
from examples.agent.orders import Orders, ToolError
from examples.agent.sessions import NoConversationError, Sessions
from examples.kit import serving
from promptrollout_sdk import Contract, PromptRollout

#: What to work by while no prompt has been delivered.
DEFAULT = {
    "parts": {
        "planner": {"messages": [{"role": "system", "content": "Work at the order desk. Order: {{order}}"}]},
        "answerer": {"messages": [{"role": "system", "content": "Tell the customer. Notes: {{notes}}"}]},
    },
    "model": "simulated",
}
#: A payload that lacks a part, or wants a variable that is not filled in here, is refused and so never gets traffic.
CONTRACT = Contract(parts=("planner", "answerer"), variables=("order", "notes", "question"))
Answer = Callable[[Request], Awaitable[Response]]


class Service:
    """Conversations by HTTP."""

    def __init__(self, desk: Desk, sessions: Sessions, orders: Orders) -> None:
        self._desk = desk
        self._sessions = sessions
        self._orders = orders

    def routes(self) -> list[Route]:
        """What it answers."""
        one = "/conversations/{conversation}"
        return [
            Route("/conversations", _saying(self.open), methods=["POST"]),
            Route(f"{one}/turns", _saying(self.turn), methods=["POST"]),
            Route(one, _saying(self.close), methods=["DELETE"]),
        ]

    async def open(self, request: Request) -> Response:
        """A customer has come."""
        wanted = await request.json()
        wish = wish_of(self._orders, str(wanted["order"]), cancel=bool(wanted.get("cancel")))
        return JSONResponse({"conversation": self._sessions.open(wish).id}, status_code=201)

    async def turn(self, request: Request) -> Response:
        """The customer says something."""
        conversation = self._sessions.get(request.path_params["conversation"])
        said = str((await request.json())["text"])
        turn = await self._desk.turn(conversation, said)
        self._sessions.keep(turn.conversation)
        return JSONResponse({"answer": turn.answer, "revision": turn.revision, "arm": turn.arm})

    async def close(self, request: Request) -> Response:
        """The customer has left, or the page is closed."""
        conversation = self._sessions.get(request.path_params["conversation"])
        done = self._desk.close(conversation)
        self._sessions.close(conversation, done=done)
        return JSONResponse({"done": done})


def _saying(answer: Answer) -> Answer:
    """What cannot be done is said with the status that fits."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except NoConversationError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        except (ToolError, KeyError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except ModelError as error:
            return JSONResponse({"error": str(error)}, status_code=502)

    return answered


def application(prompts: str, model_url: str, database: str, orders: int) -> Starlette:
    """The ASGI application. `database`: a file for orders and conversations; `orders`: how many are made up."""
    rollout = PromptRollout.from_directory(
        prompts, default=DEFAULT, events=[OVER_BUDGET], scores=[SUCCESS], contract=CONTRACT
    )
    model, store = ChatModel(serving.model_client(model_url)), Orders(database)
    store.fill(orders)
    service = Service(Desk(rollout, model, store), Sessions(database), store)

    async def close() -> None:
        await model.close()
        rollout.close()

    return serving.application(service.routes(), close)
