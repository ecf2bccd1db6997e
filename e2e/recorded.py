"""Records statuses as the real operator writes them, for the tests of Argo CD's scripts: `python -m e2e.recorded`.

Writes testdata/<name>.yaml, and health_test.yaml and actions/action_test.yaml in the form of Argo CD's own tests. What
is expected of each stands here, by hand; what is recorded is never edited.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from e2e.application import Application
from e2e.argocd import CUSTOMIZATION
from e2e.objects import Json, KubeObject
from e2e.recorder import ROLLOUTS
from e2e.scenario import When, given
from e2e.stack import PROMPT, Options, Stack

SLOW = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
ALWAYS: frozenset[str] = frozenset()
ON_TRIAL = frozenset({"pause", "promote", "promote-full", "abort"})
#: What Argo CD shall say of each recorded object, and which actions it shall offer.
EXPECTED: Mapping[str, tuple[str, frozenset[str]]] = {
    "unobserved": ("Progressing", ALWAYS),
    "healthy": ("Healthy", ALWAYS),
    "healthy_edited": ("Progressing", ALWAYS),
    "delivering": ("Progressing", ON_TRIAL),
    "progressing": ("Progressing", ON_TRIAL),
    "paused": ("Suspended", ON_TRIAL - {"pause"} | {"resume"}),
    "awaiting_approval": ("Suspended", ON_TRIAL - {"promote"} | {"approve", "skip"}),
    "rolling_back": ("Progressing", frozenset({"retry"})),
    "degraded": ("Degraded", frozenset({"retry"})),
    "invalid": ("Degraded", ALWAYS),
    "pending": ("Progressing", ALWAYS),
}
UNOBSERVED = "waiting for the operator to look at this version of the rollout"


def record(stack: Stack) -> dict[str, Json]:
    """Take a rollout through its life; the objects by name."""
    found: dict[str, Json] = {}
    when = given(stack).steps(*SLOW).when()
    operator = stack.operator
    if operator is None:
        raise ValueError("recording needs the operator")

    def keep(name: str) -> None:
        found[name] = _tidy(when.subject.status().raw)

    operator.stop()
    stack.apply_rollout(when.subject.rollout.manifest())
    keep("unobserved")
    operator.start()
    when.wait_for_phase("Healthy")
    keep("healthy")
    when.the_prompt_becomes("You are a kind support agent.").wait_for_phase("Progressing")
    keep("progressing")
    when.commanded("pause").wait_for_phase("Paused")
    keep("paused")
    when.commanded("resume").wait_for_phase("Progressing").commanded("abort").wait_for_phase("Degraded")
    keep("degraded")
    found["delivering"] = _first(when, "Delivering", "status.candidate")
    found["rolling_back"] = _first(when, "RollingBack", "status.rejected")
    _approval(when)
    keep("awaiting_approval")
    when.commanded("abort").wait_for_phase("Degraded")
    when.the_prompt_comes_from(inline={"text": "Hello {{name}}"}).wait_for_phase("Invalid")
    keep("invalid")
    when.the_prompt_comes_from(registryRef={"registry": "down", "name": "support", "alias": "production"})
    when.wait_for("an unanswered question", lambda s: s.phase == "Pending" and "no connection" in s.message)
    keep("pending")
    when.the_prompt_becomes("You are a support agent.").wait_for_phase("Healthy")
    operator.stop()
    when.the_prompt_becomes("You are a patient support agent.")
    keep("healthy_edited")
    return found


def _approval(when: When) -> None:
    """A step that waits for a person."""
    steps: list[Json] = [{"gate": {"approval": {}}}, *SLOW]
    when.the_steps_become(*steps)
    when.the_prompt_becomes("You are a very kind support agent.").wait_for_phase("AwaitingApproval", 120)


def _first(when: When, phase: str, having: str) -> Json:
    """The first status in that phase that has this field."""
    stack, application = when.subject.stack, when.subject.application
    seen = stack.recorder.changes(ROLLOUTS, application.namespace, application.rollout)
    return next(
        _tidy(one.object)
        for one in seen
        if one.object.text("status.phase") == phase and one.object.mapping(having)
    )


def _tidy(found: KubeObject) -> Json:
    metadata = {key: value for key, value in found.mapping("metadata").items() if key != "managedFields"}
    return {**found.raw, "metadata": metadata}


def write(found: Mapping[str, Json]) -> None:
    """The objects, and Argo CD's tests of them."""
    data = CUSTOMIZATION / "testdata"
    data.mkdir(exist_ok=True)
    health, discovery = [], []
    for name, recorded in found.items():
        (data / f"{name}.yaml").write_text(yaml.safe_dump(dict(recorded), width=110, allow_unicode=True))
        status, enabled = EXPECTED[name]
        stale = name in {"unobserved", "healthy_edited"}
        message = UNOBSERVED if stale else KubeObject(recorded).text("status.message")
        path = f"testdata/{name}.yaml"
        health.append({"healthStatus": {"status": status, "message": message}, "inputPath": path})
        offered = [{"name": verb, "disabled": verb not in enabled} for verb in VERBS]
        discovery.append({"inputPath": f"../{path}", "result": offered})
    _dump(CUSTOMIZATION / "health_test.yaml", {"tests": health})
    _dump(CUSTOMIZATION / "actions" / "action_test.yaml", {"discoveryTests": discovery})


VERBS = ("resume", "pause", "promote", "promote-full", "abort", "retry", "approve", "skip", "undo")


def _dump(file: Path, content: Json) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        registries = Path(folder) / "registries.yaml"
        registries.write_text("registries: {down: {url: 'http://127.0.0.1:1'}}\n")
        flags = {**PROMPT, "registries-file": str(registries)}
        options = Options(application=Application(replicas=2), traffic=None, operator_flags=flags)
        with Stack(options) as stack:
            write(record(stack))
    return 0


if __name__ == "__main__":
    sys.exit(main())
