"""Scores by token in another process, pushed."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from promptrollout_sdk import Judge
from testkit import NAME, OLD, unit_of


@pytest.fixture
def gateway():
    pushed = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            pushed.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", pushed
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_judge_needs_only_tokens_and_pushes_what_it_counted(rollout, gateway):
    address, pushed = gateway
    a = rollout.assign(unit_of(rollout, "stable"))
    judge = Judge()
    assert judge.score(a.token, "helpfulness", 0.25)
    judge.push(address, job="judge", grouping={"run": "7"})
    ((path, text),) = pushed
    assert path == "/metrics/job/judge/run/7"
    labels = f'arm="stable",revision="{OLD.short}",rollout="{NAME}",score="helpfulness",step="1"'
    assert f"promptrollout_score_sum{{{labels}}} 0.25" in text
    assert "promptrollout_cluster_score_count" in text
    assert "promptrollout_requests_total{" not in text


@pytest.mark.parametrize(
    ("token", "value"), [("nonsense", 0.5), (None, 0.5), (f"1.{OLD.short}.1.stable.3.{NAME}", 2)]
)
def test_what_cannot_be_counted_is_said_once(token, value, caplog):
    judge = Judge()
    assert not judge.score(token, "helpfulness", value)
    assert not judge.score(token, "helpfulness", value)
    assert len(caplog.records) == 1
