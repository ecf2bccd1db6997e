"""The shop's orders in SQLite, and the tools by which an agent may look at them and change them.

Money is in cents. What a tool refuses it says by ToolError; the agent hands that to the model like any other result.
"""

from __future__ import annotations

import ast
import json
import operator
import random
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path

_SCHEMA = """
create table if not exists orders (
    id text primary key, item text not null, quantity integer not null, cents integer not null,
    status text not null, refunded integer not null default 0
)
"""
_ITEMS = ("floor lamp", "armchair", "bookcase", "desk")
_STATUSES = ("paid", "packed", "shipped")
#: What the shop keeps of a packed order's price.
FEE = Decimal("0.1")


class ToolError(ValueError):
    """What a tool cannot do, in words for the model."""


@dataclass(frozen=True)
class Order:
    """One order. `cents`: its whole price; `refunded`: what has been paid back."""

    id: str
    item: str
    quantity: int
    cents: int
    status: str
    refunded: int

    def refund(self) -> int:
        """What the shop's rules pay back when it is cancelled, in cents. ToolError once it is shipped."""
        if self.status == "shipped":
            raise ToolError(f"{self.id} is shipped and cannot be cancelled")
        kept = FEE if self.status == "packed" else Decimal(0)
        return int((self.cents * (1 - kept)).to_integral_value(ROUND_HALF_UP))


def connect(path: str | Path) -> sqlite3.Connection:
    """Commits do not wait for the disk: a power cut may lose the latest, but WAL keeps the file whole."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    return database


class Orders:
    """The database, at `path` (`:memory:` for one that nobody keeps)."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._database = connect(path)
        self._database.execute(_SCHEMA)
        self.tools: Mapping[str, Callable[..., object]] = {
            "find_order": self.find_order,
            "cancel_order": self.cancel_order,
            "refund": self.refund,
            "calculate": calculate,
        }

    def fill(self, count: int, seed: int = 1) -> None:
        """So many made-up orders, A-1 to A-count, unless there are orders already."""
        if self._database.execute("select 1 from orders limit 1").fetchone():
            return
        source = random.Random(seed)  # noqa: S311 - a simulation
        rows = (
            (f"A-{n}", source.choice(_ITEMS), source.randint(1, 3), source.randrange(1_900, 79_900, 100))
            for n in range(1, count + 1)
        )
        self._database.execute("begin")
        self._database.executemany(
            "insert into orders (id, item, quantity, cents, status) values (?, ?, ?, ?, ?)",
            ((*row, _STATUSES[n % len(_STATUSES)]) for n, row in enumerate(rows)),
        )
        self._database.execute("commit")

    def get(self, order_id: str) -> Order:
        """An order. ToolError when there is none."""
        columns = "id, item, quantity, cents, status, refunded"
        row = self._database.execute(f"select {columns} from orders where id = ?", (order_id,)).fetchone()  # noqa: S608 - columns are ours
        if row is None:
            raise ToolError(f"there is no order {order_id}")
        return Order(*row)

    def call(self, name: str, arguments: str) -> str:
        """Run a tool as a model asks for it, arguments and result as JSON. What goes wrong is the result too."""
        tool = self.tools.get(name)
        if tool is None:
            return json.dumps({"error": f"there is no tool {name}; there are {', '.join(self.tools)}"})
        try:
            result = tool(**json.loads(arguments))
        except ToolError as error:
            result = {"error": str(error)}
        except (TypeError, ValueError) as error:  # not JSON, or other arguments than the tool has
            result = {"error": f"{name} cannot be called with {arguments}: {error}"}
        return json.dumps(result)

    # The tools

    def find_order(self, order: str) -> object:
        """The order as it is now."""
        found = self.get(order)
        return {
            "order": found.id,
            "item": found.item,
            "quantity": found.quantity,
            "price": f"{found.cents / 100:.2f}",
            "status": found.status,
            "refunded": f"{found.refunded / 100:.2f}",
        }

    def cancel_order(self, order: str) -> object:
        """Cancel it. Once is as good as twice; a shipped order cannot be."""
        self._database.execute("begin immediate")
        try:
            found = self.get(order)
            if found.status == "shipped":
                raise ToolError(f"{order} is shipped and cannot be cancelled")
            self._database.execute("update orders set status = 'cancelled' where id = ?", (order,))
        finally:
            self._database.execute("commit")
        return {"order": order, "status": "cancelled"}

    def refund(self, order: str, amount: str) -> object:
        """Pay back so many euros of a cancelled order, once."""
        cents = _cents(amount)
        self._database.execute("begin immediate")
        try:
            found = self.get(order)
            if found.status != "cancelled":
                raise ToolError(f"{order} is {found.status}; cancel it first")
            if found.refunded:
                raise ToolError(f"{found.refunded / 100:.2f} of {order} is paid back already")
            if not 0 < cents <= found.cents:
                raise ToolError(f"{amount} is more than was paid, or nothing")
            self._database.execute("update orders set refunded = ? where id = ?", (cents, order))
        finally:
            self._database.execute("commit")
        return {"order": order, "refunded": f"{cents / 100:.2f}"}


def _cents(amount: str) -> int:
    try:
        return int((Decimal(amount) * 100).to_integral_value(ROUND_HALF_UP))
    except (InvalidOperation, TypeError, ValueError) as error:
        raise ToolError(f"{amount!r} is no amount of euros") from error


_OPERATORS: Mapping[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(expression: str) -> object:
    """A sum of euros with + - * / and brackets, exactly, rounded to cents."""
    if len(expression) > 200:
        raise ToolError("an expression has at most 200 characters")
    try:
        value = _value(ast.parse(expression, mode="eval").body, expression)
        return {"result": str(value.quantize(Decimal("0.01"), ROUND_HALF_UP))}
    except (SyntaxError, ArithmeticError) as error:
        raise ToolError(f"{expression!r} cannot be computed: {type(error).__name__}") from error


def _value(node: ast.expr, text: str) -> Decimal:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Decimal(ast.get_source_segment(text, node) or str(node.value))
    if isinstance(node, ast.BinOp) and (compute := _OPERATORS.get(type(node.op))):
        return compute(_value(node.left, text), _value(node.right, text))
    raise ToolError("only numbers, + - * / and brackets can be computed")
