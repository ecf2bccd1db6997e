"""From the API server's JSON to the operator's objects, and back for what it creates."""

from base64 import b64encode
from collections.abc import Iterator

from promptrollout.cluster.objects import (
    ConfigMapContent,
    ConfigMapMount,
    ConfigMapObject,
    ObjectKey,
    Owner,
    PodView,
    PolicyKey,
    PolicyObject,
    RolloutObject,
)
from promptrollout.cluster.values import (
    Json,
    flag_at,
    mapping_at,
    mappings_at,
    moment_at,
    number_at,
    text_at,
    texts_at,
)

#: Touching this annotation of a pod makes kubelet sync it at once, mounted ConfigMaps included (delivery.md).
NUDGE_ANNOTATION = "promptrollout.dev/nudge"


def key_of(raw: Json) -> ObjectKey:
    """Namespace and name of any object."""
    metadata = mapping_at(raw, "metadata")
    return ObjectKey(text_at(metadata, "namespace"), text_at(metadata, "name"))


def parse_rollout(raw: Json) -> RolloutObject:
    """A PromptRollout from its JSON (of a read, a list, or a watch event)."""
    metadata = mapping_at(raw, "metadata")
    return RolloutObject(
        key=key_of(raw),
        uid=text_at(metadata, "uid"),
        generation=number_at(metadata, "generation"),
        resource_version=text_at(metadata, "resourceVersion"),
        spec=mapping_at(raw, "spec"),
        status=mapping_at(raw, "status"),
        annotations=texts_at(metadata, "annotations"),
        labels=texts_at(metadata, "labels"),
        created_at=moment_at(metadata, "creationTimestamp"),
        deleted_at=moment_at(metadata, "deletionTimestamp"),
        api_version=text_at(raw, "apiVersion"),
        kind=text_at(raw, "kind"),
        managers=_annotation_managers(metadata),
    )


def parse_policy(key: PolicyKey, raw: Json) -> PolicyObject:
    """A policy of either kind from its JSON (items of a list do not name their kind)."""
    metadata = mapping_at(raw, "metadata")
    return PolicyObject(
        key=key,
        uid=text_at(metadata, "uid"),
        generation=number_at(metadata, "generation"),
        spec=mapping_at(raw, "spec"),
        deleted_at=moment_at(metadata, "deletionTimestamp"),
    )


def _annotation_managers(metadata: Json) -> dict[str, str]:
    """Which client last set each annotation of ours: what it calls itself, and nothing vouches for that."""
    managers: dict[str, str] = {}
    for entry in mappings_at(metadata, "managedFields"):
        fields = mapping_at(mapping_at(mapping_at(entry, "fieldsV1"), "f:metadata"), "f:annotations")
        for name in fields:
            if name.startswith("f:promptrollout.dev/"):
                managers[name.removeprefix("f:")] = text_at(entry, "manager")
    return managers


def parse_configmap(raw: Json) -> ConfigMapObject:
    """A ConfigMap from its JSON."""
    metadata = mapping_at(raw, "metadata")
    return ConfigMapObject(
        key=key_of(raw),
        uid=text_at(metadata, "uid"),
        resource_version=text_at(metadata, "resourceVersion"),
        data=texts_at(raw, "data"),
        labels=texts_at(metadata, "labels"),
        annotations=texts_at(metadata, "annotations"),
        owners=tuple(_parse_owner(owner) for owner in mappings_at(metadata, "ownerReferences")),
        immutable=flag_at(raw, "immutable"),
        binary_keys=tuple(mapping_at(raw, "binaryData")),
        deleted_at=moment_at(metadata, "deletionTimestamp"),
    )


def _parse_owner(raw: Json) -> Owner:
    return Owner(
        api_version=text_at(raw, "apiVersion"),
        kind=text_at(raw, "kind"),
        name=text_at(raw, "name"),
        uid=text_at(raw, "uid"),
        controller=flag_at(raw, "controller"),
    )


def owner_json(owner: Owner) -> dict[str, object]:
    """An ownerReference as the API wants it.

    blockOwnerDeletion stays unset: setting it takes the right to `update promptrollouts/finalizers`
    where the OwnerReferencesPermissionEnforcement admission plugin is on, and gains nothing here.
    """
    reference: dict[str, object] = {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
    return reference | {"controller": True} if owner.controller else reference


def configmap_json(content: ConfigMapContent) -> dict[str, object]:
    """A ConfigMap to create."""
    body: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": content.key.namespace,
            "name": content.key.name,
            "labels": dict(content.labels),
            "annotations": dict(content.annotations),
            "ownerReferences": [owner_json(content.owner)],
        },
        "data": dict(content.data),
    }
    if content.binary:
        body["binaryData"] = {key: b64encode(value).decode("ascii") for key, value in content.binary.items()}
    return body | {"immutable": True} if content.immutable else body


def configmap_changes(observed: ConfigMapObject, content: ConfigMapContent) -> dict[str, object]:
    """The merge patch that makes a stored ConfigMap what it shall be, without any lock; empty if it is that already.

    Keys of `data` and `binaryData` that do not belong are removed; labels, annotations and owners of others stay.
    """
    data: dict[str, object] = {key: None for key in observed.data if key not in content.data}
    data |= {key: text for key, text in content.data.items() if observed.data.get(key) != text}
    metadata: dict[str, object] = {}
    for field_name, wanted, known in (
        ("labels", content.labels, observed.labels),
        ("annotations", content.annotations, observed.annotations),
    ):
        missing = {key: text for key, text in wanted.items() if known.get(key) != text}
        if missing:
            metadata[field_name] = missing
    if not observed.controlled_by(content.owner.uid):
        others = [owner for owner in observed.owners if owner.uid != content.owner.uid]
        metadata["ownerReferences"] = [owner_json(owner) for owner in (*others, content.owner)]
    patch: dict[str, object] = {}
    if metadata:
        patch["metadata"] = metadata
    if data:
        patch["data"] = data
    if observed.binary_keys:
        patch["binaryData"] = None
    if content.immutable and not observed.immutable:
        patch["immutable"] = True
    return patch


def parse_pod(raw: Json) -> PodView:
    """A pod from its JSON."""
    metadata, status = mapping_at(raw, "metadata"), mapping_at(raw, "status")
    ready = any(
        text_at(condition, "type") == "Ready" and text_at(condition, "status") == "True"
        for condition in mappings_at(status, "conditions")
    )
    return PodView(
        key=key_of(raw),
        uid=text_at(metadata, "uid"),
        ip=text_at(status, "podIP"),
        ready=ready,
        terminating=bool(text_at(metadata, "deletionTimestamp")),
        finished=text_at(status, "phase") in {"Succeeded", "Failed"},
        mounts=tuple(_mounts(mapping_at(raw, "spec"))),
        nudge=texts_at(metadata, "annotations").get(NUDGE_ANNOTATION, ""),
    )


def _mounts(spec: Json) -> Iterator[ConfigMapMount]:
    volumes = {text_at(volume, "name"): list(_sources(volume)) for volume in mappings_at(spec, "volumes")}
    for containers in ("initContainers", "containers"):
        for container in mappings_at(spec, containers):
            for mount in mappings_at(container, "volumeMounts"):
                for config_map, projected in volumes.get(text_at(mount, "name"), ()):
                    yield ConfigMapMount(
                        config_map=config_map,
                        container=text_at(container, "name"),
                        path=text_at(mount, "mountPath"),
                        sub_path=text_at(mount, "subPath") or text_at(mount, "subPathExpr") or None,
                        projected=projected,
                    )


def _sources(volume: Json) -> Iterator[tuple[str, bool]]:
    """The names of the ConfigMaps in a volume, and whether they are projected."""
    direct = text_at(mapping_at(volume, "configMap"), "name")
    if direct:
        yield direct, False
    for source in mappings_at(mapping_at(volume, "projected"), "sources"):
        projected = text_at(mapping_at(source, "configMap"), "name")
        if projected:
            yield projected, True
