"""The API source against a small HTTP server that speaks the watch protocol of the API server."""

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from promptrollout.delivery import render
from promptrollout_sdk import Contract, PayloadError, PromptRollout
from promptrollout_sdk.kubernetes import Api
from testkit import DOCUMENTS, payload

END = object()


class ApiServer:
    """One ConfigMap: what a read answers, and a queue of watch events for each watch in turn."""

    def __init__(self) -> None:
        self.current = (200, self.config_map(1))
        self.watches: queue.Queue[queue.Queue] = queue.Queue()
        self.asked: list[tuple[str, dict]] = []
        self.headers: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                server.asked.append((url.path, query))
                server.headers.append(self.headers["Authorization"])
                if "watch" in query:
                    self.follow()
                    return
                status, body = server.current
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def follow(self):
                events = queue.Queue()
                self.send_response(200)
                self.end_headers()
                server.watches.put(events)
                while (event := events.get()) is not END:
                    self.wfile.write(json.dumps(event).encode() + b"\n")
                    self.wfile.flush()

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @staticmethod
    def config_map(sequence):
        version = {"resourceVersion": str(100 + sequence)}
        return {"metadata": version, "data": render(payload(sequence), DOCUMENTS)}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server():
    server = ApiServer()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def watched(server, registry, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    rollout = PromptRollout.watch("shop", "answers", api=Api(server.url, token), registry=registry)
    yield rollout
    rollout.close()
    while not server.watches.empty():
        server.watches.get().put(END)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return condition()


def next_watch(server):
    return server.watches.get(timeout=20)


@pytest.fixture
def events(server, watched):
    stream = next_watch(server)
    yield stream
    stream.put(END)


def test_a_change_arrives_through_the_watch(server, watched, events):
    assert watched.sequence == 1
    events.put({"type": "MODIFIED", "object": server.config_map(2)})
    assert until(lambda: watched.sequence == 2)
    path, query = server.asked[-1]
    assert path == "/api/v1/namespaces/shop/configmaps"
    assert (query["fieldSelector"], query["resourceVersion"]) == ("metadata.name=answers", "101")
    assert set(server.headers) == {"Bearer first"}


def test_a_watch_that_is_too_old_reads_anew_and_goes_on(server, watched, events):
    server.current = (200, server.config_map(5))
    events.put({"type": "ERROR", "object": {"code": 410, "metadata": {}}})
    assert until(lambda: watched.sequence == 5)
    following = next_watch(server)
    assert server.asked[-1][1]["resourceVersion"] == "105"
    following.put(END)


def test_a_watch_that_ends_goes_on_from_its_bookmark(server, watched, events):
    events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "250"}}})
    events.put(END)
    following = next_watch(server)
    assert server.asked[-1][1]["resourceVersion"] == "250"
    following.put(END)


def test_a_deleted_config_map_keeps_the_last_payload(server, watched, events, registry):
    events.put({"type": "DELETED", "object": server.config_map(2)})
    labels = {"rollout": "shop/support-answer", "reason": "missing"}
    assert until(lambda: registry.get_sample_value("promptrollout_payload_errors_total", labels) == 1)
    assert watched.sequence == 1


def test_without_the_right_to_read_the_start_says_so(server, registry):
    server.current = (403, {"message": "configmaps is forbidden"})
    with pytest.raises(PayloadError, match="HTTP 403 configmaps is forbidden"):
        PromptRollout.watch("shop", "answers", api=Api(server.url), registry=registry)


def test_a_payload_that_the_application_cannot_serve_is_refused(server, registry):
    contract = Contract(variables=["question"])
    with pytest.raises(PayloadError, match="does not fill"):
        PromptRollout.watch("shop", "answers", api=Api(server.url), registry=registry, contract=contract)


def test_a_server_that_is_away_at_the_start_is_asked_again_soon(server, registry):
    server.current = (503, {"message": "starting"})
    rollout = PromptRollout.watch("shop", "answers", "the code's", api=Api(server.url), registry=registry)
    assert rollout.sequence is None
    server.current = (200, server.config_map(1))
    assert until(lambda: rollout.sequence == 1)
    following = next_watch(server)
    rollout.close()
    following.put(END)


def test_outside_of_a_pod_the_error_says_what_to_use(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(PayloadError, match="use from_directory"):
        PromptRollout.watch("shop", "answers")
