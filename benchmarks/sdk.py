"""What the SDKs cost: `make bench-sdk`. Writes benchmarks/results/sdk.json.

Each time is the median over many batches of 50 calls, so short that few are interrupted on a busy machine; the fastest
batch is beside it. A request is `with a.request()` around nothing (in TypeScript `await a.request(…)`), with three
event counters; `full` adds first token, tokens and cost. The payload of `reload` has 500 KB of template, one variable
for each KB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry

from promptrollout.delivery import ArmWeight, Payload, render
from promptrollout.revision import Revision, seal
from promptrollout_sdk import PromptRollout

ROOT = Path(__file__).parents[1]
TYPESCRIPT = ROOT / "sdk" / "typescript"
RESULTS = ROOT / "benchmarks" / "results" / "sdk.json"
BATCH, BATCHES = 50, 801
EVENTS, SCORES = ("refusals", "retries"), ("helpfulness",)
NEW, OLD = (
    seal({"text": "New {{shop}}", "variables": ["shop"]}),
    seal({"text": "Old {{shop}}", "variables": ["shop"]}),
)
BIG = seal({"text": ("word " * 200 + "{{shop}} ") * 500, "variables": ["shop"]})

Figures = dict[str, float]


def deliver(
    folder: Path, sequence: int, revisions: Iterable[Revision] = (NEW, OLD), name: str = "shop/a"
) -> None:
    """A version as kubelet puts it there."""
    candidate, stable = revisions
    arms = (ArmWeight("candidate", candidate.short, 500), ArmWeight("stable", stable.short, 9500))
    payload = Payload(name, sequence, sequence, unit="conversation", salt="s", arms=arms)
    target = folder / f"..version_{sequence}"
    target.mkdir(parents=True)
    for file, text in render(payload, {r.short: r.document for r in (candidate, stable)}).items():
        (target / file).write_text(text)
    (folder / "..data_tmp").symlink_to(target.name)
    (folder / "..data_tmp").replace(folder / "..data")


def rollout_in(
    folder: Path, registry: CollectorRegistry | None = None, *, watch: bool = False
) -> PromptRollout:
    return PromptRollout.from_directory(
        folder, registry=registry or CollectorRegistry(), events=EVENTS, scores=SCORES, watch=watch
    )


def timed(call: Callable[[int], object]) -> tuple[float, float]:
    """Microseconds a call: median and best batch."""
    batches = []
    for batch in range(BATCHES):
        began = time.perf_counter()
        for i in range(BATCH):
            call(batch * BATCH + i)
        batches.append((time.perf_counter() - began) / BATCH * 1e6)
    return round(statistics.median(batches), 2), round(min(batches), 2)


def calls(folder: Path) -> Figures:
    """Times of the request path in this process, with the background thread as applications have it."""
    deliver(folder, 1)
    rollout = rollout_in(folder, watch=True)
    units = [f"conversation-{i}" for i in range(BATCH)]
    pins = [rollout.assign(unit).pin for unit in units]
    assigned = [rollout.assign(unit) for unit in units]

    def request(i: int) -> None:
        with assigned[i % BATCH].request():
            pass

    def full(i: int) -> None:
        with assigned[i % BATCH].request() as r:
            r.first_token()
            r.tokens(input=800, output=90)
            r.cost(usd=0.004)

    cases: dict[str, Callable[[int], object]] = {
        "assign": lambda i: rollout.assign(units[i % BATCH]),
        "assign_pinned": lambda i: rollout.assign(units[i % BATCH], pins[i % BATCH]),
        "request": request,
        "request_full": full,
        "score": lambda i: assigned[i % BATCH].score("helpfulness", 0.7),
        "render": lambda i: assigned[i % BATCH].render(shop="S"),
    }
    found: Figures = {}
    for name, call in cases.items():
        found[f"{name}_us"], found[f"{name}_best_us"] = timed(call)
    return found


def memory(folder: Path, rollouts: int = 40) -> Figures:
    """What one more rollout takes, and how many series it has."""
    registry = CollectorRegistry()
    for i in range(rollouts + 1):
        deliver(folder / str(i), 1, name=f"shop/r{i}")
    kept = [rollout_in(folder / "0", registry)]
    before = resident()
    kept += [rollout_in(folder / str(i), registry) for i in range(1, rollouts + 1)]
    after = resident()
    series = sum(len(metric.samples) for metric in registry.collect())
    return {"memory_kib": round((after - before) / rollouts / 1024), "series": round(series / len(kept))}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reload(folder: Path) -> Figures:
    """A payload of 500 KB is loaded in a thread while requests go on."""
    deliver(folder, 1)
    rollout = rollout_in(folder)
    idle = [_one(rollout, i) for i in range(2000)]
    deliver(folder, 2, (NEW, BIG))
    loading = threading.Thread(target=rollout.refresh)
    took: list[float] = []
    began = time.perf_counter()
    loading.start()
    while loading.is_alive():
        took.append(_one(rollout, len(took)))
    lasted = time.perf_counter() - began
    loading.join()
    took.sort()
    return {
        "reload_500kb_ms": round(lasted * 1e3, 1),
        "reload_requests_meanwhile": len(took),
        "reload_request_median_us": round(statistics.median(took) * 1e6, 1),
        "reload_request_max_ms": round(took[-1] * 1e3, 1),
        "reload_request_idle_max_ms": round(max(idle) * 1e3, 1),
    }


def _one(rollout: PromptRollout, i: int) -> float:
    began = time.perf_counter()
    with rollout.assign(f"u{i}").request():
        pass
    return time.perf_counter() - began


def python(part: str = "") -> Figures:
    """All figures of Python; `part` names the one that a process of its own measures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if part:
            return calls(folder)
        found = calls(folder / "calls") | memory(folder / "memory") | reload(folder / "reload")
        (folder / "metrics").mkdir()
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.sdk", "--part", "calls"],
            cwd=ROOT, env=env, check=True, capture_output=True, text=True,
        )  # fmt: skip
        shared = json.loads(told.stdout.splitlines()[-1])
        medians = {name: value for name, value in shared.items() if not name.endswith("_best_us")}
        return found | {f"multiprocess_{name}": value for name, value in medians.items()}


def typescript() -> Figures:
    """All figures of TypeScript, by its own program."""
    tsc = TYPESCRIPT / "node_modules" / ".bin" / "tsc"
    subprocess.run([tsc, "-p", "tsconfig.json"], cwd=TYPESCRIPT, check=True)
    with tempfile.TemporaryDirectory() as name:
        deliver(Path(name) / "small", 1)
        deliver(Path(name) / "big", 1)
        deliver(Path(name) / "big", 2, (NEW, BIG))
        told = subprocess.run(
            ["node", "--expose-gc", "build/bench/bench.js", name],
            cwd=TYPESCRIPT, check=True, capture_output=True, text=True,
        )  # fmt: skip
    found: Figures = json.loads(told.stdout.splitlines()[-1])
    return found


def conformance() -> Figures:
    """How many vectors ran, and failed, in the operator and both SDKs."""
    pytest = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "tests/delivery/test_conformance.py", "sdk/python/tests/test_conformance.py"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    node = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "build/tests/conformance.test.js"],
        cwd=TYPESCRIPT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    passed = _number(r"(\d+) passed", pytest.stdout) + _number(r"^# pass (\d+)", node.stdout)
    failed = _number(r"(\d+) (?:failed|error)", pytest.stdout) + _number(r"^# fail (\d+)", node.stdout)
    # A run that broke off has failed, whatever it counted.
    return {"passed": passed, "failed": max(failed, int(pytest.returncode != 0) + int(node.returncode != 0))}


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", default="", help="for the program itself")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(python(options.part)))
        return 0
    figures = {"python": python(), "typescript": typescript(), "conformance": conformance()}
    for name, values in figures.items():
        for key, value in values.items():
            print(f"{name:12} {key:32} {value:>12,}")
    machine = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }
    options.output.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")
    py, ts, failed = figures["python"], figures["typescript"], int(figures["conformance"]["failed"])
    print(
        f"sdk: python_assign_us={py['assign_us']} python_request_us={py['request_us']} "
        f"typescript_assign_us={ts['assign_us']} conformance_failed={failed}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
