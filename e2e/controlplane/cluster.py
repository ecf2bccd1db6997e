"""A control plane that is ready in seconds: etcd, kube-apiserver, kube-controller-manager; RBAC and token users.

`KUBECONFIG_E2E` names the kubeconfig of an administrator of an existing cluster (kind, say) to use instead; then
nothing is started here, and the caller takes away again what it applied.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.controlplane.binaries import Binaries
from e2e.controlplane.kubeconfig import User, new_signing_key, write_kubeconfig, write_secret
from e2e.controlplane.kubectl import Kubectl
from e2e.objects import KubeObject
from e2e.processes.supervisor import Command, Process, Supervisor, free_port, wait_until

READY_WITHIN_S = 90.0
NODE = "e2e-node"
ISSUER = "https://kubernetes.default.svc"

# What a cluster does by itself and rollouts rely on; scheduling, volumes, certificates and endpoints are left out.
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "ttl-after-finished-controller",
    "validatingadmissionpolicy-status-controller",
)


@dataclass(frozen=True)
class Profile:
    """What kind of node the cluster is for: its name, the controllers to run, and whether pods get tokens.

    `audit`: the API server logs what service accounts ask.
    """

    node: str
    controllers: Sequence[str]
    tokens: bool
    audit: bool = False


#: Who asked for what, and whether it was allowed; the bodies are not kept.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}

#: Pods that are processes of the node agent need no tokens; for a real kubelet all is as in any cluster.
PROCESSES = Profile(NODE, CONTROLLERS, tokens=False)
REAL = Profile("127.0.0.1", ("*",), tokens=True, audit=True)


@dataclass(frozen=True)
class ControlPlane:
    """A running API server. `kubectl` is an administrator's; `node_kubeconfig` is the kubelet's.

    The processes, and the scheduler's kubeconfig, are None when the cluster is somebody else's; the audit log where
    there is none.
    """

    server: str
    authority: Path
    node_kubeconfig: Path
    kubectl: Kubectl
    folder: Path
    scheduler_kubeconfig: Path | None = None
    etcd: Process | None = None
    api_server: Process | None = None
    controller_manager: Process | None = None
    audit_log: Path | None = None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.kubectl.kubeconfig

    @property
    def external(self) -> bool:
        return self.api_server is None

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig that is that service account, by a token of the TokenRequest API."""
        token = self.kubectl.token(namespace, service_account)
        path = self.folder / f"{namespace}.{service_account}.kubeconfig"
        return write_kubeconfig(path, self.server, self.authority, token)

    def as_user(self, kubeconfig: Path) -> Kubectl:
        return Kubectl(self.kubectl.binary, kubeconfig, self.kubectl.environment)


def start(
    supervisor: Supervisor, binaries: Binaries, *before_controllers: Path, profile: Profile = PROCESSES
) -> ControlPlane:
    """The cluster that `KUBECONFIG_E2E` names, else a new one.

    `before_controllers`: manifests (the CRDs) applied before the controller manager starts, so that its garbage
    collector knows them at once rather than at its next discovery, up to 30 s later.
    """
    existing = os.environ.get("KUBECONFIG_E2E")
    if not existing:
        return _Starter(supervisor, binaries, profile).start(before_controllers)
    cluster = _existing(supervisor, binaries, Path(existing))
    for manifest in before_controllers:
        cluster.kubectl.apply(manifest)
    return cluster


def _existing(supervisor: Supervisor, binaries: Binaries, kubeconfig: Path) -> ControlPlane:
    kubectl = Kubectl(binaries["kubectl"], kubeconfig, supervisor.environment())
    view = KubeObject(json.loads(kubectl("config", "view", "--minify", "--flatten", "--raw", "-o", "json")))
    target = view.items("clusters")[0]
    data = target.text("cluster.certificate-authority-data")
    authority = write_secret(supervisor.data / "ca.crt", base64.b64decode(data).decode())
    return ControlPlane(target.text("cluster.server"), authority, kubeconfig, kubectl, supervisor.data)


class _Starter:
    """Starts the three in order; each is disposable, so each is killed rather than stopped (grace 0)."""

    def __init__(self, supervisor: Supervisor, binaries: Binaries, profile: Profile) -> None:
        self._supervisor = supervisor
        self._binaries = binaries
        self._profile = profile
        self._folder = supervisor.data / "control-plane"
        self._folder.mkdir()
        self._port = free_port()
        self._admin = User.new("e2e-admin", "system:masters")
        self._controllers = User.new("system:kube-controller-manager", "system:masters")
        self._scheduler = User.new("system:kube-scheduler")
        self._node = User.new(f"system:node:{profile.node}", "system:nodes")
        self._certificate = self._folder / "certs" / "apiserver.crt"  # self-signed, and so its own authority
        self._key = write_secret(self._folder / "service-account.key", new_signing_key())

    def start(self, before_controllers: tuple[Path, ...]) -> ControlPlane:
        client_url = f"http://127.0.0.1:{free_port()}"
        etcd = self._start_etcd(client_url)
        api_server = self._start_api_server(client_url)
        wait_until(self._ready, "kube-apiserver to be ready", READY_WITHIN_S, alive=api_server)
        kubeconfig = self._kubeconfig("admin", self._admin)
        kubectl = Kubectl(self._binaries["kubectl"], kubeconfig, self._supervisor.environment())
        for manifest in before_controllers:
            kubectl.apply(manifest)
        return ControlPlane(
            server=self._server,
            authority=self._certificate,
            node_kubeconfig=self._kubeconfig("node", self._node),
            kubectl=kubectl,
            folder=self._folder,
            scheduler_kubeconfig=self._kubeconfig("scheduler", self._scheduler),
            etcd=etcd,
            api_server=api_server,
            controller_manager=self._start_controller_manager(),
            audit_log=self._audit_log if self._profile.audit else None,
        )

    @property
    def _audit_log(self) -> Path:
        return self._folder / "audit.jsonl"

    def _audit(self) -> list[str]:
        if not self._profile.audit:
            return []
        policy = self._folder / "audit-policy.json"
        policy.write_text(json.dumps(_AUDIT_POLICY))
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self._audit_log}"]

    @property
    def _server(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def _spawn(self, name: str, *flags: str) -> Process:
        return self._supervisor.spawn(Command(name, [str(self._binaries[name]), *flags], grace=0))

    def _start_etcd(self, client_url: str) -> Process:
        peer_url = f"http://127.0.0.1:{free_port()}"
        return self._spawn(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def _start_api_server(self, etcd_url: str) -> Process:
        users = (self._admin, self._controllers, self._scheduler, self._node)
        tokens = "".join(f"{user.row()}\n" for user in users)
        return self._spawn(
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            f"--cert-dir={self._certificate.parent}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            "--endpoint-reconciler-type=none",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            f"--token-auth-file={write_secret(self._folder / 'tokens.csv', tokens)}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            *([] if self._profile.tokens else ["--disable-admission-plugins=ServiceAccount"]),
            *self._audit(),
            "--service-cluster-ip-range=10.0.0.0/24",
            "--profiling=false",
        )

    def _start_controller_manager(self) -> Process:
        return self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self._kubeconfig('controllers', self._controllers)}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={self._folder / 'controller-certs'}",
            f"--service-account-private-key-file={self._key}",
            f"--root-ca-file={self._certificate}",
            f"--controllers={','.join(self._profile.controllers)}",
            "--leader-elect=false",
            "--profiling=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def _kubeconfig(self, name: str, user: User) -> Path:
        return write_kubeconfig(
            self._folder / f"{name}.kubeconfig", self._server, self._certificate, user.token
        )

    def _ready(self) -> bool:
        """Whether /readyz says ok; the certificate appears when the server has made it."""
        if not self._certificate.exists():
            return False
        try:
            context = ssl.create_default_context(cafile=str(self._certificate))
            with urllib.request.urlopen(f"{self._server}/readyz", timeout=2, context=context) as answer:  # noqa: S310 - own server
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError, ssl.SSLError):
            return False
