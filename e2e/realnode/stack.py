"""The stack of e2e.stack with real pods: kubelet, containerd, runc, images, mounts, tokens, the chart's Deployment.

What differs from a cluster in a data centre: one node, and pods share its network, so each has a port of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from e2e import operator_process
from e2e.application import Application
from e2e.controlplane import binaries, cluster
from e2e.controlplane.kubectl import CommandError, Kubectl
from e2e.controlplane.programs import NODE_PROGRAMS, PROGRAMS
from e2e.objects import Json, KubeObject
from e2e.operator_process import NAMESPACE, RELEASE, Operator
from e2e.processes.supervisor import REPOSITORY, Process, ProcessError, free_port
from e2e.realnode import machine
from e2e.realnode.images import Image
from e2e.realnode.node import RealNode
from e2e.realnode.placing import PORT, placed, with_watching
from e2e.stack import PODS_READY_WITHIN_S, Stack
from e2e.workload.directory import Directory, Endpoint

OPERATOR = Image(
    "promptrollout.dev/operator:e2e",
    ["promptrollout[operator]"],
    {"promptrollout": REPOSITORY / "operator" / "promptrollout"},
    {"prompt-rollout-operator": "promptrollout.controller.main:main"},
)
SERVING = Image(
    "promptrollout.dev/e2e-serving:local",
    ["aiohttp", "prometheus-client"],
    {"promptrollout_sdk": REPOSITORY / "sdk" / "python" / "promptrollout_sdk", "e2e": REPOSITORY / "e2e"},
)
_REFRESH_S = 0.5


class RealStack(Stack):
    """A Stack on a real node. Raises MachineError when the machine cannot run one."""

    def _bring_up(self, stack: contextlib.ExitStack) -> None:
        if reason := machine.missing():
            raise machine.MachineError(reason)
        self._folder = stack.enter_context(machine.state_folder())
        super()._bring_up(stack)
        stack.callback(self._delete_pods)

    def _programs(self) -> Sequence[str]:
        return [program.name for program in (*PROGRAMS, *NODE_PROGRAMS)]

    def _profile(self) -> cluster.Profile:
        return cluster.REAL

    def _start_node(self, programs: binaries.Binaries) -> Process:
        self._node = RealNode(self.supervisor, programs, self.cluster, self._folder)
        kubelet = self._node.start([OPERATOR, SERVING])
        self._binaries = programs
        self._lap("the node is Ready")
        self._directory = Directory(self.prometheus.targets, self.endpoints)
        self._one_writer = threading.Lock()
        self._ends = threading.Event()
        watcher = threading.Thread(target=self._follow_pods, name="pod directory", daemon=True)
        watcher.start()
        self._watcher = watcher
        return kubelet

    def deploy(self, application: Application) -> None:
        """Apply it; where it mounts its prompt, a container beside it says when the file changed."""
        namespace, deployment = application.manifests(self.model_url)
        if application.watches:
            self.kubectl.apply([namespace, *_right_to_watch(application)])
            self.run([deployment])
        else:
            self.kubectl.apply([namespace])
            self.run([with_watching(deployment, SERVING.name)])

    def run(self, workloads: Sequence[Json]) -> None:
        """Apply workloads, on the node's own network."""
        self.kubectl.apply([one for given in workloads for one in placed(given, self._api_server())])

    def keep_image(self, image: Image) -> None:
        """Have the node keep another image."""
        self._node.load(image)

    def wait_for_pods(self, application: Application) -> None:
        """Until all Deployments are complete, and the directory of pods says so."""
        selector = ["-n", application.namespace, "-l", f"app={application.app}"]
        self.kubectl(
            "wait",
            "--for=condition=Available",
            "deployment",
            *selector,
            f"--timeout={PODS_READY_WITHIN_S:g}s",
            timeout=PODS_READY_WITHIN_S + 10,
        )
        self._refresh()

    def _install_operator(self, programs: binaries.Binaries) -> Operator:
        repository, _, tag = OPERATOR.name.partition(":")
        metrics_port = free_port()
        values = {
            "image.repository": repository,
            "image.tag": tag,
            "image.pullPolicy": "Never",
            "sources.default.url": self.prometheus.url,
            "ports.metrics": str(metrics_port),
            "ports.health": str(free_port()),
            "delivery.acknowledgePoll": "250ms",
            "delivery.nudgeAgain": "3s",
            "analysis.settle": "300ms",
            **self.options.chart_values,
        }
        self.chart = chart = operator_process.render(self.supervisor, programs, values)
        deployment = _on_the_hosts_network(chart.deployment, self._api_server())
        operator_process.apply(self.kubectl, [*chart.installable(), deployment])
        return PodOperator(self.kubectl, f"http://127.0.0.1:{metrics_port}/metrics")

    def reinstall(self, **values: str) -> None:
        """`helm upgrade` with these values of the chart beside those of the options."""
        self.options = replace(self.options, chart_values=values)
        self.operator = self._install_operator(self._binaries)
        self.operator.start()

    def _api_server(self) -> list[Json]:
        """There are no Service addresses on this node, so pods are told where the API server is."""
        host, _, port = self.cluster.server.removeprefix("https://").rpartition(":")
        here = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        return [{"name": name, "value": value} for name, value in here.items()]

    def _follow_pods(self) -> None:
        """Tell Prometheus and the users which pods there are, as a cluster's discovery and Services would."""
        while not self._ends.wait(_REFRESH_S):
            with contextlib.suppress(CommandError):
                self._refresh()

    def _refresh(self) -> None:
        here = {}
        for pod in self.kubectl.get("pods", "-A", "-l", PORT).items("items"):
            if pod.text("status.phase") == "Running" and not pod.text("metadata.deletionTimestamp"):
                here[pod.namespace, pod.name] = _endpoint(pod)
        with self._one_writer:
            self._directory.keep(here.values())

    def _delete_pods(self) -> None:
        """While the kubelet is there to take their mounts away; the rest is done by machine.clear."""
        self._ends.set()
        self._watcher.join(timeout=10.0)
        with contextlib.suppress(CommandError, ProcessError):
            self.kubectl("delete", "deployment", "--all", "-A", "--wait=false")
            self.kubectl("delete", "pods", "--all", "-A", "--grace-period=1", "--timeout=30s")


class PodOperator(Operator):
    """The operator as the chart's Deployment runs it; to stop it is to scale it to none."""

    def __init__(self, kubectl: Kubectl, metrics_url: str) -> None:
        self._kubectl = kubectl
        self.metrics_url = metrics_url

    def start(self) -> None:
        """One replica, and wait until it is ready."""
        self._scale(1)
        limit = f"--timeout={PODS_READY_WITHIN_S:g}s"
        self._kubectl("rollout", "status", *self._target, limit, timeout=PODS_READY_WITHIN_S + 10)

    def stop(self) -> None:
        """No replica."""
        self._scale(0)
        self._kubectl("wait", "--for=delete", "pod", *self._pods, "--timeout=60s", timeout=70)

    def kill(self) -> None:
        """Its pod is gone at once; the Deployment makes another."""
        self._kubectl("delete", "pod", *self._pods, "--grace-period=0", "--force")

    def mend(self) -> None:
        """One replica, if there is none."""
        self.start()

    def check(self) -> None:
        """Raises ProcessError when its container has been started again."""
        for pod in self._kubectl.get("pods", *self._pods).items("items"):
            for container in pod.items("status.containerStatuses"):
                if container.number("restartCount"):
                    raise ProcessError(f"the operator ended by itself:\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log."""
        try:
            return self._kubectl("logs", *self._pods, f"--tail={lines}")
        except CommandError as error:
            return f"(no log: {error.output})"

    def _scale(self, replicas: int) -> None:
        self._kubectl("scale", *self._target, f"--replicas={replicas}")

    @property
    def _target(self) -> list[str]:
        return [f"deployment/{RELEASE}", "-n", NAMESPACE]

    @property
    def _pods(self) -> list[str]:
        return ["-n", NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}"]


def _on_the_hosts_network(deployment: KubeObject, api_server: Sequence[Json]) -> KubeObject:
    """All else stays the chart's."""
    template = deployment.mapping("spec.template")
    spec = dict(deployment.mapping("spec.template.spec"))
    [container] = deployment.items("spec.template.spec.containers")
    own = {"name": "PROMPT_ROLLOUT_BIND_ADDRESS", "value": "127.0.0.1"}
    environment = [*container.raw["env"], *api_server, own]
    spec |= {"hostNetwork": True, "containers": [{**container.raw, "env": environment}]}
    whole = {**deployment.mapping("spec"), "template": {**template, "spec": spec}}
    return KubeObject({**deployment.raw, "spec": whole})


def _right_to_watch(application: Application) -> Iterator[Json]:
    """What the SDK's documentation asks for: `get` and `watch` on that one ConfigMap."""
    names = [application.config_map]
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": names, "verbs": ["get", "watch"]}
    api, meta = "rbac.authorization.k8s.io", {"name": "prompt-reader", "namespace": application.namespace}
    yield {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    yield {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": meta["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": application.namespace}],
    }


def _endpoint(pod: KubeObject) -> Endpoint:
    conditions = {one.text("type"): one.text("status") for one in pod.items("status.conditions")}
    return Endpoint(
        namespace=pod.namespace,
        pod=pod.name,
        address=f"127.0.0.1:{pod.texts('metadata.labels')[PORT]}",
        ready=conditions.get("Ready") == "True",
        scraped=pod.texts("metadata.annotations").get("prometheus.io/scrape") == "true",
        labels=pod.texts("metadata.labels"),
    )
