"""kopf, and nothing else: it watches, and hands each event on. It writes nothing: no finalizers, no annotations."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import kopf

from promptrollout.api.base import GROUP, PLURAL, VERSION
from promptrollout.cluster.objects import ConfigMapObject, ObjectKey, RolloutObject
from promptrollout.cluster.parsing import parse_configmap, parse_rollout
from promptrollout.controller.children import MANAGER


class Intake(Protocol):
    """Who wants to know. Calls are plain and quick: they note what they are told and return."""

    def rollout_changed(self, seen: RolloutObject) -> None:
        """A rollout was listed, created or changed."""

    def rollout_gone(self, key: ObjectKey) -> None:
        """A rollout was deleted."""

    def configmap_changed(self, seen: ConfigMapObject, *, gone: bool) -> None:
        """A ConfigMap of ours was listed, created, changed or deleted."""


def registry(intake: Intake) -> kopf.OperatorRegistry:
    """The handlers: one for each kind, none with a memory of its own."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's own kwargs
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def rollout(event: Mapping[str, Any], **_: object) -> None:
        seen = parse_rollout(event["object"])
        if event["type"] == "DELETED":
            intake.rollout_gone(seen.key)
        else:
            intake.rollout_changed(seen)

    @kopf.on.event("", "v1", "configmaps", labels=dict(MANAGER), registry=handlers)
    async def configmap(event: Mapping[str, Any], **_: object) -> None:
        intake.configmap_changed(parse_configmap(event["object"]), gone=event["type"] == "DELETED")

    return handlers


def kopf_settings() -> kopf.OperatorSettings:
    """Quiet and bounded: see operator-craft for what each of these costs otherwise."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.chunk_size = 500
    # Events are plain calls: waiting for more of them before the first is handed on would only delay it.
    # The API server ends a watch after a while; asking for that ourselves notices a dead connection too.
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 270
    settings.persistence.finalizer = f"{GROUP}/unused"
    return settings


async def watch(
    intake: Intake, namespaces: tuple[str, ...], *, ready: asyncio.Event, stop: asyncio.Event
) -> None:
    """Watch until `stop`; `ready` is set when kopf is up."""
    await kopf.operator(
        registry=registry(intake),
        settings=kopf_settings(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        ready_flag=ready,
        stop_flag=stop,
    )
