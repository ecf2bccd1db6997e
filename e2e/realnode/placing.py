"""Workloads as this node can run them: on its own network, so each pod with a port of its own, from images it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from e2e.application import MOUNT
from e2e.objects import Json, KubeObject
from e2e.processes.supervisor import free_port

#: The label of a pod that says at which port of the node it listens.
PORT = "promptrollout.dev/port"


def placed(workload: Json, environment: Sequence[Json]) -> Iterator[Json]:
    """A Deployment whose pods listen becomes one for each of its replicas; `environment` is added to all containers."""
    one = KubeObject(workload)
    ports = [p for c in one.items("spec.template.spec.containers") for p in c.items("ports")]
    if one.kind != "Deployment" or not ports:
        template = one.mapping("spec.template")
        metadata = {"labels": one.texts("spec.template.metadata.labels"), **one.mapping("metadata")}
        yield _with_template(one, {**template, "spec": _pod(one, environment, None)}) | {"metadata": metadata}
        return
    for number in range(int(one.number("spec.replicas") or 1)):
        port = free_port()
        name = f"{one.name}-{number}"
        template = one.mapping("spec.template")
        labels = {**one.texts("spec.template.metadata.labels"), "instance": name, PORT: str(port)}
        metadata = {**one.mapping("spec.template.metadata"), "labels": labels}
        spec = {
            **one.mapping("spec"),
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"instance": name}},
            "template": {**template, "metadata": metadata, "spec": _pod(one, environment, port)},
        }
        own = {"name": name, "namespace": one.namespace, "labels": one.texts("spec.template.metadata.labels")}
        yield {**workload, "metadata": own, "spec": spec}


def with_watching(deployment: Json, image: str) -> Json:
    """The Deployment with a container beside its own that says when the file in the mount changed."""
    one = KubeObject(deployment)
    [container] = one.items("spec.template.spec.containers")
    watching = {
        "name": "watching",
        "image": image,
        "command": ["python", "-m", "e2e.realnode.watching", f"{MOUNT}/rollout.json"],
        "volumeMounts": container.raw["volumeMounts"],
    }
    template = one.mapping("spec.template")
    spec = {**one.mapping("spec.template.spec"), "containers": [container.raw, watching]}
    return _with_template(one, {**template, "spec": spec})


def _with_template(workload: KubeObject, template: Json) -> dict[str, object]:
    return {**workload.raw, "spec": {**workload.mapping("spec"), "template": template}}


def _pod(workload: KubeObject, environment: Sequence[Json], port: int | None) -> Json:
    containers = [
        _container(one, environment, port) for one in workload.items("spec.template.spec.containers")
    ]
    return {**workload.mapping("spec.template.spec"), "hostNetwork": True, "containers": containers}


def _container(container: KubeObject, environment: Sequence[Json], port: int | None) -> Json:
    given = [one.raw for one in container.items("env")]
    own: dict[str, object] = {"imagePullPolicy": "Never", "env": [*given, *environment]}
    if port is not None and container.items("ports"):
        path = container.text("readinessProbe.httpGet.path")
        get = {"host": "127.0.0.1", "path": path, "port": port}
        own |= {
            "ports": [],
            "env": [*given, *environment, {"name": "PORT", "value": str(port)}],
            "readinessProbe": {"httpGet": get, "periodSeconds": 1},
        }
    return {**container.raw, **own}
