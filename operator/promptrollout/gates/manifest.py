"""How a Job is made of its template: named, owned, given the prompts to judge, and given no more rights than it needs.

Pure: what comes out depends on what goes in alone.
"""

import copy
from collections.abc import Mapping
from typing import cast

from promptrollout.cluster.parsing import owner_json
from promptrollout.delivery import REVISION_FILE, ROLLOUT_FILE
from promptrollout.gates.protocol import GateError, Run

#: Where the prompts are in every container: candidate.json (or <arm>.json), stable.json, rollout.json.
MOUNT = "/etc/promptrollout"
ROLLOUT_LABEL = "promptrollout.dev/rollout"
KIND_LABEL = "promptrollout.dev/kind"
GATE_LABEL = "promptrollout.dev/gate"
_VOLUME = "promptrollout"

_Dict = dict[str, object]


def job_name(run: Run) -> str:
    """Fits a Job's name and a label's value: a rollout's name has 52 characters at most."""
    return f"{run.key.name}-{run.id}"


def job_manifest(run: Run, template: Mapping[str, object], keep: int) -> _Dict:
    """The Job to create.

    Args:
        run: what it is for.
        template: `metadata` and `spec` of a Job, as in a CronJob's jobTemplate.
        keep: seconds after which it goes once it has finished, if the template does not say.

    Raises:
        GateError: the template has no containers.
    """
    copied: _Dict = copy.deepcopy(dict(template))
    metadata, spec = _dict(copied, "metadata"), _dict(copied, "spec")
    labels: _Dict = {ROLLOUT_LABEL: run.key.name, KIND_LABEL: "gate", GATE_LABEL: run.request.name}
    annotations = _dict(metadata, "annotations")
    spec.setdefault("ttlSecondsAfterFinished", keep)
    spec.setdefault("backoffLimit", 0)
    pods = _dict(spec, "template")
    pod_metadata = _dict(pods, "metadata")
    _dict(pod_metadata, "labels").update(labels)
    _prepare_pod(run, _dict(pods, "spec"))
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": run.key.namespace,
            "name": job_name(run),
            "labels": _dict(metadata, "labels") | labels,
            "annotations": annotations,
            "ownerReferences": [owner_json(run.owner)],
        },
        "spec": spec,
    }


def _prepare_pod(run: Run, pod: _Dict) -> None:
    containers = _list(pod, "containers")
    if not containers:
        raise GateError("the Job's template has no containers")
    pod.setdefault("restartPolicy", "Never")
    pod.setdefault("automountServiceAccountToken", False)
    security = _dict(pod, "securityContext")
    security.setdefault("runAsNonRoot", True)
    security.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    _list(pod, "volumes").append(_volume(run))
    for container in [*_list(pod, "initContainers"), *containers]:
        own = _dict(container, "securityContext")
        own.setdefault("allowPrivilegeEscalation", False)
        own.setdefault("capabilities", {"drop": ["ALL"]})
        # A CronJob always has one: the API server writes its default, which cannot be told from an author's wish.
        container["terminationMessagePolicy"] = "FallbackToLogsOnError"
        mounts, env = _list(container, "volumeMounts"), _list(container, "env")
        if all(mount.get("mountPath") != MOUNT for mount in mounts):
            mounts.append({"name": _VOLUME, "mountPath": MOUNT, "readOnly": True})
        named = {str(variable.get("name")) for variable in env}
        env.extend({"name": n, "value": v} for n, v in _environment(run).items() if n not in named)


def _environment(run: Run) -> Mapping[str, str]:
    request = run.request
    return {
        "PROMPTROLLOUT_NAMESPACE": run.key.namespace,
        "PROMPTROLLOUT_ROLLOUT": run.key.name,
        "PROMPTROLLOUT_GATE": request.name,
        "PROMPTROLLOUT_PLACE": request.place,
        "PROMPTROLLOUT_CANDIDATE": ",".join(revision for _, revision in request.arms),
        "PROMPTROLLOUT_STABLE": request.stable,
        "PROMPTROLLOUT_ATTEMPT": str(request.attempt),
        "PROMPTROLLOUT_DIRECTORY": MOUNT,
    }


def _volume(run: Run) -> _Dict:
    """Projected from the immutable ConfigMaps of the revisions, and from what pods are told now."""
    revisions = dict(run.request.arms)
    if run.request.stable:
        revisions["stable"] = run.request.stable
    sources = [
        _projection(f"{run.key.name}-rev-{short}", REVISION_FILE, f"{name}.json", optional=name == "stable")
        for name, short in revisions.items()
    ]
    sources.append(_projection(run.config_map, ROLLOUT_FILE, ROLLOUT_FILE, optional=True))
    return {"name": _VOLUME, "projected": {"sources": sources}}


def _projection(config_map: str, key: str, path: str, *, optional: bool) -> _Dict:
    items = [{"key": key, "path": path}]
    return {"configMap": {"name": config_map, "items": items, "optional": optional}}


def _dict(parent: _Dict, key: str) -> _Dict:
    """The map under `key`, which is there from now on."""
    value = parent.get(key)
    if value is None:
        value = parent[key] = {}
    if not isinstance(value, dict):
        raise GateError(f"the Job's template is wrong: {key} is not a map")
    return cast("_Dict", value)


def _list(parent: _Dict, key: str) -> list[_Dict]:
    value = parent.get(key)
    if value is None:
        value = parent[key] = []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise GateError(f"the Job's template is wrong: {key} is not a list of maps")
    return cast("list[_Dict]", value)
