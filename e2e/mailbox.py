"""Someone who is told: a webhook on loopback that keeps what it gets, and one that never answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from e2e.objects import KubeObject


@dataclass(frozen=True)
class Mail:
    """One request: its headers in lower case, its body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> KubeObject:
        return KubeObject(json.loads(self.body))


class Mailbox:
    """Keeps what is posted to `url`; whoever speaks to `dead_url` waits for ever."""

    def __init__(self) -> None:
        self._mails: list[Mail] = []
        self._news = threading.Condition(threading.RLock())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._silent = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/told"

    @property
    def dead_url(self) -> str:
        return f"http://127.0.0.1:{self._silent.getsockname()[1]}/never"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="mailbox", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._silent.close()

    def about(self, namespace: str) -> Sequence[Mail]:
        """What it was told of rollouts of that namespace, in order."""
        with self._news:
            return [mail for mail in self._mails if mail.json.text("data.namespace") == namespace]

    def wait_for(self, namespace: str, came: Callable[[Sequence[Mail]], bool], timeout: float) -> bool:
        """Whether what it was told of a namespace became so in time."""
        with self._news:
            return self._news.wait_for(lambda: came(self.about(namespace)), timeout)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with box._news:
                    box._mails.append(Mail(headers, body))
                    box._news.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
