"""The chart on a real API server: it installs, its account can do its work, and nothing beyond."""

import asyncio
import contextlib
import json
import time

import pytest

from e2e.controlplane.kubectl import CommandError
from e2e.processes.supervisor import wait_until
from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.access import Scope, missing_permissions, needed
from promptrollout.cluster.errors import ClusterError, Forbidden
from promptrollout.cluster.jobs import KubeJobs
from promptrollout.cluster.kube import KubeCluster, connect
from promptrollout.cluster.objects import ConfigMapContent, ObjectKey
from promptrollout.cluster.parsing import NUDGE_ANNOTATION
from promptrollout.cluster.transport import Request
from tests.charts.conftest import APPLY_DEFINITIONS
from tests.charts.test_render import EVERYTHING
from tests.charts.values_table import CHART

pytestmark = [pytest.mark.realcluster, pytest.mark.usefixtures("farewells")]

POLICY_TAKES_HOLD_S = 20.0
ROLLOUT = {
    "apiVersion": "promptrollout.dev/v1alpha1",
    "kind": "PromptRollout",
    "metadata": {"name": "support"},
    "spec": {"prompt": {"inline": {"text": "Hello"}}, "strategy": {"immediate": {}}},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"note": "theirs"}},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "app",
                "image": "app:1",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}


@pytest.fixture
def workload(kubectl, namespace):
    """A rollout, a pod and a foreign ConfigMap in the namespace."""
    for manifest in (ROLLOUT, POD):
        kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
    kubectl("create", "configmap", "theirs", "-n", namespace, "--from-literal=a=b")


@contextlib.asynccontextmanager
async def operator(control_plane, namespace):
    """The operator's own adapter with the account that the chart made."""
    kubeconfig = control_plane.kubeconfig_for(namespace, "prompt-rollout")
    async with KubeCluster(
        await connect(kubeconfig), instance="operator-0", namespaces=[namespace]
    ) as adapter:
        yield adapter


class Account:
    """The operator's account, sending what an attacker with its token might; nothing is stored."""

    def __init__(self, transport, namespace):
        self._transport = transport
        self._namespace = namespace

    async def refused(self, method, what, body=None, api="/api/v1"):
        """What the API server says against it, empty if nothing. `what`: a path below the namespace."""
        path = f"{api}/namespaces/{self._namespace}/{what}"
        try:
            await self._transport.send(Request(method, path, f"{method} {what}", {"dryRun": "All"}, body))
        except ClusterError as error:
            return str(error)
        return ""

    async def until_policies_hold(self):
        """Policies take hold a moment after they are created."""
        for what, body in (
            ("pods/web", {"metadata": {"labels": {"probe": "1"}}}),
            ("configmaps/theirs", {"data": {}}),
        ):
            ends = time.monotonic() + POLICY_TAKES_HOLD_S
            while "operator may" not in await self.refused("PATCH", what, body):
                assert time.monotonic() < ends, f"no policy for {what}"
                await asyncio.sleep(0.1)


@pytest.fixture
async def account(install, workload, control_plane, namespace):
    """The account under the chart's default policies, in force."""
    install()
    async with await connect(control_plane.kubeconfig_for(namespace, "prompt-rollout")) as transport:
        attacker = Account(transport, namespace)
        await attacker.until_policies_hold()
        yield attacker


def refused(kubectl, *arguments):
    """What the API server says against it, empty if nothing; nothing is stored."""
    try:
        kubectl(*arguments, "--dry-run=server")
    except CommandError as error:
        return error.output
    return ""


def test_everything_that_can_be_switched_on_is_accepted(helm, kubectl, namespace):
    for watched in EVERYTHING["watchNamespaces"]:
        with contextlib.suppress(CommandError):
            kubectl("create", "namespace", watched)
    rendered = helm.template(EVERYTHING, namespace=namespace)
    said = kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [one.raw for one in rendered.objects]}),
    )  # fmt: skip
    assert len(said.splitlines()) == len(rendered.objects)
    assert "arning" not in said


def test_helm_installs_upgrades_and_leaves_nothing_but_the_definitions(
    helm, install, control_plane, kubectl, namespace
):
    install()
    install({"workers": 4, "networkPolicy": {"enabled": True}})
    assert kubectl.find("networkpolicy", "prompt-rollout", "-n", namespace)
    where = f"--kubeconfig={control_plane.kubeconfig}", f"--namespace={namespace}"
    helm("uninstall", "prompt-rollout", *where)
    left = kubectl(
        "get", "all,cm,sa,role,rolebinding,clusterrole,clusterrolebinding,networkpolicy,pdb,"
        "validatingadmissionpolicy,validatingadmissionpolicybinding",
        "-n", namespace, "-l", "app.kubernetes.io/instance=prompt-rollout", "-o", "name", "--ignore-not-found",
    )  # fmt: skip
    gone_soon = [line for line in left.splitlines() if not line.startswith(("pod/", "replicaset"))]
    assert gone_soon == []
    assert kubectl.find("crd", "promptrollouts.promptrollout.dev")


def test_the_pod_is_admitted_under_the_restricted_standard(install, kubectl, namespace):
    install()
    wait_until(
        lambda: bool(kubectl.get("pods", "-n", namespace).items("items")),
        "the Deployment's pod to be admitted",
        30,
        pause=0.2,
    )


@pytest.mark.parametrize("mode", list(DeliveryMode))
async def test_the_account_lacks_nothing_that_the_operator_asks_for(install, control_plane, namespace, mode):
    install({"delivery": {"mode": mode.value}, "replicas": 2})
    async with operator(control_plane, namespace) as adapter:
        assert not await missing_permissions(
            adapter.access, needed(mode, lease="prompt-rollout"), own_namespace=namespace
        )


async def test_with_watched_namespaces_the_account_has_no_rights_elsewhere(install, control_plane, namespace):
    install({"watchNamespaces": [namespace]})
    rights = needed(DeliveryMode.NUDGE)
    async with operator(control_plane, namespace) as adapter:
        assert not await missing_permissions(adapter.access, rights, namespaces=[namespace])
        elsewhere = await missing_permissions(adapter.access, rights, namespaces=["default"])
        assert {item.permission for item in elsewhere} == {r for r in rights if r.scope is not Scope.CLUSTER}


async def test_in_mode_mount_a_nudge_is_forbidden_and_told(install, workload, control_plane, namespace):
    install({"delivery": {"mode": "Mount"}})
    async with operator(control_plane, namespace) as adapter:
        pods = await adapter.pods(namespace)
        report = await adapter.nudge(pods, "1")
    assert {type(error) for error in report.failed.values()} == {Forbidden}


async def test_under_all_policies_the_operator_can_do_its_work(account, control_plane, kubectl, namespace):
    async with operator(control_plane, namespace) as adapter:
        (rollout,) = [found async for found in adapter.list_rollouts()]
        rollout = await adapter.patch_status(rollout, {"phase": "Healthy"})
        key = ObjectKey(namespace, "support-prompt")
        content = ConfigMapContent(key, {"rollout.json": "{}"}, rollout.as_owner)
        created = await adapter.create_configmap(content)
        updated = await adapter.update_configmap(created, ConfigMapContent(key, {}, rollout.as_owner))
        await adapter.delete_configmap(updated)
        report = await adapter.nudge(await adapter.pods(namespace), "7.0")
        adapter.emit(rollout.ref, "Normal", "Done", "done")
        await adapter.events.close()
        assert adapter.events.dropped == 0
    assert report.complete
    pod = kubectl.get("pod", "web", "-n", namespace)
    assert pod.texts("metadata.annotations") == {"note": "theirs", NUDGE_ANNOTATION: "7.0"}
    (event,) = kubectl.get("events.events.k8s.io", "-n", namespace, "--field-selector=reason=Done").items(
        "items"
    )
    assert event.text("note") == "done"


OWNER = {"kind": "PromptRollout", "name": "support", "uid": "1", "controller": True}
MISDEEDS = {
    "image": ({"spec": {"containers": [POD["spec"]["containers"][0] | {"image": "evil:1"}]}}, "pod's spec"),
    "deadline": ({"spec": {"activeDeadlineSeconds": 1}}, "pod's spec"),
    "label": ({"metadata": {"labels": {"app": "other"}}}, "labels, finalizers or owners"),
    "label removed": ({"metadata": {"labels": None}}, "labels, finalizers or owners"),
    "finalizer": ({"metadata": {"finalizers": ["a.example/b"]}}, "labels, finalizers or owners"),
    "owner": (
        {"metadata": {"ownerReferences": [OWNER | {"apiVersion": "promptrollout.dev/v1alpha1"}]}},
        "labels, finalizers or owners",
    ),
    "annotation": ({"metadata": {"annotations": {"note": "ours"}}}, "no annotation"),
    "new annotation": ({"metadata": {"annotations": {"other": "x"}}}, "no annotation"),
    "annotation removed": ({"metadata": {"annotations": {"note": None}}}, "no annotation"),
    "smuggled": ({"metadata": {"annotations": {NUDGE_ANNOTATION: "1", "other": "x"}}}, "no annotation"),
    "a book": ({"metadata": {"annotations": {NUDGE_ANNOTATION: "x" * 129}}}, "128 characters"),
}


async def test_the_operator_changes_no_more_of_a_pod_than_the_nudge(account, kubectl, namespace):
    for value in ("1", None):
        nudge = {"metadata": {"annotations": {NUDGE_ANNOTATION: value}}}
        assert await account.refused("PATCH", "pods/web", nudge) == ""
    for name, (change, complaint) in MISDEEDS.items():
        assert complaint in await account.refused("PATCH", "pods/web", change), name
    allowed = ("patch", "pod", "web", "-n", namespace, "-p", '{"metadata":{"labels":{"by":"admin"}}}')
    assert refused(kubectl, *allowed) == ""


async def test_what_the_operator_has_no_right_to_is_forbidden(account):
    for method, what, body in (
        ("DELETE", "pods/web", None),
        ("GET", "pods/web", None),
        ("PATCH", "pods/web/status", {}),
        ("POST", "pods/web/eviction", {}),
        ("POST", "pods", POD),
        ("GET", "secrets", None),
        ("POST", "serviceaccounts/prompt-rollout/token", {}),
    ):
        assert "is forbidden" in await account.refused(method, what, body), f"{method} {what}"


async def test_even_with_more_rights_than_it_needs_the_policies_hold(account, kubectl, namespace):
    kubectl(
        "create", "rolebinding", "too-much", "-n", namespace, "--clusterrole=cluster-admin",
        f"--serviceaccount={namespace}:prompt-rollout",
    )  # fmt: skip
    failed = {"status": {"phase": "Failed"}}
    ends = time.monotonic() + POLICY_TAKES_HOLD_S
    while "is forbidden: User" in (said := await account.refused("PATCH", "pods/web/status", failed)):
        assert time.monotonic() < ends, "the role binding had no effect"
        await asyncio.sleep(0.1)
    assert "status or other subresources" in said
    assert "pod's spec" in await account.refused("PATCH", "pods/web", MISDEEDS["image"][0])


async def test_the_operator_touches_no_configmap_that_no_rollout_owns(
    account, control_plane, kubectl, namespace
):
    async def attempt(method, what, body=None):
        return await account.refused(method, f"configmaps{what}", body)

    claim = {"metadata": {"ownerReferences": [OWNER | {"apiVersion": "promptrollout.dev/v1alpha1"}]}}
    theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "1", "controller": True}
    foreign = {"metadata": {"name": "new", "ownerReferences": [theirs]}}
    follower = {"metadata": {"name": "new", "ownerReferences": [claim_without_control()]}}
    for said in (
        await attempt("PATCH", "/theirs", {"data": {"a": "c"}}),
        await attempt("PATCH", "/theirs", claim),
        await attempt("DELETE", "/theirs"),
        await attempt("POST", "", {"metadata": {"name": "new"}}),
        await attempt("POST", "", foreign),
        await attempt("POST", "", follower),
    ):
        assert "a PromptRollout owns" in said
    async with operator(control_plane, namespace) as adapter:
        (rollout,) = [found async for found in adapter.list_rollouts()]
        content = ConfigMapContent(ObjectKey(namespace, "support-prompt"), {"a": "b"}, rollout.as_owner)
        await adapter.create_configmap(content)
    disowned = await attempt("PATCH", "/support-prompt", {"metadata": {"ownerReferences": None}})
    assert "a PromptRollout owns" in disowned
    assert await attempt("DELETE", "/support-prompt") == ""
    edit = ("patch", "configmap", "theirs", "-n", namespace, "--type=merge", "-p", '{"data":{"a":"c"}}')
    assert refused(kubectl, *edit) == ""


def claim_without_control():
    return OWNER | {"apiVersion": "promptrollout.dev/v1alpha1", "controller": False}


async def test_policies_can_be_switched_off(install, workload, control_plane, namespace):
    install({"podPolicy": {"enabled": False}, "configMapPolicy": {"enabled": False}})
    async with await connect(control_plane.kubeconfig_for(namespace, "prompt-rollout")) as transport:
        free = Account(transport, namespace)
        assert await free.refused("PATCH", "pods/web", {"metadata": {"labels": {"app": "other"}}}) == ""
        assert await free.refused("PATCH", "configmaps/theirs", {"data": {"a": "c"}}) == ""


def test_only_the_named_groups_command_a_rollout(install, kubectl, workload, namespace):
    install({"commandPolicy": {"groups": ["prompt-approvers", "sre's"]}})
    kubectl("create", "rolebinding", "authors", "-n", namespace, "--clusterrole=edit", "--group=authors")

    def attempt(*arguments, groups=("authors",)):
        who = ["--as=alice", *(f"--as-group={group}" for group in (*groups, "system:authenticated"))]
        return refused(kubectl, *arguments, "-n", namespace, *who)

    command = ("annotate", "prollout", "support", "promptrollout.dev/command=promote:1")
    wait_until(
        lambda: "may command a rollout" in attempt(*command), "the policy", POLICY_TAKES_HOLD_S, pause=0.2
    )
    assert "prompt-approvers, sre's" in attempt(*command)
    for approver in ("prompt-approvers", "sre's"):
        assert attempt(*command, groups=("authors", approver)) == ""
    assert attempt("annotate", "prollout", "support", "team=a") == ""
    edit = '{"spec":{"prompt":{"inline":{"text":"Better"}}}}'
    assert attempt("patch", "prollout", "support", "--type=merge", "-p", edit) == ""
    kubectl(*command, "-n", namespace, "--as=bob", "--as-group=prompt-approvers", "--as-group=authors")
    assert attempt("patch", "prollout", "support", "--type=merge", "-p", edit) == ""
    assert attempt("annotate", "prollout", "support", "promptrollout.dev/command-") == ""
    assert "may command" in attempt(
        "annotate", "prollout", "support", "promptrollout.dev/command=abort:3", "--overwrite"
    )


def test_who_commands_must_say_truly_who_they_are(install, kubectl, workload, namespace):
    install({"commandPolicy": {"identify": True}})
    kubectl("create", "rolebinding", "authors", "-n", namespace, "--clusterrole=edit", "--group=authors")

    def attempt(*by):
        command = ("annotate", "prollout", "support", "promptrollout.dev/command=approve:1", *by)
        who = ("--as=alice", "--as-group=authors", "--as-group=system:authenticated")
        return refused(kubectl, *command, "-n", namespace, *who)

    wait_until(lambda: "which is alice" in attempt(), "the policy", POLICY_TAKES_HOLD_S, pause=0.2)
    assert "which is alice" in attempt("promptrollout.dev/commanded-by=bob")
    assert attempt("promptrollout.dev/commanded-by=alice") == ""


async def test_the_operator_creates_and_deletes_no_jobs_but_those_of_rollouts(
    install, kubectl, control_plane, namespace
):
    install({"gates": {"jobs": {"enabled": True}}})
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a", "command": ["true"]}]}
    meta = {"name": "theirs", "namespace": namespace}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": {"spec": pod}}}
    owner = {"apiVersion": "promptrollout.dev/v1alpha1", "kind": "PromptRollout", "name": "x", "uid": "u"}
    owned = {**job, "metadata": {**meta, "ownerReferences": [{**owner, "controller": True}]}}
    async with await connect(control_plane.kubeconfig_for(namespace, "prompt-rollout")) as transport:
        attacker, jobs = Account(transport, namespace), KubeJobs(transport)

        async def refused_job():
            return await attacker.refused("POST", "jobs", job, api="/apis/batch/v1")

        ends = time.monotonic() + POLICY_TAKES_HOLD_S
        while "operator may" not in await refused_job():
            assert time.monotonic() < ends, "no policy for Jobs"
            await asyncio.sleep(0.1)
        made = await jobs.create(owned)
        await jobs.delete(ObjectKey(namespace, "theirs"), made["metadata"]["uid"])
        kubectl("wait", "--for=delete", "job/theirs", "-n", namespace, "--timeout=30s")
        kubectl.apply([job])
        there = await jobs.get(ObjectKey(namespace, "theirs"))
        with pytest.raises(ClusterError, match="operator may"):
            await jobs.delete(ObjectKey(namespace, "theirs"), there["metadata"]["uid"])


def test_who_may_edit_or_view_a_namespace_may_do_so_with_its_rollouts(install, kubectl, namespace):
    install()
    for role in ("edit", "view"):
        kubectl("create", "rolebinding", role, "-n", namespace, f"--clusterrole={role}", f"--user={role}or")

    def may(who, verb, *more):
        return kubectl.can_i(verb, "promptrollouts", "-n", namespace, f"--as={who}or", *more)

    wait_until(lambda: may("view", "get") and may("edit", "create"), "aggregation", 30, pause=0.2)
    assert may("edit", "get")
    assert not may("view", "create")
    assert not may("edit", "patch", "--subresource=status")


def test_definitions_are_upgraded_by_the_documented_command_before_and_after_helm(install, kubectl):
    assert " ".join(["kubectl", *APPLY_DEFINITIONS]) in (CHART / "README.md").read_text()
    install()
    assert "serverside-applied" in kubectl(*APPLY_DEFINITIONS, str(CHART / "crds"))
    install({"workers": 2})
    assert "serverside-applied" in kubectl(*APPLY_DEFINITIONS, str(CHART / "crds"))
