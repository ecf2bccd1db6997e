"""A real HTTP server on loopback that answers the Prometheus API as a test tells it to, well or badly."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Parameters = dict[str, str]


@dataclass
class Server:
    """`answer` is called for each request, in the server's thread; what was asked is kept."""

    answer: Callable[["Handler"], None]
    url: str = ""
    asked: list[Parameters] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: int = 0
    #: set when the test is over, so that hanging handlers end
    over: threading.Event = field(default_factory=threading.Event)
    was_asked: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def setup(self) -> None:
        super().setup()
        self.told.connections += 1

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        parts = urlsplit(self.path)
        self.asked = {k: v[0] for k, v in parse_qs(f"{parts.query}&{body}").items()}
        self.told.asked.append(self.asked)
        self.told.headers.append(dict(self.headers))
        self.told.paths.append(parts.path if not parts.query else f"{parts.path}?")
        self.told.was_asked.set()
        try:
            self.told.answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 - the library's name

    def reply(self, body: object, status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def hang(self) -> None:
        self.told.over.wait()
        self.close_connection = True

    def drip(self, piece: bytes) -> None:
        while not self.told.over.wait(0.02):
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Quiet."""


class _Listening(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what these tests are about."""


def success(*result: object, **more: object) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(result)}, **more}


@contextmanager
def serving(answer: Callable[[Handler], None]) -> Iterator[Server]:
    told = Server(answer)
    listening = _Listening(("127.0.0.1", 0), type("Told", (Handler,), {"told": told}))
    told.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        told.over.set()
        listening.shutdown()
        thread.join()
        listening.server_close()
