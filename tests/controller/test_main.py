"""The operator's process, as a pod runs it, on a real API server."""

import json
import sys
import urllib.error
import urllib.request
from itertools import count
from pathlib import Path

import pytest

from e2e.processes.supervisor import Command, free_port, wait_until
from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.access import needed
from tests.controller.conftest import rollout_manifest

pytestmark = pytest.mark.realcluster

PROGRAM = str(Path(sys.executable).parent / "prompt-rollout-operator")
_numbers = count(1)


def rules(mode=DeliveryMode.MOUNT, lease=None, without=()):
    return [
        {"apiGroups": [p.group], "resources": [p.resource], "verbs": list(p.verbs)}
        for p in needed(mode, lease=lease, cluster_policies=False)
        if p.resource not in without
    ]


class Operator:
    """A running process and its probes."""

    def __init__(self, supervisor, *flags):
        self.health, self.metrics = free_port(), free_port()
        command = [
            PROGRAM,
            f"--health-port={self.health}",
            f"--metrics-port={self.metrics}",
            "--log-format=json",
        ]
        self.process = supervisor.spawn(
            Command(f"operator-{next(_numbers)}", [*command, "--bind-address=127.0.0.1", *flags], grace=15.0)
        )

    def ask(self, path, port=None):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.health}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()
        except OSError as error:
            return 0, str(error)

    def says(self, path, status, text=""):
        wait_until(
            lambda: self.ask(path)[0] == status and text in self.ask(path)[1],
            f"{path} to answer {status} {text}",
            30.0,
            alive=self.process,
        )
        return self.ask(path)[1]

    def gauge(self, name, labels=""):
        _, page = self.ask("/metrics", self.metrics)
        start = f"promptrollout_operator_{name}{labels} "
        return next(
            (float(line.removeprefix(start)) for line in page.splitlines() if line.startswith(start)), None
        )

    def ended(self):
        wait_until(lambda: self.process.exit_code() is not None, "the operator to end", 60.0)
        return self.process.exit_code()

    def log(self):
        return [json.loads(line) for line in self.process.log.read_text().splitlines()]


@pytest.fixture
def operator(supervisor, namespace, tmp_path):
    """Starts one. Its metric source is a port on which nobody listens."""
    running = []
    sources = tmp_path / "sources.yaml"
    sources.write_text(f"sources: {{default: {{url: 'http://127.0.0.1:{free_port()}'}}}}")

    def begin(kubeconfig, *flags):
        scope = [f"--kubeconfig={kubeconfig}", f"--namespaces={namespace}", "--delivery-mode=Mount"]
        scope.append("--cluster-policies=false")
        scope.append(f"--sources-file={sources}")
        running.append(Operator(supervisor, *scope, *flags))
        return running[-1]

    yield begin
    for one in running:
        one.process.kill()
        sys.stdout.write(one.process.log_tail())


def test_it_carries_out_a_rollout_and_ends_on_sigterm_within_seconds(account, kubectl, namespace, operator):
    running = operator(account(rules()))
    running.says("/readyz", 200)
    kubectl.create(rollout_manifest(namespace))
    kubectl("wait", "--for=create", "configmap/support-prompt", "-n", namespace, "--timeout=60s")
    wait_until(
        lambda: running.gauge("rollouts", '{phase="Delivering"}') == 1, "the phase to be counted", 30.0
    )
    assert running.gauge("reconcile_total", '{result="ok"}') >= 1
    assert running.gauge("api_requests_total", '{code="201",resource="configmaps",verb="create"}') == 2
    assert running.gauge("leader") == running.gauge("ready") == 1
    assert "[+]workers ok" in running.says("/healthz", 200)
    assert running.process.stop() == 0
    lines = running.log()
    assert {"timestamp", "level", "logger", "message"} <= set(lines[0])
    assert [line for line in lines if line["level"] == "error" or "Traceback" in str(line)] == []


def test_a_missing_right_is_told_and_waited_for(account, kubectl, namespace, operator):
    running = operator(account(rules(without=("configmaps",))))
    said = running.says("/readyz", 503, "configmaps")
    assert "may not get, list, watch, create, patch, delete configmaps" in said
    assert f"in namespace {namespace}" in said
    assert running.ask("/healthz")[0] == 200
    kubectl.create(rollout_manifest(namespace))
    account(rules())
    running.says("/readyz", 200)
    kubectl("wait", "--for=create", "configmap/support-prompt", "-n", namespace, "--timeout=60s")
    assert sum("may not" in line["message"] for line in running.log()) == 1


def test_sigterm_ends_it_while_it_waits_for_its_rights(account, operator):
    running = operator(account([]))
    running.says("/readyz", 503, "rights")
    assert running.process.stop() == 0


def test_of_two_with_one_lease_one_works_and_the_other_takes_over(account, kubectl, namespace, operator):
    kubeconfig = account(rules(lease="prompt-rollout"))
    election = ("--leader-election", f"--lease-namespace={namespace}")
    first = operator(kubeconfig, *election)
    wait_until(lambda: first.gauge("leader") == 1, "the first to lead", 60.0)
    second = operator(kubeconfig, *election)
    second.says("/readyz", 200)
    assert second.gauge("leader") == 0
    assert first.process.stop() == 0
    wait_until(lambda: second.gauge("leader") == 1, "the second to lead", 30.0)
    kubectl.create(rollout_manifest(namespace))
    kubectl("wait", "--for=create", "configmap/support-prompt", "-n", namespace, "--timeout=60s")


def test_a_lost_lease_ends_the_process_with_status_1(account, kubectl, namespace, operator):
    running = operator(
        account(rules(lease="prompt-rollout")), "--leader-election", f"--lease-namespace={namespace}"
    )
    wait_until(lambda: running.gauge("leader") == 1, "it to lead", 60.0)
    patch = json.dumps({"spec": {"holderIdentity": "another"}})
    kubectl("patch", "lease", "prompt-rollout", "-n", namespace, "--type=merge", "-p", patch)
    assert running.ended() == 1
    assert "another holds the lease" in running.process.log.read_text()


def test_a_port_that_is_taken_ends_it_with_status_2_and_one_line(account, operator):
    kubeconfig = account(rules())
    first = operator(kubeconfig)
    first.says("/readyz", 200)
    second = operator(kubeconfig, f"--health-port={first.health}")
    assert second.ended() == 2
    assert f"{first.health}" in second.log()[-1]["message"]


def test_credentials_that_are_not_there_end_it_with_status_2_and_one_line(operator, tmp_path):
    running = operator(tmp_path / "absent")
    assert running.ended() == 2
    assert "no credentials for the API server" in running.log()[-1]["message"]
