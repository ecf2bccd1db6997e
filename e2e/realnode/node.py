"""The node itself: containerd, the scheduler and the kubelet, as processes of the supervisor.

Found by trying: cgroup v1 is enough with failCgroupV1 false; runc may not lower the OOM score without
CAP_SYS_RESOURCE, so it is not asked to; node name and address are 127.0.0.1, and pods use the host's network, so that
all traffic stays on the loopback interface; a CNI configuration must exist and is never used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.controlplane.binaries import Binaries
from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.kubectl import CommandError, run
from e2e.processes.supervisor import Command, Process, Supervisor, free_port, wait_until
from e2e.realnode import images, machine
from e2e.realnode.images import Image

NAME = "127.0.0.1"
PAUSE = "promptrollout.dev/pause:e2e"
READY_WITHIN_S = 90.0

_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/run"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


@dataclass(frozen=True)
class RealNode:
    """A node that runs pods; `folder` holds its state, which `machine.clear` removes."""

    supervisor: Supervisor
    programs: Binaries
    cluster: ControlPlane
    folder: Path

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.folder / "containerd.sock"

    def start(self, wanted: Sequence[Image]) -> Process:
        """Start all, with these images; the kubelet, once the node is Ready."""
        containerd = self._start_containerd()
        archive = self.folder / "image.tar"
        images.write_busybox(PAUSE, archive, ["/bin/busybox", "sleep", "2147483647"], machine.BUSYBOX)
        wait_until(self._answers, "containerd to answer", 30.0, alive=containerd)
        self._import(archive)
        for image in wanted:
            self.load(image)
        self._start_scheduler()
        kubelet = self._start_kubelet()
        wait_until(self._ready, "the node to be Ready", READY_WITHIN_S, alive=kubelet, pause=0.3)
        return kubelet

    def load(self, image: Image) -> None:
        """Make the image and keep it in containerd."""
        archive = self.folder / "image.tar"
        images.write_python(image, archive)
        self._import(archive)

    def _environment(self) -> dict[str, str]:
        return {"PATH": machine.search_path()}

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        return run(command, self._environment(), timeout=180.0)

    def _answers(self) -> bool:
        try:
            return bool(self._ctr("version"))
        except CommandError:
            return False

    def _import(self, archive: Path) -> None:
        self._ctr("images", "import", str(archive))
        archive.unlink()

    def _start_containerd(self) -> Process:
        network = {
            "type": "bridge",
            "bridge": "unused0",
            "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"},
        }
        (self.folder / "cni").mkdir()
        (self.folder / "cni" / "10-unused.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "unused", "plugins": [network]})
        )
        configuration = self.folder / "containerd.toml"
        configuration.write_text(_CONTAINERD.format(folder=self.folder, socket=self.socket, pause=PAUSE))
        return self.supervisor.spawn(
            Command("containerd", ["containerd", f"--config={configuration}"], self._environment(), grace=5.0)
        )

    def _start_scheduler(self) -> Process:
        kubeconfig = self.cluster.scheduler_kubeconfig
        flags = [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={self.folder / 'scheduler-certs'}",
            "--leader-elect=false",
        ]
        program = str(self.programs["kube-scheduler"])
        return self.supervisor.spawn(Command("kube-scheduler", [program, *flags], grace=0))

    def _start_kubelet(self) -> Process:
        configuration = self.folder / "kubelet.json"
        configuration.write_text(json.dumps(self._kubelet_configuration(), indent=1))
        flags = [
            f"--config={configuration}",
            f"--kubeconfig={self.cluster.node_kubeconfig}",
            f"--hostname-override={NAME}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet-certs'}",
        ]
        program = str(self.programs["kubelet"])
        return self.supervisor.spawn(Command("kubelet", [program, *flags], self._environment(), grace=10.0))

    def _kubelet_configuration(self) -> dict[str, object]:
        """Defaults where it matters here: syncFrequency 1m, changes of ConfigMaps by watch."""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": free_port(),
            "healthzPort": free_port(),
            "healthzBindAddress": "127.0.0.1",
            "readOnlyPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": False,
            "makeIPTablesUtilChains": False,
            "podLogsDir": str(self.folder / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "resolvConf": "",
            "evictionHard": {
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
            "imageGCHighThresholdPercent": 100,
        }

    def _ready(self) -> bool:
        node = self.cluster.kubectl.find("node", NAME)
        conditions = node.items("status.conditions") if node else []
        return any(one.text("type") == "Ready" and one.text("status") == "True" for one in conditions)
