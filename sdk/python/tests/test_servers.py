"""Real gunicorn and uvicorn with several workers: one metrics page for all, each worker acknowledges."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from testkit import payload

HERE = Path(__file__).parent
WORKERS = 2
GUNICORN = ["gunicorn", "--bind=127.0.0.1:0", f"--workers={WORKERS}", "--log-level=info"]
SERVERS = {
    "gunicorn": [*GUNICORN, "served:wsgi"],
    "gunicorn preloaded": [*GUNICORN, "--preload", "served:wsgi"],
    "uvicorn": ["uvicorn", "--port=0", f"--workers={WORKERS}", "served:asgi"],
}
LISTENING = re.compile(r"(?:Listening at:|running on) (http://127\.0\.0\.1:\d+)")


class Server:
    """A server's address, and what its workers have counted together."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.log: list[str] = []
        self._found = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._found.wait(60), "".join(self.log)
        until(self._answers, self)  # uvicorn's address is known before anyone listens

    def _answers(self) -> bool:
        try:
            return bool(self.get("/metrics"))
        except URLError:
            return False

    def _read(self) -> None:
        for line in self.process.stdout:
            self.log.append(line)
            found = LISTENING.search(line)
            if found:
                self.url = found[1]
                self._found.set()

    def get(self, path: str) -> str:
        with urlopen(f"{self.url}{path}", timeout=20) as response:  # noqa: S310 - loopback
            return response.read().decode()

    def samples(self, name: str) -> list[tuple[str, float]]:
        pattern = re.compile(rf"^promptrollout_{name}\{{(.*)\}} (\S+)$", re.MULTILINE)
        return [(labels, float(value)) for labels, value in pattern.findall(self.get("/metrics"))]

    def total(self, name: str) -> float:
        return sum(value for _, value in self.samples(name))

    def loaded(self, sequence: int) -> float:
        return sum(v for labels, v in self.samples("loaded") if f'sequence="{sequence}"' in labels)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._reader.join(30)
        self.process.stdout.close()


@contextmanager
def serving(command, mount, metrics):
    metrics.mkdir()
    process = subprocess.Popen(  # noqa: S603 - our own application
        [sys.executable, "-m", *command],
        cwd=HERE,
        env={
            **os.environ,
            "MOUNT": str(mount.path),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process)
    try:
        yield server
    finally:
        server.stop()


def until(condition, server):
    deadline = time.monotonic() + 40

    def came_true():
        try:
            return condition()
        except HTTPError:
            # prometheus-client's page of all workers may meet the file that another is just making: a scrape is lost.
            return False

    while not came_true():
        assert time.monotonic() < deadline, "".join(server.log[-20:])
        time.sleep(0.05)


@pytest.mark.parametrize("server", SERVERS)
def test_workers_count_into_one_page_and_all_acknowledge(server, mount, tmp_path):
    mount.deliver(payload(1))
    with serving(SERVERS[server], mount, tmp_path / "metrics") as running:
        # A preloading master serves nothing, but it too holds a payload.
        processes = WORKERS + ("preload" in server)
        until(lambda: running.loaded(1) == processes, running)
        revisions = {running.get(f"/?u=user-{i}") for i in range(60)}
        assert len(revisions) == 2
        assert running.total("requests_total") == 60
        assert running.total("score_count") == 60
        assert running.total("tokens_total") == 480
        assert running.total("cluster_requests_total") == 60
        mount.deliver(payload(2))
        until(lambda: (running.loaded(1), running.loaded(2)) == (0, processes), running)


def test_a_killed_workers_word_is_taken_back_by_its_successor(mount, tmp_path):
    mount.deliver(payload(1))
    with serving(SERVERS["gunicorn preloaded"], mount, tmp_path / "metrics") as running:
        until(lambda: running.loaded(1) == WORKERS + 1, running)
        before = [running.get(f"/?u=user-{i}") for i in range(20)]
        workers = {int(f.stem.rpartition("_")[2]) for f in (tmp_path / "metrics").glob("gauge_livesum_*.db")}
        victim = next(pid for pid in workers if pid != running.process.pid)
        os.kill(victim, signal.SIGKILL)
        until(lambda: any("Booting worker" in line for line in running.log[-2:]), running)
        until(lambda: running.loaded(1) == WORKERS + 1, running)
        assert [running.get(f"/?u=user-{i}") for i in range(20)] == before
        assert running.total("requests_total") == 40
