"""The operator as its chart would run it, but a process of this machine: flags, environment, RBAC are the chart's.

It speaks to the API server as the chart's ServiceAccount, never as an administrator.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.controlplane.binaries import Binaries
from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.kubectl import Kubectl, run
from e2e.objects import KubeObject
from e2e.processes.supervisor import REPOSITORY, Command, Process, ProcessError, Supervisor, free_port
from e2e.workload.configmaps import files_of
from e2e.workload.projector import project

CHART = REPOSITORY / "charts" / "prompt-rollout"
RELEASE = "prompt-rollout"
NAMESPACE = "prompt-rollout-system"


@dataclass(frozen=True)
class RenderedChart:
    """What helm made of the chart."""

    objects: Sequence[KubeObject]

    @property
    def deployment(self) -> KubeObject:
        return next(one for one in self.objects if one.kind == "Deployment")

    @property
    def container(self) -> KubeObject:
        return self.deployment.items("spec.template.spec.containers")[0]

    @property
    def service_account(self) -> str:
        return self.deployment.text("spec.template.spec.serviceAccountName")

    def installable(self) -> Sequence[KubeObject]:
        """All but the Deployment, which runs here as a process."""
        return [one for one in self.objects if one.kind != "Deployment"]


def render(supervisor: Supervisor, binaries: Binaries, values: Mapping[str, str]) -> RenderedChart:
    """`helm template` of the repository's chart; `values` as in --set."""
    settings = [f"--set={name}={value}" for name, value in values.items()]
    argv = [str(binaries["helm"]), "template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", *settings]
    text = run(argv, supervisor.environment())
    return RenderedChart([KubeObject(document) for document in yaml.safe_load_all(text) if document])


class Operator:
    """The operator's process; after a kill, `start` runs it again with the same settings."""

    def __init__(self, supervisor: Supervisor, command: Command, metrics_url: str) -> None:
        self._supervisor = supervisor
        self.command = command
        self.metrics_url = metrics_url
        self.process: Process | None = None
        self._wanted = False

    def start(self) -> None:
        self.process = self._supervisor.spawn(self.command)
        self._wanted = True

    def stop(self) -> int | None:
        """SIGTERM; its exit code."""
        self._wanted = False
        return self._running().stop(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as when a node dies."""
        self._wanted = False
        self._running().kill()

    def check(self) -> None:
        """Raises ProcessError when it has ended although nobody ended it."""
        if self._wanted and not self._running().running():
            raise ProcessError(f"the operator ended by itself (exit code {self._running().exit_code()})")

    def mend(self) -> None:
        """Start it, unless it runs."""
        if self.process is None or not self.process.running():
            self.start()

    def restart(self) -> None:
        self.stop()
        self.start()

    def log_tail(self, lines: int = 40) -> str:
        return self._running().log_tail(lines)

    def _running(self) -> Process:
        if self.process is None:
            raise RuntimeError("the operator has not been started")
        return self.process


def install(
    supervisor: Supervisor, cluster: ControlPlane, chart: RenderedChart, flags: Mapping[str, str]
) -> Operator:
    """Apply the chart's RBAC and the rest; the operator, not started yet. `flags` win over the chart's."""
    apply(cluster.kubectl, chart.installable())
    kubeconfig = cluster.kubeconfig_for(NAMESPACE, chart.service_account)
    moved = _write_volumes(chart, supervisor.data / "operator")
    container = chart.container
    environment = {variable.text("name"): moved(_value(variable)) for variable in container.items("env")}
    environment["KUBECONFIG"] = str(kubeconfig)
    words = [moved(str(word)) for key in ("command", "args") for word in container.raw.get(key) or []]
    program = Path(sys.executable).parent / "prompt-rollout-operator"
    arguments = words[1:] if words[:1] == [program.name] else words
    ports = {"metrics-port": str(free_port()), "health-port": str(free_port()), "bind-address": "127.0.0.1"}
    own = [f"--{name}={value}" for name, value in {**ports, **flags}.items()]
    return Operator(
        supervisor,
        Command("operator", [str(program), *arguments, *own], environment, grace=15.0),
        f"http://127.0.0.1:{ports['metrics-port']}/metrics",
    )


def apply(kubectl: Kubectl, objects: Sequence[KubeObject]) -> None:
    """Apply rendered objects as `helm install` would, into the release's namespace."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    kubectl.apply([namespace, *(_in_namespace(one).raw for one in objects)])


def _write_volumes(chart: RenderedChart, root: Path) -> Callable[[str], str]:
    """Write the ConfigMaps that the container mounts; a function that moves a path in a flag to where they are."""
    config_maps = {one.name: one for one in chart.objects if one.kind == "ConfigMap"}
    sources = {
        volume.text("name"): volume.text("configMap.name")
        for volume in chart.deployment.items("spec.template.spec.volumes")
    }
    mounts = {mount.text("mountPath"): mount.text("name") for mount in chart.container.items("volumeMounts")}
    mounted = {
        path: config_maps[sources[name]] for path, name in mounts.items() if sources.get(name) in config_maps
    }
    for path, config_map in mounted.items():
        project(root / path.lstrip("/"), files_of(config_map))

    def moved(text: str) -> str:
        for path in mounted:
            text = text.replace(path, str(root / path.lstrip("/")))
        return text

    return moved


def _value(variable: KubeObject) -> str:
    """An `env` entry's value; the Downward API's fields are those of a pod of the release."""
    field = variable.text("valueFrom.fieldRef.fieldPath")
    given = {"metadata.namespace": NAMESPACE, "metadata.name": f"{RELEASE}-0", "spec.nodeName": "e2e-node"}
    return given.get(field, "") if field else variable.text("value")


def _in_namespace(rendered: KubeObject) -> KubeObject:
    """Helm installs namespaced objects without a namespace into the release's."""
    cluster_wide = rendered.kind.startswith(("Cluster", "Namespace", "Validating", "CustomResource"))
    if cluster_wide or rendered.namespace:
        return rendered
    metadata = {**rendered.mapping("metadata"), "namespace": NAMESPACE}
    return KubeObject({**rendered.raw, "metadata": metadata})
