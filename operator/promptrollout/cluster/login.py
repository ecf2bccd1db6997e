"""How the operator gets at the API server: a kubeconfig, or the pod's service account."""

import os
from collections.abc import Mapping
from pathlib import Path

from kubernetes.aio import config as kube_config
from kubernetes.aio.client import Configuration


class LoginError(Exception):
    """No usable credentials; the message says where was looked."""


async def load_configuration(
    kubeconfig: Path | None = None, context: str | None = None, environment: Mapping[str, str] = os.environ
) -> Configuration:
    """Server, CA and credentials of the cluster to work in.

    Looked for in this order: `kubeconfig`; the variable KUBECONFIG; the service account of the pod this runs in;
    `~/.kube/config`. Tokens of a service account are re-read as kubelet rotates them; those of an exec plugin
    after the server has refused one (see Transport).

    Raises:
        LoginError: there is none, or it cannot be read.
    """
    configuration = Configuration()
    configuration.retries = None  # ours: see transport.py
    file = str(kubeconfig) if kubeconfig else environment.get("KUBECONFIG", "")
    try:
        if not file and "KUBERNETES_SERVICE_HOST" in environment:
            kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # untyped there
        else:
            await kube_config.load_kube_config(  # type: ignore[no-untyped-call] # untyped there
                config_file=file or None,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (kube_config.ConfigException, OSError, ValueError, TypeError) as error:
        where = file or "the pod's service account or ~/.kube/config"
        raise LoginError(
            f"no credentials for the API server from {where}: {error}. "
            "Give --kubeconfig or KUBECONFIG, or run in a pod with a service account"
        ) from error
    return configuration
