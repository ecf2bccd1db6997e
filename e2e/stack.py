"""The whole thing, as one context manager: control plane, Prometheus, serving pods, model, load, and the operator.

with Stack(Options(pods=5)) as stack:
    stack.kubectl("get", "pods", "-A")
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e import operator_process
from e2e.application import Application
from e2e.controlplane import binaries, cluster, prometheus
from e2e.controlplane.kubectl import Kubectl
from e2e.objects import Json, KubeObject
from e2e.operator_process import Operator
from e2e.processes.supervisor import REPOSITORY, Command, Process, Supervisor, free_port
from e2e.recorder import CONFIG_MAPS, ROLLOUTS, Recorder

CRDS = REPOSITORY / "crds"
PODS_READY_WITHIN_S = 90.0
Say = Callable[[str], None]

#: With scrapes every second the operator, too, may look more often than it does by default.
PROMPT: Mapping[str, str] = {"acknowledge-poll": "0.25", "nudge-again": "3", "settle": "0.3"}


@dataclass(frozen=True)
class Traffic:
    """What users do: requests a second, mean turns of a conversation, mean pause between two turns in seconds."""

    rate: float = 60.0
    turns: float = 3.0
    think_s: float = 0.3
    seed: int = 1


@dataclass(frozen=True)
class Options:
    """What to start. `sync_s`: kubelet's pace (seconds, from and to); `chart_values`: as in `helm --set`;

    `operator_flags`: without the dashes, after the chart's.
    """

    application: Application = field(default_factory=Application)
    traffic: Traffic | None = field(default_factory=Traffic)
    scrape_interval: str = "1s"
    sync_s: tuple[float, float] = (60.0, 90.0)
    operator: bool = True
    chart_values: Mapping[str, str] = field(default_factory=dict)
    operator_flags: Mapping[str, str] = field(default_factory=lambda: PROMPT)
    keep_data: bool = False


class Stack:
    """A running stack. Ending it ends every process; on an existing cluster it takes away what it applied."""

    def __init__(self, options: Options | None = None, say: Say = print) -> None:
        self.options = options or Options()
        self._say = say
        self._exit = contextlib.ExitStack()
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._bring_up(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def _bring_up(self, stack: contextlib.ExitStack) -> None:
        programs = binaries.find(self._programs(), say=self._say)
        self._start = time.monotonic()
        self.supervisor = stack.enter_context(Supervisor(keep_data=self.options.keep_data))
        self.model_url = self._start_model_server()
        interval = self.options.scrape_interval
        self.prometheus = prometheus.start(self.supervisor, programs, scrape_interval=interval)
        manifests = sorted(CRDS.glob("*.yaml"))
        self.cluster = cluster.start(self.supervisor, programs, *manifests, profile=self._profile())
        self.prometheus.wait()
        self._lap("API server and Prometheus answer")
        self.node = self._start_node(programs)
        self.deploy(self.options.application)
        self.recorder = stack.enter_context(Recorder(self.cluster.kubeconfig, ROLLOUTS, CONFIG_MAPS))
        self.operator = self._install_operator(programs) if self.options.operator else None
        self.wait_for_pods(self.options.application)
        self._lap(f"{self.options.application.replicas} pods are ready")
        traffic = self.options.traffic
        self.load = self._start_load(self.options.application, traffic) if traffic is not None else None

    # What tests use

    @property
    def kubectl(self) -> Kubectl:
        """An administrator's."""
        return self.cluster.kubectl

    @property
    def endpoints(self) -> Path:
        """The node agent's list of pods and their addresses."""
        return self.supervisor.data / "endpoints.json"

    def apply_rollout(self, manifest: Json) -> KubeObject:
        """Kubectl apply, then wait until the recorder has it: what is seen afterwards speaks of it."""
        written = self.kubectl.put(manifest)
        self.recorder.wait(
            lambda: self.recorder.has_seen(ROLLOUTS, written), f"{written.name} to be seen", 30
        )
        return written

    def deploy(self, application: Application) -> None:
        """Apply an application's Deployment."""
        namespace, deployment = application.manifests(self.model_url)
        self.kubectl.apply([namespace])
        self.run([deployment])

    def run(self, workloads: Sequence[Json]) -> None:
        """Apply Deployments, Jobs and the like, as this stack's node can run them."""
        self.kubectl.apply(workloads)

    def wait_for_pods(self, application: Application) -> None:
        """Until the Deployment has all its pods ready, as `kubectl rollout status` sees it."""
        self.kubectl(
            "rollout",
            "status",
            f"deployment/{application.app}",
            "-n",
            application.namespace,
            f"--timeout={PODS_READY_WITHIN_S:g}s",
            timeout=PODS_READY_WITHIN_S + 10,
        )

    def pods(self, application: Application | None = None) -> Sequence[KubeObject]:
        chosen = application or self.options.application
        return self.kubectl.get("pods", "-n", chosen.namespace, "-l", f"app={chosen.app}").items("items")

    def start_load(self, application: Application, traffic: Traffic) -> Process:
        """A further load generator; stop it by its `.stop()`."""
        return self._start_load(application, traffic)

    def check(self) -> None:
        """Raises ProcessError when the operator has died."""
        if self.operator is not None:
            self.operator.check()

    def stop_prometheus(self) -> None:
        self.prometheus.process.kill()

    def start_prometheus(self) -> None:
        """Again, with its data and address."""
        process = self.supervisor.spawn(self.prometheus.command)
        self.prometheus = replace(self.prometheus, process=process)
        self.prometheus.wait()

    def mend(self) -> None:
        """Run again what a scenario stopped and, having failed, did not start."""
        if not self.prometheus.process.running():
            self.start_prometheus()
        if self.operator is not None:
            self.operator.mend()

    def detach(self) -> None:
        """Leave all running after this process; SIGTERM to `supervisor.warden_pid` ends it."""
        self.supervisor.detach()

    # Parts; a stack with a node of another kind has its own

    def _programs(self) -> Sequence[str] | None:
        """The programs it needs; None: those that every stack does."""
        return None

    def _profile(self) -> cluster.Profile:
        return cluster.PROCESSES

    def _lap(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._start:5.1f} s  {what}")

    def _module(self, name: str, module: str, *flags: str) -> Process:
        path = f"{REPOSITORY}:{REPOSITORY / 'sdk' / 'python'}"
        return self.supervisor.spawn(
            Command(name, [sys.executable, "-m", module, *flags], {"PYTHONPATH": path})
        )

    def _start_model_server(self) -> str:
        port = free_port()
        self._module("model-server", "e2e.workload.modelserver", f"--port={port}")
        return f"http://127.0.0.1:{port}"

    def _start_node(self, _programs: binaries.Binaries) -> Process:
        data = self.supervisor.data
        scheduler = self.cluster.scheduler_kubeconfig
        return self._module(
            "node-agent",
            "e2e.workload.node",
            f"--name={cluster.NODE}",
            f"--kubeconfig={self.cluster.node_kubeconfig}",
            *([f"--scheduler-kubeconfig={scheduler}"] if scheduler is not None else []),
            f"--folder={data / 'pods'}",
            f"--logs={self.supervisor.logs / 'pods'}",
            f"--targets={self.prometheus.targets}",
            f"--endpoints={self.endpoints}",
            "--sync",
            *(str(seconds) for seconds in self.options.sync_s),
        )

    def _install_operator(self, programs: binaries.Binaries) -> Operator:
        values = {"sources.default.url": self.prometheus.url, **self.options.chart_values}
        chart = operator_process.render(self.supervisor, programs, values)
        operator = operator_process.install(self.supervisor, self.cluster, chart, self.options.operator_flags)
        operator.start()
        return operator

    def _start_load(self, application: Application, traffic: Traffic) -> Process:
        name = f"load-{application.namespace}-{application.app}"
        return self._module(
            name,
            "e2e.workload.load",
            f"--endpoints={self.endpoints}",
            f"--report={self.supervisor.data / f'{name}.json'}",
            f"--namespace={application.namespace}",
            f"--app={application.app}",
            f"--rate={traffic.rate:g}",
            f"--turns={traffic.turns:g}",
            f"--think={traffic.think_s:g}",
            f"--seed={traffic.seed}",
        )
