"""The objects that a rollout owns: the payload, and one immutable ConfigMap for each revision."""

import json
from collections.abc import Mapping

from promptrollout.analysis.keeping import Files
from promptrollout.cluster.objects import ConfigMapContent, ObjectKey, RolloutObject
from promptrollout.delivery import ROLLOUT_FILE, revision_config_map
from promptrollout.revision import Revision, SealError, seal

#: The rollout that a ConfigMap belongs to, and what it is for.
ROLLOUT_LABEL = "promptrollout.dev/rollout"
KIND_LABEL = "promptrollout.dev/kind"
EVIDENCE_KIND = "evidence"
MANAGER = {"app.kubernetes.io/managed-by": "prompt-rollout"}


def labels(rollout: str, kind: str) -> dict[str, str]:
    """The labels of a ConfigMap of ours; a name too long for a label is found by its ownerReference alone."""
    return {**MANAGER, KIND_LABEL: kind, **({ROLLOUT_LABEL: rollout} if len(rollout) <= 63 else {})}


def revision_content(owner: RolloutObject, revision: Revision) -> ConfigMapContent:
    """The immutable ConfigMap that keeps a revision in history."""
    name, data = revision_config_map(owner.key.name, revision.document)
    return ConfigMapContent(
        key=ObjectKey(owner.key.namespace, name),
        data=data,
        owner=owner.as_owner,
        labels=labels(owner.key.name, "revision"),
        immutable=True,
    )


def payload_content(owner: RolloutObject, name: str, data: Mapping[str, str]) -> ConfigMapContent:
    """The ConfigMap that pods mount."""
    return ConfigMapContent(
        key=ObjectKey(owner.key.namespace, name),
        data=data,
        owner=owner.as_owner,
        labels=labels(owner.key.name, "payload"),
    )


def evidence_content(owner: RolloutObject, name: str, files: Files, summary: str) -> ConfigMapContent:
    """The immutable ConfigMap that keeps what a decision rested on."""
    return ConfigMapContent(
        key=ObjectKey(owner.key.namespace, name),
        data=files.data,
        owner=owner.as_owner,
        labels=labels(owner.key.name, EVIDENCE_KIND),
        annotations={"promptrollout.dev/decision": summary},
        immutable=True,
        binary=files.binary,
    )


def documents_in(data: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The sealed prompts in a ConfigMap's data, by short hash; what is not one, or not whole, is left out."""
    found: dict[str, dict[str, object]] = {}
    for file, text in data.items():
        if file == ROLLOUT_FILE:
            continue
        try:
            document = json.loads(text)
            revision = seal(document)
        except (ValueError, TypeError, AttributeError, SealError):
            continue
        if document.get("revision") == revision.short:
            found[revision.short] = dict(revision.document)
    return found
