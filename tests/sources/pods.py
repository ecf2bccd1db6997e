"""Pods for a real Prometheus: the real SDK over a real payload, each with a metrics endpoint of its own."""

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, start_http_server

from e2e.controlplane.prometheus import Prometheus
from e2e.processes.supervisor import wait_until
from promptrollout.delivery import ArmWeight, Payload, render
from promptrollout.revision import seal
from promptrollout_sdk import PromptRollout


@dataclass
class Pod:
    """One serving process: `restart` brings it back with counters at zero."""

    name: str
    mount: Path
    namespace: str
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    port: int = 0

    def __post_init__(self) -> None:
        self.server, self.thread = start_http_server(self.port, "127.0.0.1", self.registry)
        self.port = self.server.server_port
        self.rollout = PromptRollout.from_directory(
            self.mount, registry=self.registry, scores=["helpfulness"], watch=False
        )
        self.answers = prometheus_client.Counter("app_answers", "", ["rev"], registry=self.registry)
        self.refusals = prometheus_client.Counter("app_refusals", "", ["rev"], registry=self.registry)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def restart(self) -> "Pod":
        self.stop()
        return Pod(self.name, self.mount, self.namespace, port=self.port)

    @property
    def target(self) -> dict[str, object]:
        labels = {"namespace": self.namespace, "pod": self.name}
        return {"targets": [f"127.0.0.1:{self.port}"], "labels": labels}


class Application:
    """One rollout's pods, and the truth about what they counted."""

    def __init__(self, prometheus: Prometheus, folder: Path, name: str) -> None:
        self.key = f"shop/{name}"
        self.prometheus = prometheus
        self.mount = folder / name
        self.mount.mkdir()
        self.pods: list[Pod] = []
        self.truth: Counter[str] = Counter()
        self._unit = count()
        revisions = {r.short: r.document for r in (seal({"text": f"{name} {i}"}) for i in range(2))}
        self.stable, self.candidate = revisions
        arms = (ArmWeight("candidate", self.candidate, 3000), ArmWeight("stable", self.stable, 7000))
        payload = Payload(self.key, sequence=4, exposure=3, unit="conversation", salt="salt", arms=arms)
        for file, text in render(payload, revisions).items():
            (self.mount / file).write_text(text)
        self.hash = json.loads((self.mount / "rollout.json").read_text())["hash"]

    def add_pod(self) -> Pod:
        pod = Pod(f"{self.mount.name}-{len(self.pods)}", self.mount, "shop")
        self.pods.append(pod)
        known = [t for t in json.loads(self.prometheus.targets.read_text()) if isinstance(t, dict)]
        self.prometheus.targets.write_text(json.dumps([*known, pod.target]))
        return pod

    def serve(self, requests: int) -> None:
        """Requests, one in five of the candidate's and one in ten of stable's failing; a score for each answer."""
        for _ in range(requests):
            unit = next(self._unit)
            pod = self.pods[unit % len(self.pods)]
            answer = pod.rollout.assign(unit=f"u{unit}")
            arm = "c" if answer.revision == self.candidate else "s"
            bad = unit % (5 if arm == "c" else 10) == 0
            with answer.request() as request:
                request.outcome("error" if bad else "ok")
                request.tokens(input=3, output=unit % 7)
            answer.score("helpfulness", 0.25 if bad else 1.0)
            pod.answers.labels(answer.revision).inc()
            pod.refusals.labels(answer.revision).inc(float(bad))
            self.truth.update({arm: 1, f"{arm} bad": int(bad), f"{arm} tokens": 3 + unit % 7})

    def wait_until_scraped(self) -> float:
        """Until Prometheus has read every pod's counters as they are; the time of it."""

        def all_read() -> bool:
            return all(self._read(pod) for pod in self.pods)

        wait_until(all_read, f"pods of {self.key} to be scraped", 30)
        return self.prometheus.value("vector(time())") or 0.0

    def wait_until_read_past(self, moment: float) -> None:
        """Until no scrape under way can still bring a value of this moment or before: each pod has a later one.

        A scrape bears the time of its beginning, and may take long on a busy machine.
        """
        names = "|".join(pod.name for pod in self.pods)
        query = f'count(timestamp(up{{pod=~"{names}"}}) > {moment!r})'
        wait_until(
            lambda: self.prometheus.value(query) == len(self.pods),
            f"scrapes of {self.key} after {moment}",
            30,
        )

    def _read(self, pod: Pod) -> bool:
        for arm, revision in (("candidate", self.candidate), ("stable", self.stable)):
            own = sum(
                pod.registry.get_sample_value(
                    "promptrollout_requests_total",
                    {"rollout": self.key, "revision": revision, "arm": arm, "step": "3", "outcome": outcome},
                )
                or 0.0
                for outcome in ("ok", "error", "aborted")
            )
            query = f'sum(promptrollout_requests_total{{rollout="{self.key}",revision="{revision}",pod="{pod.name}"}})'
            if self.prometheus.value(query) != own:
                return False
        return True

    def close(self) -> None:
        """Take the pods out of Prometheus' targets first: another test's pod may get a port again."""
        mine = [pod.target for pod in self.pods]
        known = json.loads(self.prometheus.targets.read_text())
        self.prometheus.targets.write_text(json.dumps([target for target in known if target not in mine]))
        for pod in self.pods:
            pod.stop()
