"""`make demo`: three prompts, live. A good one is promoted step by step, a bad and a subtly bad one are rolled back.

Everything is real: API server, Prometheus, operator, serving pods, users; only time is compressed. Exit code 0 only if
the story came true. KEEP=1 leaves it all running.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rich.console import Console

from e2e.application import Application, Rollout
from e2e.controlplane.build import BuildError
from e2e.controlplane.kubectl import CommandError
from e2e.narrator import Narrator, Renderer
from e2e.objects import Json, KubeObject
from e2e.processes.supervisor import DeadlineError, ProcessError, wait_until
from e2e.recorder import CONFIG_MAPS, ROLLOUTS
from e2e.stack import Options, Stack, Traffic
from e2e.views import Payload, Status, in_turn

FIRST = "You are a support agent for {{shop}}. Answer in two sentences."
GOOD = f"{FIRST} Name the next step."
BAD = f"{GOOD} Reply only with JSON."
SUBTLE = f"{GOOD} Use as few words as possible."

STEPS: tuple[Json, ...] = (
    {"weight": 1, "duration": "8s"},
    {"weight": 5, "duration": "8s"},
    {"weight": 25, "duration": "8s"},
    {"weight": 50, "until": "Evidence", "timeout": "5m"},
)
ANALYSIS: Json = {
    "interval": "2s",
    "warmUp": "0s",
    "metrics": [
        {"name": "errors", "preset": "sdk/errors", "promoteRatio": "2"},
        {"name": "helpfulness", "preset": "sdk/score", "score": "helpfulness", "margin": "0.02"},
    ],
    # The simulated model draws each request on its own (icc 0 in profiles.py), so this is a fact here, not a wish.
    "correlation": {"meanRequestsPerUnit": "3", "icc": "0"},
}
DECIDED_WITHIN_S = 300.0


@dataclass(frozen=True)
class Act:
    """A prompt that is tried, and what must become of it."""

    title: str
    prompt: str
    ends: str
    weights: tuple[int, ...] = ()


ACTS = (
    Act("A better prompt: stepped up, promoted", GOOD, "Healthy", (0, 100, 500, 2500, 5000, 0)),
    Act("A bad prompt: errors from 2 % to 12 %", BAD, "Degraded"),
    Act("A subtly bad prompt: no errors, but lower scores", SUBTLE, "Degraded"),
)


class StoryError(RuntimeError):
    """The story did not come true."""


class Demo:
    """Plays the acts on a stack and tells of each."""

    def __init__(self, stack: Stack, narrator: Narrator) -> None:
        self._stack = stack
        self._tell = narrator
        self._rollout = Rollout(stack.options.application, FIRST, STEPS, ANALYSIS, {})
        self.ends: list[str] = []

    @property
    def _application(self) -> Application:
        return self._rollout.application

    def play(self) -> None:
        self._tell.heading("The first prompt: there is nothing to compare it with, so it is delivered to all")
        self._apply(FIRST)
        self._wait("Healthy")
        self._show("get", "promptrollout")
        for act in ACTS:
            self._tell.heading(act.title)
            self._tell.say(f"prompt: {act.prompt}", "italic")
            began = time.time()
            self._apply(act.prompt)
            ended = self._wait(act.ends)
            self._account(act, ended, began)

    def _account(self, act: Act, ended: Status, began: float) -> None:
        """What was decided, on what numbers, how fast; then whether it is what should have been."""
        self._tell.numbers(ended)
        if act.ends == "Degraded":
            self._tell.say(ended.rollback.text("message"), "bold red")
            self._tell.rollback(ended)
        self._show("get", "promptrollout", "-o", "wide")
        stable = ended.stable
        served = self._served()
        if served != {stable}:
            raise StoryError(f"{act.title}: pods serve {served}, not the stable {stable} alone")
        weights = tuple(in_turn(payload.candidate_weight for payload in self._payloads(began)))
        if act.weights and weights != act.weights:
            raise StoryError(f"{act.title}: the weights were {weights}, not {act.weights}")
        self.ends.append(act.ends)

    def healthy_pods(self) -> int:
        """Pods that are Ready and have loaded the payload that is delivered now (kubectl's view, and Prometheus')."""
        sequence = self._status().sequence
        reference = f"{self._application.namespace}/{self._application.rollout}"
        loaded = self._stack.prometheus.query(
            f'promptrollout_loaded{{rollout="{reference}",sequence="{sequence}"}} == 1'
        )
        names = {sample.text("metric.pod") for sample in loaded}
        ready = [pod for pod in self._stack.pods() if pod.condition("Ready").text("status") == "True"]
        return sum(pod.name in names for pod in ready)

    def _apply(self, prompt: str) -> None:
        self._stack.apply_rollout(replace(self._rollout, system_prompt=prompt).manifest())

    def _wait(self, phase: str) -> Status:
        """Until the phase is reached, telling what happens; a phase that ends the other way is an error."""
        ends = {"Healthy", "Degraded", "Invalid"}
        render = Renderer()

        def over() -> bool:
            status = render.current = self._status()
            self._tell.status(status)
            return status.current and status.phase in ends

        with self._tell.picture(self._tell.live(render)):
            what = f"{self._application.rollout} to be {phase}"
            self._stack.recorder.wait(over, what, DECIDED_WITHIN_S, self._stack.check)
        status = self._status()
        if status.phase != phase:
            raise StoryError(f"the rollout is {status.phase}, not {phase}: {status.message}")
        return status

    def _status(self) -> Status:
        latest = self._stack.recorder.latest(ROLLOUTS, self._application.namespace, self._application.rollout)
        return Status(latest or KubeObject({}))

    def _payloads(self, since: float) -> list[Payload]:
        application = self._application
        seen = self._stack.recorder.changes(CONFIG_MAPS, application.namespace, application.config_map, since)
        return [payload for change in seen if (payload := Payload.of(change.object)) is not None]

    def _served(self) -> set[str]:
        """Revisions with weight in the delivered payload."""
        last = self._payloads(0.0)[-1]
        return {arm.revision for arm in last.arms if arm.weight}

    def _show(self, *arguments: str) -> None:
        namespace = self._application.namespace
        self._tell.shell(
            f"kubectl -n {namespace} {' '.join(arguments)}", self._stack.kubectl("-n", namespace, *arguments)
        )


def options() -> Options:
    return Options(application=Application(replicas=4), traffic=Traffic(rate=160.0))


def main() -> int:
    for ending in (signal.SIGTERM, signal.SIGINT):  # also where a shell started this with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    logging.getLogger("e2e").addHandler(logging.NullHandler())  # what failed is said by the story itself
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    narrator = Narrator(console)
    narrator.heading("PromptRollout: three prompts on a real control plane")
    try:
        with Stack(options(), say=lambda line: console.print(line, markup=False)) as stack:
            return _play(stack, narrator)
    except (BuildError, CommandError, DeadlineError, ProcessError, StoryError) as error:
        console.print(f"the demo failed: {error}", style="bold red", markup=False)
    except KeyboardInterrupt:
        console.print("stopped; everything has been ended", style="yellow")
        return 130
    return 1


def _play(stack: Stack, narrator: Narrator) -> int:
    demo = Demo(stack, narrator)
    try:
        demo.play()
    except (DeadlineError, ProcessError, StoryError):
        if stack.operator is not None:
            narrator.shell("the operator's log ends", stack.operator.log_tail())
        raise
    finally:
        _keep(stack, narrator.console, os.environ)
    wanted = (1, 2, stack.options.application.replicas)
    promoted, rolled_back = demo.ends.count("Healthy"), demo.ends.count("Degraded")
    with contextlib.suppress(DeadlineError):  # a scrape may still be on its way
        wait_until(lambda: demo.healthy_pods() == wanted[2], "all pods", 15.0, pause=0.5)
    healthy = demo.healthy_pods()
    narrator.console.print()
    print(f"demo: promoted={promoted} rolled_back={rolled_back} healthy_pods={healthy}", flush=True)
    return 0 if (promoted, rolled_back, healthy) == wanted else 1


def _keep(stack: Stack, console: Console, environment: Mapping[str, str]) -> None:
    if environment.get("KEEP", "") in {"", "0"}:
        return
    console.print(f"\nleft running, as KEEP is set:\n  export KUBECONFIG={stack.cluster.kubeconfig}")
    console.print(f"  {stack.kubectl.binary} get promptrollout -A")
    console.print(f"Prometheus: {stack.prometheus.url}\nto end it all: kill {stack.supervisor.warden_pid}")
    stack.detach()


if __name__ == "__main__":
    sys.exit(main())
