"""Someone who is told, or asked: a webhook on loopback that keeps what it gets, and one that never answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from e2e.objects import Json, KubeObject


@dataclass(frozen=True)
class Mail:
    """One request: its headers in lower case, its body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> KubeObject:
        return KubeObject(json.loads(self.body))


class Mailbox:
    """Keeps what is posted to `url`; whoever speaks to `dead_url` waits for ever.

    Who asks at `judge_url` gets the answers prepared for the rollout's namespace, the last one again and again.
    """

    def __init__(self) -> None:
        self._mails: list[Mail] = []
        self._asked: list[Mail] = []
        self._answers: dict[str, list[tuple[int, Json]]] = {}
        self._news = threading.Condition(threading.RLock())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._silent = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/told"

    @property
    def judge_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/asked"

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

    def will_answer(self, namespace: str, *answers: tuple[int, Json]) -> None:
        """Status and body of each answer to gates of that namespace's rollouts, in order."""
        with self._news:
            self._answers[namespace] = list(answers)

    def asked_about(self, namespace: str) -> Sequence[Mail]:
        """What gates asked about rollouts of that namespace, in order."""
        with self._news:
            return [mail for mail in self._asked if mail.json.text("namespace") == namespace]

    def _judged(self, mail: Mail) -> tuple[int, Json]:
        with self._news:
            self._asked.append(mail)
            answers = self._answers.get(mail.json.text("namespace"), [(503, {})])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def wait_for(self, namespace: str, came: Callable[[Sequence[Mail]], bool], timeout: float) -> bool:
        """Whether what it was told of a namespace became so in time."""
        with self._news:
            return self._news.wait_for(lambda: came(self.about(namespace)), timeout)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                mail = Mail({name.lower(): value for name, value in self.headers.items()}, body)
                if self.path == "/asked":
                    status, said = box._judged(mail)
                    answer = json.dumps(said).encode()
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                    return
                with box._news:
                    box._mails.append(mail)
                    box._news.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
