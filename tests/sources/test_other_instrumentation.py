"""Presets for instrumentation that is not ours, on a real Prometheus that scrapes pages of those projects' metrics.

Each file in `recorded` names its source; its truth is in `TRUTH`. A page is empty first, then as recorded.
"""

import json
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from e2e.controlplane import prometheus as real
from e2e.controlplane.binaries import find
from e2e.processes.supervisor import Supervisor, wait_until
from promptrollout.analysis import EventCounts, HistogramCounts, SumCounts
from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.presets import PRESETS
from promptrollout.sources.prometheus import PrometheusSource
from promptrollout.sources.protocol import MetricQuery, Subject

pytestmark = [pytest.mark.realcluster, pytest.mark.timeout(180)]

RECORDED = Path(__file__).with_name("recorded")
KEY, CANDIDATE, STABLE = "shop/answers", "cccccccccc", "5555555555"
VLLM = {CANDIDATE: "vllm-candidate", STABLE: "vllm-stable"}
PAGES = ("otel", "otel-bare", "otel-dots", "litellm", *VLLM.values())

# Candidate: 100 operations, 10 failed, where failures are counted; 90 where they are not. 120 tokens and $0.25 each.
OTEL = {
    "errors": EventCounts(100, 10),
    "latency": (100, 1.28, 90),
    "ttft": (90, 0.32, 90),
    "tokens": SumCounts(100, 10_800),
}
TRUTH = {
    **{
        f"{spelling}/{name}": truth
        for spelling in ("otel", "otel-bare", "otel-dots")
        for name, truth in OTEL.items()
    },
    "litellm/errors": EventCounts(100, 10),
    "litellm/latency": (90, 2.0, 90),
    "litellm/ttft": (90, 0.5, 90),
    "litellm/tokens": SumCounts(90, 10_800),
    "litellm/cost": SumCounts(90, 22.5),
    "vllm/errors": EventCounts(90, 4),
    "vllm/truncated": EventCounts(90, 6),
    "vllm/latency": (90, 1.5, 90),
    "vllm/ttft": (90, 0.5, 90),
    "vllm/tokens": SumCounts(90, 10_800),
}


class Pages:
    """One server for all pages; empty until `show`."""

    def __init__(self) -> None:
        self.shown = False
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = (RECORDED / f"{self.path.strip('/')}.prom").read_bytes() if pages.shown else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=1.0.0; escaping=allow-utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def targets(self) -> list[object]:
        """One for each page; those of vLLM have the labels that a pod's labels would give them."""
        revision_of = {page: revision for revision, page in VLLM.items()}
        return [
            {
                "targets": [f"127.0.0.1:{self.server.server_port}"],
                "labels": {
                    "__metrics_path__": f"/{page}",
                    "page": page,
                    **(
                        {"prompt_rollout": KEY, "prompt_revision": revision_of[page]}
                        if page in revision_of
                        else {}
                    ),
                },
            }
            for page in PAGES
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def scraped() -> Iterator[tuple[real.Prometheus, float, float]]:
    pages = Pages()
    with Supervisor() as supervisor:
        prometheus = real.start(supervisor, find(["prometheus"]), scrape_interval="200ms")
        prometheus.wait()
        prometheus.targets.write_text(json.dumps(pages.targets()))
        wait_until(lambda: prometheus.value("count(up == 1)") == len(PAGES), "all pages to be scraped", 30)
        start = math.ceil(time.time())
        wait_until(lambda: time.time() > start + 0.5, "the window to begin", 10)
        pages.shown = True
        wait_until(
            lambda: prometheus.value("count(scrape_samples_scraped > 0)") == len(PAGES), "the pages", 30
        )
        end = math.ceil(time.time())
        wait_until(lambda: time.time() > end + 0.5, "the window to end", 10)
        yield prometheus, float(start), float(end)
    pages.close()


@pytest.fixture
async def source(scraped: tuple[real.Prometheus, float, float]) -> AsyncIterator[PrometheusSource]:
    made = PrometheusSource(PrometheusConfig(scraped[0].url, timeout=20))
    yield made
    await made.close()


def test_every_preset_of_others_is_tried() -> None:
    assert set(TRUTH) == {name for name in PRESETS if not name.startswith("sdk/")}


async def test_each_preset_reads_the_projects_own_metrics(
    scraped: tuple[real.Prometheus, float, float], source: PrometheusSource
) -> None:
    _, start, end = scraped
    # Two spellings share the name of the token counts, so one of them is another rollout's.
    keys = {name: "shop/bare" if name.startswith("otel-bare/") else KEY for name in TRUTH}
    subjects = [
        Subject(
            key, CANDIDATE, STABLE, 3, 3000, tuple(MetricQuery(n, preset=n) for n in TRUTH if keys[n] == key)
        )
        for key in (KEY, "shop/bare")
    ]
    found = await source.sample(subjects, start, end)
    assert not [sample.problems for sample in found.values() if sample.problems]
    for name, truth in TRUTH.items():
        (window,) = found[keys[name]].windows
        pair = window.metrics[name]
        counts = pair.candidate
        assert type(pair.stable) is type(counts), name
        if not isinstance(truth, tuple):
            assert counts == truth, name
            continue
        total, edge, below = truth
        assert isinstance(counts, HistogramCounts)
        place = PRESETS[name].edges.index(edge)
        assert (sum(counts.buckets), counts.buckets[place]) == (total, below), name


async def test_another_rollout_of_the_same_prompt_is_not_counted(
    scraped: tuple[real.Prometheus, float, float], source: PrometheusSource
) -> None:
    _, start, end = scraped
    query = MetricQuery("errors", preset="otel/errors")
    found = await source.sample(
        [Subject("staging/answers", CANDIDATE, STABLE, 3, 3000, (query,))], start, end
    )
    assert "errors" in found["staging/answers"].problems


async def test_of_a_candidate_that_litellm_counts_failures_of_only_all_are_failures(
    scraped: tuple[real.Prometheus, float, float], source: PrometheusSource
) -> None:
    _, start, end = scraped
    query = MetricQuery("errors", preset="litellm/errors")
    found = await source.sample([Subject("shop/failing", CANDIDATE, STABLE, 3, 3000, (query,))], start, end)
    (window,) = found["shop/failing"].windows
    pair = window.metrics["errors"]
    assert (pair.candidate, pair.stable) == (EventCounts(40, 40), EventCounts(60, 0))
