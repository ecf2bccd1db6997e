"""The application's own store of conversations: with each its messages, and the pin that keeps its prompt.

One SQLite file, so it serves one pod. With several replicas keep the same columns in a database that all of them reach:
a conversation whose next turn meets another pod must find its pin there.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.agent.orders import connect

_SCHEMA = """
create table if not exists conversations (
    id text primary key, wish text not null, messages text not null default '[]', pin text not null default '',
    token text not null default '', done integer
)
"""


class NoConversationError(LookupError):
    """There is no such conversation, or it is over."""


@dataclass(frozen=True)
class Conversation:
    """`wish`: what the customer came for, as the page that opened it says; `token`: of the latest answer."""

    id: str
    wish: Mapping[str, str]
    messages: Sequence[Mapping[str, Any]] = field(default_factory=list)
    pin: str = ""
    token: str = ""


class Sessions:
    """The store, at `path` (`:memory:` for one that nobody keeps)."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._database = connect(path)
        self._database.execute(_SCHEMA)

    def open(self, wish: Mapping[str, str]) -> Conversation:
        """A new conversation."""
        conversation = Conversation(uuid.uuid4().hex, wish)
        self._database.execute(
            "insert into conversations (id, wish) values (?, ?)", (conversation.id, json.dumps(wish))
        )
        return conversation

    def get(self, conversation_id: str) -> Conversation:
        """An open conversation. NoConversationError when there is none."""
        row = self._database.execute(
            "select id, wish, messages, pin, token from conversations where id = ? and done is null",
            (conversation_id,),
        ).fetchone()
        if row is None:
            raise NoConversationError(f"there is no open conversation {conversation_id}")
        return Conversation(row[0], json.loads(row[1]), json.loads(row[2]), row[3], row[4])

    def keep(self, conversation: Conversation) -> None:
        """What a turn has added."""
        self._database.execute(
            "update conversations set messages = ?, pin = ?, token = ? where id = ?",
            (json.dumps(conversation.messages), conversation.pin, conversation.token, conversation.id),
        )

    def close(self, conversation: Conversation, *, done: bool) -> None:
        """It is over; whether the customer got what they came for."""
        self._database.execute("update conversations set done = ? where id = ?", (int(done), conversation.id))
