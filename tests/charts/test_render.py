"""What helm makes of the chart: facts of the objects, not their text."""

import re

import pytest
import yaml

from e2e.controlplane.kubectl import CommandError
from promptrollout.api.spec import DeliveryMode
from promptrollout.cluster.access import Scope, needed
from promptrollout.controller.settings import load, load_sources
from tests.charts.values_table import CHART

pytestmark = pytest.mark.realcluster  # helm is built and cached with the control plane

EVERYTHING = {
    "nameOverride": "rollouts",
    "replicas": 2,
    "image": {"repository": "registry.example.com/prompt-rollout", "digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "watchNamespaces": ["shop", "search"],
    "sources": {
        "default": {"url": "http://prometheus:9090"},
        "mimir": {
            "url": "https://mimir.example.com/prometheus",
            "tenant": "shop",
            "timeout": "5s",
            "tokenSecret": {"name": "mimir", "key": "token"},
            "caConfigMap": {"name": "ca", "key": "bundle.pem"},
            "clientCertificateSecret": {"name": "client"},
        },
        "old": {
            "url": "http://old:9090",
            "username": "me",
            "passwordSecret": {"name": "old", "key": "password"},
        },
    },
    "delivery": {"mode": "Nudge", "acknowledgePoll": 1, "nudgeAgain": "45s"},
    "gates": {
        "jobs": {"enabled": True, "inlineTemplates": True, "history": 3, "keep": 600},
        "webhooks": {
            "risk": {
                "url": "https://risk.example.com/gate",
                "timeout": "20s",
                "documents": False,
                "signingSecret": {"name": "risk", "key": "signing"},
                "tokenSecret": {"name": "risk", "key": "token"},
                "caConfigMap": {"name": "ca", "key": "bundle.pem"},
            }
        },
        "allowedHosts": ["*.example.com"],
    },
    "notifications": {
        "channels": {
            "team": {
                "type": "slack",
                "urlSecret": {"name": "chat", "key": "slack"},
                "caSecret": {"name": "ca", "key": "ca"},
                "reasons": ["RolledBack", "Promoted"],
                "namespaces": ["shop"],
                "template": "{{ message }} ({{ phase }})",
                "perMinute": 0.5,
                "burst": 3,
            },
            "audit": {
                "type": "webhook",
                "url": "https://audit.example.com/in",
                "signingSecret": {"name": "audit", "key": "signing"},
                "tokenSecret": {"name": "audit", "key": "token"},
                "timeout": "5s",
                "reasons": ["*"],
            },
        },
        "defaultChannels": ["team"],
        "title": "{{ rollout }}",
    },
    "policies": {"cluster": True},
    "analysis": {"settle": "500ms"},
    "workers": 4,
    "resyncInterval": 300,
    "log": {"level": "debug", "format": "text"},
    "ports": {"metrics": 9000, "health": 9001},
    "leaderElection": {"leaseName": "the-lease"},
    "serviceAccount": {"annotations": {"example.com/role": "x"}},
    "commandPolicy": {"groups": ["prompt-approvers"], "identify": True},
    "service": {"annotations": {"prometheus.io/scrape": "true"}},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}], "egress": [{}]},
    "podDisruptionBudget": {"enabled": True},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "extraArgs": ["--log-level=info"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
}


def test_the_chart_passes_helms_strict_lint(helm):
    helm("lint", str(CHART), "--strict")
    helm("lint", str(CHART), "--strict", values=EVERYTHING)


def test_one_operator_runs_and_never_two(helm):
    deployment = helm.template().one("Deployment")
    assert deployment.number("spec.replicas") == 1
    assert deployment.text("spec.strategy.type") == "Recreate"


def test_more_than_one_come_with_a_lease(helm):
    rendered = helm.template({"replicas": 2})
    environment = {item.text("name"): item.text("value") for item in rendered.container.items("env")}
    assert environment["PROMPT_ROLLOUT_LEADER_ELECTION"] == "true"
    assert rendered.one("Deployment").text("spec.strategy.type") == "RollingUpdate"


def test_the_pod_is_restricted(helm):
    rendered = helm.template()
    pod = rendered.one("Deployment").mapping("spec.template.spec")
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False
    assert rendered.container.mapping("securityContext") == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert rendered.container.mapping("resources.requests")
    assert rendered.container.mapping("resources.limits")


def test_probes_and_scrapes_go_to_the_ports_that_the_operator_listens_on(helm):
    container = helm.template(EVERYTHING).container
    ports = {port.text("name"): port.number("containerPort") for port in container.items("ports")}
    assert ports == {"metrics": 9000, "health": 9001}
    for probe, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
        assert container.mapping(f"{probe}Probe.httpGet") == {"path": path, "port": "health"}


def settings_of(rendered, folder):
    """The operator's own reading of the environment and arguments that the chart gives it."""
    file, registries = folder / "sources.yaml", folder / "registries.yaml"
    file.write_text(rendered.sources)
    registries.write_text(rendered.registries)
    container = rendered.container
    environment = {item.text("name"): item.text("value") for item in container.items("env")}
    assert environment["PROMPT_ROLLOUT_SOURCES_FILE"] == "/etc/prompt-rollout/sources.yaml"
    gates = folder / "gates.yaml"
    gates.write_text(rendered.one("ConfigMap").texts("data")["gates.yaml"])
    assert environment["PROMPT_ROLLOUT_GATES_FILE"] == "/etc/prompt-rollout/gates.yaml"
    notifications = folder / "notifications.yaml"
    notifications.write_text(rendered.one("ConfigMap").texts("data")["notifications.yaml"])
    assert environment["PROMPT_ROLLOUT_NOTIFICATIONS_FILE"] == "/etc/prompt-rollout/notifications.yaml"
    mounts = {mount.text("mountPath") for mount in container.items("volumeMounts")}
    assert "/etc/prompt-rollout" in mounts
    files = {
        "PROMPT_ROLLOUT_SOURCES_FILE": str(file),
        "PROMPT_ROLLOUT_REGISTRIES_FILE": str(registries),
        "PROMPT_ROLLOUT_GATES_FILE": str(gates),
        "PROMPT_ROLLOUT_NOTIFICATIONS_FILE": str(notifications),
    }
    return load(
        container.raw.get("args", []),
        environment | files | {"POD_NAMESPACE": "ops"},
    )


def test_the_operator_reads_the_charts_defaults_as_its_own(helm, tmp_path):
    assert helm.template().container.raw["command"] == ["prompt-rollout-operator"]
    given = settings_of(helm.template(), tmp_path)
    own = load([], {})
    assert given.ignored == ()
    for name in ("delivery_mode", "acknowledge_poll", "nudge_again", "settle", "workers", "resync_interval"):
        assert getattr(given, name) == getattr(own, name), name
    assert (given.metrics_port, given.health_port) == (own.metrics_port, own.health_port)
    assert given.namespaces == ()
    assert list(given.sources) == ["default"]
    assert list(given.registries) == []
    assert given.gates == own.gates
    assert given.notifications == own.notifications


def test_every_value_reaches_the_operator(helm, tmp_path):
    given = settings_of(helm.template(EVERYTHING), tmp_path)
    assert given.namespaces == ("shop", "search")
    assert (given.acknowledge_poll, given.nudge_again, given.settle) == (1, 45, 0.5)
    assert (given.workers, given.resync_interval) == (4, 300)
    assert (given.log_level, given.log_format) == ("info", "text")
    assert (given.leader_election, given.lease_name, given.lease_namespace) == (True, "the-lease", "ops")
    assert (given.metrics_port, given.health_port) == (9000, 9001)
    jobs = given.gates.jobs
    assert (jobs.enabled, jobs.inline_templates, jobs.history, jobs.keep) == (True, True, 3, 600)


def mounted_files(rendered):
    """The key of a Secret or a ConfigMap, by the path at which the operator has it."""
    volumes = {v.text("name"): v for v in rendered.one("Deployment").items("spec.template.spec.volumes")}
    return {
        f"{mount.text('mountPath')}/{item.text('path')}": item.text("key")
        for mount in rendered.container.items("volumeMounts")
        for source in volumes[mount.text("name")].items("projected.sources")
        for kind in ("secret", "configMap")
        for item in source.items(f"{kind}.items")
    }


def test_the_secrets_of_channels_are_files_that_are_mounted(helm, tmp_path):
    rendered = helm.template(EVERYTHING)
    given, files = settings_of(rendered, tmp_path).notifications, mounted_files(rendered)
    team, audit = given.channels["team"], given.channels["audit"]
    assert (given.default_channels, given.title, given.template) == (("team",), "{{ rollout }}", None)
    assert (team.type, team.namespaces, team.per_minute, team.burst) == ("slack", ("shop",), 0.5, 3)
    assert team.template == "{{ message }} ({{ phase }})"
    assert (files[str(team.url_file)], files[str(team.ca_file)]) == ("slack", "ca")
    assert (audit.url, audit.timeout, audit.reasons) == ("https://audit.example.com/in", 5, ("*",))
    assert (files[str(audit.secret_file)], files[str(audit.bearer_token_file)]) == ("signing", "token")
    assert "urlSecret" not in rendered.one("ConfigMap").texts("data")["notifications.yaml"]


SECRET = {"name": "a", "key": "b"}


@pytest.mark.parametrize(
    "channel",
    [
        {"type": "slak", "urlSecret": SECRET},
        {"type": "slack"},
        {"type": "slack", "url": "https://hooks.slack.com/services/a/b/c"},
        {"type": "slack", "urlSecret": SECRET, "signingSecret": SECRET},
        {"type": "webhook", "url": "https://x.example/"},
        {"type": "webhook", "url": "https://x.example/?key=a", "signingSecret": SECRET},
        {"type": "webhook", "url": "https://x.example/", "urlSecret": SECRET, "signingSecret": SECRET},
        {"type": "discord", "urlSecret": SECRET, "reasons": ["rolled back"]},
        {"type": "discord", "urlSecret": SECRET, "perMinute": 0},
    ],
)
def test_a_channel_that_cannot_be_is_refused(helm, channel):
    with pytest.raises(CommandError, match="/notifications/channels/team"):
        helm.template({"notifications": {"channels": {"team": channel}}})


def test_the_secrets_of_webhooks_are_files_that_are_mounted(helm, tmp_path):
    rendered = helm.template(EVERYTHING)
    risk = settings_of(rendered, tmp_path).gates.webhooks["risk"]
    assert (risk.host, risk.timeout, risk.documents) == ("risk.example.com", 20, False)
    files = mounted_files(rendered)
    assert files[str(risk.secret_file)] == "signing"
    assert files[str(risk.bearer_token_file)] == "token"
    assert files[str(risk.ca_file)] == "bundle.pem"


@pytest.mark.parametrize(
    "webhook",
    [
        {"url": "https://x.example/"},
        {"url": "https://u:p@x.example/", "signingSecret": {"name": "a", "key": "b"}},
        {"url": "ftp://x.example/", "signingSecret": {"name": "a", "key": "b"}},
    ],
)
def test_a_webhook_without_secret_or_with_a_strange_url_is_refused(helm, webhook):
    with pytest.raises(CommandError):
        helm.template({"gates": {"webhooks": {"risk": webhook}}})


def test_credentials_are_files_that_are_mounted(helm, tmp_path):
    rendered = helm.template(EVERYTHING)
    file = tmp_path / "sources.yaml"
    file.write_text(rendered.sources)
    sources = load_sources(file)
    mimir, old = sources["mimir"], sources["old"]
    assert (mimir.tenant, mimir.timeout) == ("shop", 5)
    spec = rendered.one("Deployment")
    volumes = {volume.text("name"): volume for volume in spec.items("spec.template.spec.volumes")}
    files = {
        f"{mount.text('mountPath')}/{item.text('path')}": (
            kind,
            source.text(f"{kind}.name"),
            item.text("key"),
        )
        for mount in rendered.container.items("volumeMounts")
        for source in volumes[mount.text("name")].items("projected.sources")
        for kind in ("secret", "configMap")
        for item in source.items(f"{kind}.items")
    }
    assert files[str(mimir.bearer_token_file)] == ("secret", "mimir", "token")
    assert files[str(mimir.ca_file)] == ("configMap", "ca", "bundle.pem")
    assert files[str(mimir.client_certificate_file)] == ("secret", "client", "tls.crt")
    assert files[str(mimir.client_key_file)] == ("secret", "client", "tls.key")
    assert files[str(old.password_file)] == ("secret", "old", "password")
    assert len([file for file in files if "credentials" in file]) == 5


def test_a_registry_has_its_credentials_beside_those_of_a_source_of_its_name(helm, tmp_path):
    token = {"name": "mlflow", "key": "token"}
    registry = {"url": "http://mlflow:5000", "tokenSecret": token, "pollInterval": "30s"}
    rendered = helm.template({"registries": {"default": registry}})
    mlflow = settings_of(rendered, tmp_path).registries["default"]
    assert (mlflow.poll_interval, mlflow.type) == (30, "mlflow")
    mounts = {mount.text("mountPath") for mount in rendered.container.items("volumeMounts")}
    assert str(mlflow.bearer_token_file.parent) in mounts


def test_no_sources_at_all_is_a_configuration_too(helm, tmp_path):
    assert settings_of(helm.template({"sources": {"default": None}}), tmp_path).sources == {}


def test_other_sources_are_another_pod(helm):
    def checksum(values):
        annotations = helm.template(values).one("Deployment").texts("spec.template.metadata.annotations")
        return annotations["checksum/sources"]

    assert checksum({}) == checksum({"workers": 3})
    assert checksum({}) != checksum({"sources": {"default": {"url": "http://other"}}})


def granted(rendered, namespace="ops"):
    """Every right that the chart gives to the operator's account: (namespace, group, resource, verb, name)."""
    account = rendered.one("ServiceAccount").name
    rights = set()
    for binding in rendered.of("ClusterRoleBinding") + rendered.of("RoleBinding"):
        assert [subject.raw for subject in binding.items("subjects")] == [
            {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        ]
        (role,) = [
            role
            for role in rendered.of(binding.text("roleRef.kind"))
            if (role.name, role.namespace) == (binding.text("roleRef.name"), binding.namespace)
        ]
        for rule in role.items("rules"):
            rights |= {
                (binding.namespace, group, resource, verb, name)
                for group in rule.raw["apiGroups"]
                for resource in rule.raw["resources"]
                for verb in rule.raw["verbs"]
                for name in rule.raw.get("resourceNames", [""])
            }
    return rights


@pytest.mark.parametrize("mode", list(DeliveryMode))
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("namespaces", [[], ["shop", "search"]])
@pytest.mark.parametrize(("jobs", "cluster_policies"), [(False, True), (True, False)])
def test_the_account_has_the_rights_that_are_needed_and_no_other(
    helm, mode, replicas, namespaces, jobs, cluster_policies
):
    rendered = helm.template(
        {
            "delivery": {"mode": mode.value},
            "replicas": replicas,
            "watchNamespaces": namespaces,
            "gates": {"jobs": {"enabled": jobs}},
            "policies": {"cluster": cluster_policies},
        }
    )
    places = {Scope.WATCHED: namespaces or [""], Scope.OWN: ["ops"], Scope.CLUSTER: [""]}
    lease = "prompt-rollout" if replicas > 1 else None
    assert granted(rendered) == {
        (namespace, right.group, right.resource, verb, right.name)
        for right in needed(mode, lease=lease, jobs=jobs, cluster_policies=cluster_policies)
        for namespace in places[right.scope]
        for verb in right.verbs
    }


def test_roles_can_be_left_to_others(helm):
    rendered = helm.template({"rbac": {"create": False, "aggregate": False}})
    assert not [one for one in rendered.objects if "Role" in one.kind]


def test_the_account_can_be_anothers(helm):
    rendered = helm.template({"serviceAccount": {"create": False, "name": "theirs"}})
    assert rendered.of("ServiceAccount") == []
    assert rendered.one("Deployment").text("spec.template.spec.serviceAccountName") == "theirs"
    assert rendered.one("ClusterRoleBinding").items("subjects")[0].raw["name"] == "theirs"
    policies = yaml.safe_dump([policy.raw for policy in rendered.of("ValidatingAdmissionPolicy")])
    assert "system:serviceaccount:ops:theirs" in policies


def test_two_releases_share_nothing_that_is_cluster_wide(helm):
    def cluster_wide(rendered):
        return {(one.kind, one.name) for one in rendered.objects if not one.namespace}

    first, second = helm.template(namespace="a"), helm.template(namespace="b")
    assert cluster_wide(first)
    assert not cluster_wide(first) & cluster_wide(second)


def test_every_namespaced_object_says_its_namespace_and_every_object_its_release(helm):
    for one in helm.template(EVERYTHING).objects:
        assert one.namespace or one.kind.startswith(("Cluster", "Validating"))
        assert one.texts("metadata.labels")["app.kubernetes.io/instance"] == "prompt-rollout"


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({}, set()),
        ({"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}}, {"ServiceMonitor"}),
        ({"podMonitor": {"enabled": True, "interval": "15s"}}, {"PodMonitor"}),
        ({"networkPolicy": {"enabled": True}}, {"NetworkPolicy"}),
        ({"podDisruptionBudget": {"enabled": True}}, {"PodDisruptionBudget"}),
    ],
)
def test_options_add_their_object_and_no_other(helm, values, kinds):
    base = {
        "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "Service", "ServiceAccount",
        "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
    }  # fmt: skip
    assert {one.kind for one in helm.template(values).objects} == base | kinds


def test_monitors_select_the_operator(helm):
    rendered = helm.template(
        {"serviceMonitor": {"enabled": True, "interval": "15s"}, "podMonitor": {"enabled": True}}
    )
    labels = rendered.one("Deployment").texts("spec.template.metadata.labels").items()
    assert rendered.one("PodMonitor").texts("spec.selector.matchLabels").items() <= labels
    service = rendered.one("Service").texts("metadata.labels").items()
    assert rendered.one("ServiceMonitor").texts("spec.selector.matchLabels").items() <= service
    assert rendered.one("ServiceMonitor").items("spec.endpoints")[0].text("interval") == "15s"


@pytest.mark.parametrize("mode", ["Mount", "Watch"])
def test_without_the_right_on_pods_there_is_nothing_to_confine(helm, mode):
    names = [
        policy.name for policy in helm.template({"delivery": {"mode": mode}}).of("ValidatingAdmissionPolicy")
    ]
    assert [name.rpartition("-")[2] for name in names] == ["configmaps"]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"delivery": {"mode": "Push"}}, "/delivery/mode"),
        ({"delivry": {}}, "delivry"),
        ({"workers": 0}, "/workers"),
        ({"resyncInterval": "ten"}, "/resyncInterval"),
        ({"watchNamespaces": ["Shop"]}, "/watchNamespaces/0"),
        ({"sources": {"a": {}}}, "/sources/a"),
        ({"sources": {"a": {"url": "http://me:secret@x"}}}, "/sources/a/url"),
        ({"sources": {"a": {"url": "file:///etc/passwd"}}}, "/sources/a/url"),
        ({"sources": {"a": {"url": "http://x", "tokn": 1}}}, "tokn"),
        ({"sources": {"a": {"url": "http://x", "username": "me"}}}, "/sources/a"),
        ({"sources": {"A B": {"url": "http://x"}}}, "/sources"),
        (
            {"sources": {"a": {"url": "http://x", "tokenSecret": {"name": "s"}}}},
            "/sources/a/tokenSecret",
        ),
        ({"serviceMonitor": {"enabled": True}, "service": {"enabled": False}}, "needs service.enabled"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(helm, values, complaint):
    with pytest.raises(CommandError) as refused:
        helm.template(values)
    assert complaint in refused.value.output


def test_values_that_the_pages_show_are_accepted(helm):
    shown = [
        values
        for page in (
            "docs/gates.md",
            "docs/notifications.md",
            "docs/prompt-sources.md",
            "charts/prompt-rollout/README.md",
        )
        for text in re.findall(r"```yaml\n(.*?)```", (CHART.parents[1] / page).read_text(), re.DOTALL)
        for values in yaml.safe_load_all(text)
        if not {"kind", "spec"} & set(values)
    ]
    assert len(shown) == 4
    for values in shown:
        helm.template(values)
