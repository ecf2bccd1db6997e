"""The application that rollouts are tried on: a Deployment of serving pods, and the manifest of a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e2e.objects import Json

MOUNT = "/etc/prompts"


@dataclass(frozen=True)
class Application:
    """A chat service in `namespace`, whose pods (label `app`) mount the ConfigMap of the rollout `rollout`.

    With `watches` the SDK reads it from the API server, and nothing is mounted.
    """

    namespace: str = "shop"
    app: str = "support"
    rollout: str = "support-answer"
    replicas: int = 3
    watches: bool = False

    @property
    def config_map(self) -> str:
        return f"{self.rollout}-prompt"

    def manifests(self, model_url: str) -> Sequence[Json]:
        """Namespace and Deployment, as a user would write them."""
        container = {
            "name": "chat",
            "image": "promptrollout.dev/e2e-serving:local",
            "command": ["python", "-m", "e2e.workload.serving"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "PROMPT_DIR", "value": MOUNT},
                {"name": "MODEL_URL", "value": model_url},
                {
                    "name": "PROMPT_WATCH",
                    "value": f"{self.namespace}/{self.config_map}" if self.watches else "",
                },
            ],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
        }
        volumes = []
        if not self.watches:
            container["volumeMounts"] = [{"name": "prompt", "mountPath": MOUNT, "readOnly": True}]
            volumes = [{"name": "prompt", "configMap": {"name": self.config_map, "optional": True}}]
        pod = {
            "metadata": {"labels": {"app": self.app}, "annotations": {"prometheus.io/scrape": "true"}},
            "spec": {"terminationGracePeriodSeconds": 3, "containers": [container], "volumes": volumes},
        }
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": self.app, "namespace": self.namespace, "labels": {"app": self.app}},
                "spec": {
                    "replicas": self.replicas,
                    "selector": {"matchLabels": {"app": self.app}},
                    "template": pod,
                },
            },
        ]


def inline_prompt(system_prompt: str) -> Json:
    """A `spec.prompt` as its author writes it, with the variables that it uses."""
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": "{{question}}"}]
    inline = {
        "messages": messages,
        "model": {"name": "simulated", "parameters": {"temperature": "0.2"}},
        "templateFormat": "mustache",
        "variables": [name for name in ("shop", "question") if f"{{{{{name}}}}}" in str(messages)],
    }
    return {"inline": inline}


@dataclass(frozen=True)
class Rollout:
    """The manifest of a PromptRollout for an application; `steps` and `analysis` as in its spec.

    `strategy`: another one than a canary of these steps. `prompt`: its whole spec.prompt, for one that is
    not written inline; then `system_prompt` is not used. `policy`: its policyRef; then strategy and analysis are the
    policy's, but for what `strategy` says. `more`: other fields of the spec.
    """

    application: Application
    system_prompt: str
    steps: Sequence[Json]
    analysis: Json
    delivery: Json
    prompt: Json | None = None
    gates: Sequence[Json] = ()
    strategy: Json | None = None
    policy: Json | None = None
    notify: Sequence[Json] | None = None
    more: Json | None = None

    def manifest(self) -> Json:
        delivery: Mapping[str, object] = {
            "configMapName": self.application.config_map,
            "podSelector": {"matchLabels": {"app": self.application.app}},
            **self.delivery,
        }
        return {
            "apiVersion": "promptrollout.dev/v1alpha1",
            "kind": "PromptRollout",
            "metadata": {"name": self.application.rollout, "namespace": self.application.namespace},
            "spec": {
                "prompt": self.prompt or inline_prompt(self.system_prompt),
                "delivery": delivery,
                **self._rules(),
                **({"gates": list(self.gates)} if self.gates else {}),
                **({"notify": list(self.notify)} if self.notify is not None else {}),
                **(self.more or {}),
            },
        }

    def _rules(self) -> Json:
        if self.policy is not None:
            return {"policyRef": self.policy, **({"strategy": self.strategy} if self.strategy else {})}
        return {
            "strategy": self.strategy or {"canary": {"steps": list(self.steps)}},
            "analysis": dict(self.analysis),
        }
