"""An example (examples/) on the stack, from its own manifests: its Deployments, Services, users and its PromptRollout.

What differs from a cluster: Services have no addresses on the node agent's node, so that their names in the
environment become those of the pods behind them; pods listen on loopback only; and the rollout's steps take seconds.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from e2e.application import Application, Rollout
from e2e.objects import Json, KubeObject
from e2e.processes.supervisor import REPOSITORY, wait_until
from e2e.realnode.images import Image
from e2e.recorder import ROLLOUTS
from e2e.scenario import Subject, When
from e2e.stack import Stack
from e2e.workload.directory import read_endpoints

EXAMPLES = REPOSITORY / "examples"
IMAGE = Image(
    "promptrollout.dev/examples:local",
    ["bm25s", "openai", "prometheus-client", "pyyaml", "starlette", "uvicorn"],
    {"promptrollout_sdk": REPOSITORY / "sdk" / "python" / "promptrollout_sdk", "examples": EXAMPLES},
)
STEPS: Sequence[Json] = ({"weight": 25, "duration": "3s"}, {"weight": 50, "duration": "3s"})
QUICK: Json = {"interval": "2s", "warmUp": "0s"}
_SERVICE = re.compile(r"http://([a-z0-9-]+)(?::\d+)?(?=/|$)")


@dataclass(frozen=True)
class Example:
    """`folder`: in examples/. `app`: the label of the pods that answer. `addresses`: URLs of further services by name.

    `steps`, and what `analysis` names, replace what the manifest's rollout says of them; the metrics stay its own.
    """

    folder: str
    namespace: str
    app: str
    steps: Sequence[Json] = STEPS
    analysis: Json = field(default_factory=lambda: {**QUICK, "correlation": {"meanRequestsPerUnit": "1"}})
    addresses: Mapping[str, str] = field(default_factory=dict)
    #: Requests that the first prompt has answered before another comes: a rollout begins with what it knows of stable's
    #: past, a day of it in earnest, and is slow to judge without any.
    history: int = 0

    @property
    def path(self) -> Path:
        return EXAMPLES / self.folder

    @contextlib.contextmanager
    def running(self, stack: Stack) -> Iterator[Running]:
        """All of it, pods ready and its first prompt served; afterwards its namespace goes."""
        try:
            yield self.deploy(stack)
        finally:
            stack.mend()
            stack.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def deploy(self, stack: Stack) -> Running:
        """Apply it in the order in which one part needs another, and wait for its pods and its first prompt."""
        objects = self.objects(stack)
        rollout = next(one for one in objects if one["kind"] == "PromptRollout")
        workloads = [one for one in objects if _pod(one) is not None]
        others = [one for one in objects if _pod(one) is None and one is not rollout]
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        stack.kubectl.apply([namespace, *others])
        stack.apply_rollout(rollout)
        services = {one["metadata"]["name"]: one for one in others if one["kind"] == "Service"}
        self._start(stack, workloads, services)
        running = Running(stack, self, rollout)
        running.when().wait_for_phase("Healthy")
        running.wait_for_requests(self.history)
        return running

    def objects(self, stack: Stack) -> list[dict[str, Any]]:
        """What `kubectl apply -k` would apply, in this namespace and at the pace of a test."""
        text = stack.kubectl("kustomize", str(self.path))
        objects = [one for one in yaml.safe_load_all(text) if one]
        for one in objects:
            one["metadata"]["namespace"] = self.namespace
            if one["kind"] == "PromptRollout":
                one["spec"]["strategy"] = {"canary": {"steps": list(self.steps)}}
                one["spec"].setdefault("analysis", {}).update(self.analysis)
        return objects

    def _start(self, stack: Stack, workloads: Sequence[dict[str, Any]], services: Mapping[str, Json]) -> None:
        waiting = list(workloads)
        known = dict(self.addresses)
        while waiting:
            ready = [one for one in waiting if _needed(one, services) <= known.keys()]
            if not ready:
                raise ValueError(
                    f"{self.folder}: these wait for each other: {[w['metadata']['name'] for w in waiting]}"
                )
            stack.run([_placed(one, known) for one in ready])
            for one in ready:
                if one["kind"] == "Deployment":
                    stack.wait_for_pods(Application(self.namespace, one["metadata"]["name"]))
            waiting = [one for one in waiting if one not in ready]
            for name, service in services.items():
                addresses = read_endpoints(stack.endpoints, self.namespace, service["spec"]["selector"])
                if addresses:
                    known[name] = ",".join(f"http://{address}" for address in addresses)


@dataclass(frozen=True)
class Running:
    """An example that runs; `rollout` is its PromptRollout as it was applied."""

    stack: Stack
    example: Example
    rollout: Json

    def when(self) -> When:
        """What is recorded counts from here."""
        spec = self.rollout["spec"]
        application = Application(
            self.example.namespace, self.example.app, rollout=self.rollout["metadata"]["name"]
        )
        manifest = Rollout(
            application, "", self.example.steps, spec["analysis"], spec["delivery"], spec["prompt"]
        )
        seen = self.stack.recorder.changes(ROLLOUTS, application.namespace, application.rollout)
        return When(Subject(self.stack, manifest, since=seen[-1].at if seen else 0.0))

    def tries(self, file: str) -> When:
        """The first prompt again, then a patch of it, as the example's README gives it."""
        when = self.when()
        first = {"spec": {"prompt": self.rollout["spec"]["prompt"]}}
        when.kubectl("patch", when.subject.reference, "--type=merge", f"--patch={json.dumps(first)}")
        when.wait_for_phase("Healthy")
        when = self.when()
        patch = self.example.path / "tries" / file
        return when.kubectl("patch", when.subject.reference, "--type=merge", f"--patch-file={patch}")

    def wait_for_requests(self, count: int, timeout: float = 90.0) -> None:
        """Until so many have been counted."""
        query = f'sum(promptrollout_requests_total{{rollout="{self.name}", revision!="default"}}) >= {count}'
        wait_until(
            lambda: count == 0 or self.stack.prometheus.value(query) is not None,
            f"{count} requests to be counted",
            timeout,
        )

    @property
    def name(self) -> str:
        """As the metrics name it."""
        return f"{self.example.namespace}/{self.rollout['metadata']['name']}"

    def every_panel_has_data(self, timeout: float = 30.0) -> None:
        """Each query of the example's dashboard, asked of the stack's Prometheus."""
        dashboard = json.loads((self.example.path / "dashboard.json").read_text())
        for title, text in queries(dashboard, self.name):
            wait_until(
                lambda text=text: bool(self.stack.prometheus.query(text)),  # type: ignore[misc]
                f"data for the panel {title!r}: {text}",
                timeout,
            )


def queries(dashboard: Json, rollout: str) -> Iterator[tuple[str, str]]:
    """Title and PromQL of each target of a Grafana dashboard, its variables filled in as Grafana does."""
    for panel in KubeObject(dashboard).items("panels"):
        for target in panel.items("targets"):
            text = target.text("expr").replace("$rollout", rollout).replace("$__rate_interval", "1m")
            yield panel.text("title"), text


def _pod(workload: Json) -> dict[str, Any] | None:
    """The pod's spec of a Deployment, Job or CronJob."""
    spec = workload.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", {}).get("template") or spec.get("template")
    return template["spec"] if template else None


def _environment(workload: Json) -> Iterator[dict[str, Any]]:
    pod = _pod(workload) or {}
    for container in pod.get("containers", []):
        yield from container.get("env", [])


def _needed(workload: Json, services: Mapping[str, Json]) -> set[str]:
    found = {name for one in _environment(workload) for name in _SERVICE.findall(str(one.get("value", "")))}
    return found & services.keys()


def _placed(workload: Json, addresses: Mapping[str, str]) -> dict[str, Any]:
    placed = copy.deepcopy(dict(workload))
    for one in _environment(placed):
        if one["name"] == "HOST":
            one["value"] = "127.0.0.1"
        elif "value" in one:
            one["value"] = _SERVICE.sub(lambda found: addresses.get(found[1], found[0]), str(one["value"]))
    return placed
