"""Records rollouts as this version leaves them, for the versions to come: `python -m e2e.upgrades VERSION`.

Run it once for each release, from a checkout of that release; it writes tests/api/upgrades/VERSION/<scene>.json: the
object with its status, and the ConfigMaps that go with it, as the real operator wrote them to a real API server.
tests/api/test_upgrades.py reads each with today's code and goes on from it. What is recorded is never edited.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from e2e.application import Application
from e2e.objects import Json, KubeObject
from e2e.processes.supervisor import REPOSITORY
from e2e.recorder import CONFIG_MAPS
from e2e.scenario import When, given
from e2e.stack import Options, Stack
from e2e.views import Payload, Status

CORPUS = REPOSITORY / "tests" / "api" / "upgrades"
SLOW = ({"weight": 10, "duration": "1h"}, {"weight": 50, "duration": "1h"})
#: Samples of an arm after which its evidence is worth keeping.
ENOUGH = 50
SCORES = (
    {"name": "errors", "preset": "sdk/errors", "role": "Guard"},
    {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness"},
)
#: What the author's own ConfigMap holds in the scene of that name.
PROMPT_SOURCE = "You are a helpful support agent."
REVISIONS = "promptrollout.dev/kind=revision"
Spec = dict[str, object]


class Life:
    """One rollout, taken from scene to scene."""

    def __init__(self, stack: Stack) -> None:
        self._when = given(stack).steps(*SLOW).analysis(metrics=list(SCORES)).when()
        self._manifest = copy.deepcopy(dict(self._when.subject.rollout.manifest()))

    def writes(self, text: str, **spec: object) -> When:
        """Apply the canary with this text and these fields changed; None leaves a field out."""
        manifest = copy.deepcopy(self._manifest)
        changed: Spec = {**manifest["spec"], **spec}
        if "prompt" not in spec:
            changed["prompt"] = inline(text)
        manifest["spec"] = {name: value for name, value in changed.items() if value is not None}
        self._when.subject.stack.apply_rollout(manifest)
        return self._when.wait_for("the operator to have seen it", lambda status: status.current)

    def applies(self, manifest: Json) -> None:
        """Another object, of the rollout's namespace."""
        namespace = self._when.subject.application.namespace
        self._when.subject.stack.kubectl.apply([manifest], "-n", namespace)

    def as_it_is(self) -> Status:
        """The newest status."""
        return self._when.subject.status()

    def first(self, phase: str, having: str) -> Status:
        """The first status of that phase that has this field."""
        statuses = self._when.subject.statuses()
        return next(s for s in statuses if s.phase == phase and s.raw.mapping(having))

    def kept(self, status: Status) -> Json:
        """The object, the payload that this status names, and the texts of all revisions."""
        subject = self._when.subject
        seen = subject.stack.recorder.wait
        seen(lambda: self._payload(status) is not None, f"payload {status.sequence}", 20)
        payload = self._payload(status)
        revisions = subject.stack.kubectl.get(
            "configmaps", "-n", subject.application.namespace, "-l", REVISIONS
        ).items("items")
        return {
            "recordedAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "rollout": _tidy(status.raw),
            "payload": _tidy(payload or KubeObject({})),
            "revisions": [_tidy(one) for one in revisions],
        }

    def _payload(self, status: Status) -> KubeObject | None:
        subject = self._when.subject
        where = subject.application.namespace, subject.application.config_map
        seen = subject.stack.recorder.changes(CONFIG_MAPS, *where)
        return next((one.object for one in seen if _sequence(one.object) == status.sequence), None)


def healthy(life: Life) -> Status:
    """One prompt that serves all."""
    life.writes("You are a support agent.").wait_for_phase("Healthy")
    return life.as_it_is()


def progressing(life: Life) -> Status:
    """The first step of a canary, with evidence."""
    when = life.writes("You are a kind support agent.").wait_for_weight(1_000)
    when.wait_for_condition("Delivered").wait_for("evidence", _has_evidence)
    return life.as_it_is()


def ramp(life: Life) -> Status:
    """The second of two steps, with a checkpoint of the evidence."""
    when = life.writes("You are a kind support agent.").commanded("promote").wait_for_weight(5_000)
    when.wait_for_condition("Delivered").wait_for("a checkpoint", _has_checkpoint)
    return life.as_it_is()


def paused(life: Life) -> Status:
    """A person stopped it in the middle."""
    life.writes("You are a kind support agent.").commanded("pause").wait_for_phase("Paused")
    return life.as_it_is()


def invalid(life: Life) -> Status:
    """The spec became invalid in the middle: the weight stands."""
    wrong = {"inline": {"text": "Hello {{name}}", "templateFormat": "mustache", "variables": ["nobody"]}}
    life.writes("", prompt=wrong).wait_for_phase("Invalid")
    return life.as_it_is()


def degraded(life: Life) -> Status:
    """Rolled back, and all pods are back."""
    when = life.writes("You are a kind support agent.").commanded("resume").wait_for_phase("Progressing")
    when.commanded("abort").wait_for_phase("Degraded")
    return life.as_it_is()


def rolling_back(life: Life) -> Status:
    """Rolled back, while pods still serve the other prompt."""
    return life.first("RollingBack", "status.rejected")


def delivering(life: Life) -> Status:
    """A candidate at weight 0 that pods are loading."""
    return life.first("Delivering", "status.candidate")


def awaiting_approval(life: Life) -> Status:
    """A step that waits for a person."""
    steps = [{"weight": 10, "duration": "6s"}, {"gate": {"approval": {}}}, *SLOW[1:]]
    prompt = "You are a very kind support agent."
    life.writes(prompt, strategy={"canary": {"steps": steps}}).wait_for_phase("AwaitingApproval", 120)
    return life.as_it_is()


def ab_test(life: Life) -> Status:
    """Three prompts at once."""
    arms = [
        {"name": "control", "weight": 50},
        {"name": "brief", "weight": 25, "prompt": inline("You are a brief support agent.")},
        {"name": "formal", "weight": 25, "prompt": inline("You are a formal support agent.")},
    ]
    strategy = {"abTest": {"horizon": "1d", "onWinner": "Hold", "arms": arms}}
    when = life.writes("You are a support agent.", strategy=strategy).wait_for_phase("Progressing")
    when.wait_for_condition("Delivered").wait_for("evidence", _has_evidence)
    return life.as_it_is()


def shadow(life: Life) -> Status:
    """The candidate answers unseen."""
    strategy = {"shadow": {"sample": 50, "duration": "1h", "budget": {"maxConcurrent": 20}}}
    when = life.writes("You are a patient support agent.", strategy=strategy)
    when.wait_for("the shadow", lambda status: "in the shadow of 50%" in status.message)
    return life.as_it_is()


def config_map_source(life: Life) -> Status:
    """The prompt of a ConfigMap that its author owns, on trial."""
    data = {"prompt.txt": PROMPT_SOURCE}
    life.applies(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompt-source"}, "data": data}
    )
    source = {"configMapRef": {"name": "prompt-source", "key": "prompt.txt"}}
    life.writes("", prompt=source).wait_for_weight(1_000).wait_for_condition("Delivered")
    return life.as_it_is()


def with_policy(life: Life) -> Status:
    """Under a policy's rules."""
    rules = {"strategy": {"canary": {"steps": list(SLOW)}}, "locked": ["strategy"]}
    life.applies(
        {
            "apiVersion": "promptrollout.dev/v1alpha1",
            "kind": "PromptRolloutPolicy",
            "metadata": {"name": "production"},
            "spec": rules,
        }
    )
    reference = {"name": "production"}
    when = life.writes("You are a polite support agent.", strategy=None, policyRef=reference)
    when.wait_for_weight(1_000).wait_for_condition("Delivered")
    return life.as_it_is()


Scene = Callable[[Life], Status]
#: In this order: each goes on where the one before ended.
SCENES: Mapping[str, Scene] = {
    scene.__name__: scene
    for scene in (
        healthy,
        progressing,
        ramp,
        paused,
        invalid,
        degraded,
        rolling_back,
        delivering,
        awaiting_approval,
        ab_test,
        shadow,
        config_map_source,
        with_policy,
    )
}


def inline(system_prompt: str) -> Json:
    """`spec.prompt` with one system message."""
    messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": "{{question}}"}]
    return {"inline": {"messages": messages, "templateFormat": "mustache", "variables": ["question"]}}


def record(stack: Stack, without: Sequence[str] = (), say: Callable[[str], None] = print) -> dict[str, Json]:
    """Take a rollout through its life; each scene's objects by its name."""
    life, found = Life(stack), {}
    for name, scene in SCENES.items():
        if name not in without:
            say(f"{name}")
            found[name] = life.kept(scene(life))
    return found


def write(folder: Path, found: Mapping[str, Json]) -> None:
    """One file for each scene."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in found.items():
        text = json.dumps(scene, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", "utf-8")


def put_back(stack: Stack, kept: Json) -> None:
    """Have the cluster hold a recorded rollout as if its operator had ended a moment ago.

    Into the recorded namespace, for a payload names it. All moments are moved by the time since, so that the steps have
    as much time left as they had.
    """
    later = datetime.now(UTC) - datetime.fromisoformat(kept["recordedAt"])
    rollout = KubeObject(_moved(kept["rollout"], later))
    fresh = {key: rollout.raw[key] for key in ("apiVersion", "kind", "spec")}
    names = {"name": rollout.name, "namespace": rollout.namespace}
    written = stack.apply_rollout({**fresh, "metadata": names})
    for one in (kept["payload"], *kept["revisions"]):
        owner = {**one["metadata"]["ownerReferences"][0], "uid": written.uid}
        metadata = {key: one["metadata"][key] for key in ("name", "namespace", "labels")}
        content = {**one, "metadata": {**metadata, "ownerReferences": [owner]}}
        stack.kubectl.create(content)
    status = {**rollout.mapping("status"), "observedGeneration": written.number("metadata.generation")}
    patch = json.dumps({"status": status})
    where = ["-n", rollout.namespace, "--subresource=status", "--type=merge"]
    stack.kubectl("patch", "promptrollout", rollout.name, *where, "-p", patch)


def _moved(value: object, later: timedelta) -> Any:  # noqa: ANN401 - JSON
    """The same JSON with each moment later: RFC 3339, and the seconds since the epoch in a checkpoint."""
    if isinstance(value, Mapping):
        moved = {key: _moved(item, later) for key, item in value.items()}
        epochs = {key: int(value[key] + later.total_seconds()) for key in _EPOCHS & value.keys()}
        return {**moved, **epochs}
    if isinstance(value, list):
        return [_moved(item, later) for item in value]
    if isinstance(value, str) and _MOMENT.match(value):
        moment = datetime.fromisoformat(value) + later
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


_EPOCHS = {"firstStart", "lastEnd"}
_MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def _has_evidence(status: Status) -> bool:
    counted = re.findall(r'"samples": (\d+)', json.dumps(status.raw.mapping("status.analysis")))
    return any(int(samples) >= ENOUGH for samples in counted)


def _has_checkpoint(status: Status) -> bool:
    return '"checkpointThrough"' in json.dumps(status.raw.mapping("status.analysis"))


def _sequence(config_map: KubeObject) -> int:
    payload = Payload.of(config_map)
    return payload.sequence if payload else 0


def _tidy(found: KubeObject) -> Json:
    metadata = {key: value for key, value in found.mapping("metadata").items() if key != "managedFields"}
    annotations = dict(found.texts("metadata.annotations"))
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return {**found.raw, "metadata": {**metadata, "annotations": annotations}}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.upgrades", description=__doc__)
    parser.add_argument("version", help="the folder's name: the release, or the commit")
    parser.add_argument("--without", default="", help="scenes, by comma, that this version cannot play")
    parser.add_argument("--into", type=Path, default=CORPUS, help="the folder of all versions")
    chosen = parser.parse_args()
    with Stack(Options(application=Application(replicas=2))) as stack:
        found = record(stack, [name for name in chosen.without.split(",") if name])
    write(chosen.into / chosen.version, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
