"""Scenarios in given / when / then, after test/fixtures of Argo Rollouts: the recorded sequence is the contract.

(
    given(stack)
    .a_promoted_prompt("You are a support agent.")
    .when()
    .the_prompt_becomes("You are a support agent. Reply only with JSON.")
    .wait_for_phase("Degraded")
    .then()
    .phases_were("Delivering", "Progressing", "RollingBack", "Degraded")
    .every_weight_was_recorded_first()
)

Each verb returns its stage, so that sentences go on; a failed expectation says what was seen instead.
"""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Self

from e2e.application import Application, Rollout
from e2e.objects import Json, KubeObject
from e2e.operator_process import Operator
from e2e.processes.supervisor import DeadlineError, ProcessError, wait_until
from e2e.recorder import CONFIG_MAPS, ROLLOUTS
from e2e.stack import Stack
from e2e.views import Payload, Status, in_turn
from e2e.workload.directory import read_endpoints

COMMAND = "promptrollout.dev/command"
PATIENCE_S = 60.0
_ids = count(1)

QUICK_STEPS: Sequence[Json] = ({"weight": 25, "duration": "3s"}, {"weight": 50, "duration": "3s"})
QUICK_ANALYSIS: Json = {
    "interval": "2s",
    "metrics": [{"name": "errors", "preset": "sdk/errors", "role": "Guard"}],
    "correlation": {"meanRequestsPerUnit": "3", "icc": "0"},
}


@dataclass(frozen=True)
class Subject:
    """What a scenario is about, and since which resource version it has been watching."""

    stack: Stack
    rollout: Rollout
    since: float = 0.0

    @property
    def application(self) -> Application:
        return self.rollout.application

    def statuses(self) -> Sequence[Status]:
        seen = self.stack.recorder.changes(
            ROLLOUTS, self.application.namespace, self.application.rollout, self.since
        )
        return [Status(change.object) for change in seen if not change.deleted]

    def status(self) -> Status:
        return Status(
            self.stack.recorder.latest(ROLLOUTS, self.application.namespace, self.application.rollout)
            or KubeObject({})
        )

    def payloads(self) -> Sequence[Payload]:
        seen = self.stack.recorder.changes(
            CONFIG_MAPS, self.application.namespace, self.application.config_map, self.since
        )
        parsed = [Payload.of(change.object) for change in seen if not change.deleted]
        return [payload for payload in parsed if payload is not None]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.stack.kubectl(*arguments, "-n", self.application.namespace, stdin=stdin)

    @property
    def reference(self) -> str:
        return f"promptrollout/{self.application.rollout}"

    def generation(self) -> int:
        """Of the spec as the API server has it now; 0 if there is no such rollout."""
        found = self.kubectl(
            "get", self.reference, "--ignore-not-found", "--output=jsonpath={.metadata.generation}"
        )
        return int(found or 0)

    def told(self) -> str:
        """The story so far, for messages of failure."""
        statuses = self.statuses()
        lines = in_turn(f"{s.phase} step {s.step} weight {s.weight} {s.verdict}" for s in statuses)
        lines.append(f"now: {statuses[-1].message}" if statuses else "no status")
        operator = self.stack.operator
        log = f"\nthe operator's log ends:\n{operator.log_tail()}" if operator is not None else ""
        return "\n".join(["seen:", *lines[-15:]]) + log


def given(stack: Stack, application: Application | None = None) -> Given:
    return Given(stack, application or stack.options.application)


class Given:
    """What is there before anything happens."""

    def __init__(self, stack: Stack, application: Application) -> None:
        self._stack = stack
        self._rollout = Rollout(application, "You are a support agent.", QUICK_STEPS, QUICK_ANALYSIS, {})
        self._applied = False

    def steps(self, *steps: Json) -> Self:
        self._rollout = replace(self._rollout, steps=steps)
        return self

    def strategy(self, **settings: object) -> Self:
        """Another one than a canary: `shadow={…}`."""
        self._rollout = replace(self._rollout, strategy=settings)
        return self

    def analysis(self, **settings: object) -> Self:
        self._rollout = replace(self._rollout, analysis={**self._rollout.analysis, **settings})
        return self

    def delivery(self, **settings: object) -> Self:
        self._rollout = replace(self._rollout, delivery={**self._rollout.delivery, **settings})
        return self

    def a_prompt_from(self, **source: object) -> Self:
        """`spec.prompt` as given: configMapRef={...}, say."""
        self._rollout = replace(self._rollout, prompt=source)
        return self

    def policy(self, **reference: str) -> Self:
        """`spec.policyRef`; strategy and analysis are left to it."""
        self._rollout = replace(self._rollout, policy=reference)
        return self

    def objects(self, *manifests: Json) -> Self:
        """Other objects of the namespace, applied as their author would."""
        self._stack.kubectl.apply(manifests, "-n", self._rollout.application.namespace)
        return self

    def an_applied_rollout(self, system_prompt: str = "") -> Self:
        """Whatever becomes of it."""
        if system_prompt:
            self._rollout = replace(self._rollout, system_prompt=system_prompt)
        self._stack.apply_rollout(self._rollout.manifest())
        return self

    def spec(self, **fields: object) -> Self:
        """Other fields of the spec."""
        self._rollout = replace(self._rollout, more={**(self._rollout.more or {}), **fields})
        return self

    def notify(self, *channels: Json) -> Self:
        """`spec.notify`."""
        self._rollout = replace(self._rollout, notify=channels)
        return self

    def gates(self, *gates: Json) -> Self:
        self._rollout = replace(self._rollout, gates=gates)
        return self

    def a_promoted_prompt(self, system_prompt: str) -> Self:
        """The first revision: at 100 % at once, loaded by all pods, Healthy."""
        self._rollout = replace(self._rollout, system_prompt=system_prompt)
        self._stack.apply_rollout(self._rollout.manifest())
        self._applied = True
        When(Subject(self._stack, self._rollout)).wait_for_phase("Healthy")
        return self

    def when(self) -> When:
        """What is recorded counts from here."""
        subject = Subject(self._stack, self._rollout)
        seen = self._stack.recorder.changes(
            ROLLOUTS, self._rollout.application.namespace, self._rollout.application.rollout
        )
        return When(replace(subject, since=seen[-1].at if seen else 0.0))


class When:
    """What happens."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._looked_at = self._latest()

    def then(self) -> Then:
        return Then(self.subject)

    def _latest(self) -> int:
        """The number of the status that is the latest now."""
        return max(len(self.subject.statuses()) - 1, 0)

    # to the rollout

    def the_prompt_becomes(self, system_prompt: str) -> Self:
        return self._now_as(replace(self.subject.rollout, system_prompt=system_prompt, prompt=None))

    def the_prompt_comes_from(self, **source: object) -> Self:
        """Another `spec.prompt`."""
        return self._now_as(replace(self.subject.rollout, prompt=source))

    def the_steps_become(self, *steps: Json) -> Self:
        return self._now_as(replace(self.subject.rollout, steps=steps))

    def the_analysis_becomes(self, **settings: object) -> Self:
        """Some of its fields."""
        return self._now_as(
            replace(self.subject.rollout, analysis={**self.subject.rollout.analysis, **settings})
        )

    def the_gates_become(self, *gates: Json) -> Self:
        return self._now_as(replace(self.subject.rollout, gates=gates))

    def the_strategy_becomes(self, **strategy: object) -> Self:
        """Another one; none: the policy's."""
        return self._now_as(replace(self.subject.rollout, strategy=strategy or None))

    def _now_as(self, rollout: Rollout) -> Self:
        self.subject = replace(self.subject, rollout=rollout)
        self.subject.stack.apply_rollout(rollout.manifest())
        return self

    def applied(self, *manifests: Json) -> Self:
        """Other objects of the namespace, by their author."""
        self.subject.stack.kubectl.apply(manifests, "-n", self.subject.application.namespace)
        return self

    def commanded(self, verb: str) -> Self:
        """As `kubectl annotate` gives it."""
        return self.annotated(f"{verb}:e2e-{next(_ids)}")

    def annotated(self, command: str) -> Self:
        """The command's annotation, as it is."""
        self.subject.kubectl("annotate", self.subject.reference, f"{COMMAND}={command}", "--overwrite")
        return self

    def wait_for_answer(self, result: str, *parts: str) -> Self:
        """Until the last command was executed or refused, with these words in what is said of it."""

        def answered(status: Status) -> bool:
            last = KubeObject(status.raw.mapping("status.lastCommand"))
            return last.text("result") == result and all(part in last.text("message") for part in parts)

        return self.wait_for(f"the command to be {result} with {parts}", answered)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> Self:
        """Any kubectl command, in the rollout's namespace."""
        self.subject.kubectl(*arguments, stdin=stdin)
        return self

    # to what surrounds it

    def the_operator_is_killed(self) -> Self:
        self._operator().kill()
        return self

    def the_operator_stops(self) -> Self:
        self._operator().stop()
        return self

    def the_operator_starts(self) -> Self:
        self._operator().start()
        return self

    def prometheus_stops(self) -> Self:
        self.subject.stack.stop_prometheus()
        return self

    def prometheus_starts(self) -> Self:
        self.subject.stack.start_prometheus()
        return self

    def the_deployment_is_scaled_to(self, replicas: int) -> Self:
        self.subject.kubectl("scale", f"deployment/{self.subject.application.app}", f"--replicas={replicas}")
        self.subject.stack.wait_for_pods(self.subject.application)
        return self

    def a_pod_is_deleted(self) -> Self:
        victim = self.subject.stack.pods(self.subject.application)[0].name
        self.subject.kubectl("delete", "pod", victim, "--wait=false")
        return self

    # waiting

    def wait_for(self, what: str, came_true: Callable[[Status], bool], timeout: float = PATIENCE_S) -> Self:
        """Until the latest status is so; woken by the watch, never a blind sleep."""
        subject = self.subject
        try:
            subject.stack.recorder.wait(
                lambda: came_true(subject.status()), what, timeout, subject.stack.check
            )
        except (DeadlineError, ProcessError) as late:
            raise AssertionError(f"{late}\n{subject.told()}") from late
        self._looked_at = self._latest()
        return self

    def wait_to_have_seen(
        self, what: str, was_so: Callable[[Status], bool], timeout: float = PATIENCE_S
    ) -> Self:
        """Until a status was so, be it over by now: a busy machine may look too late at what lasts for seconds."""
        subject, since = self.subject, self._looked_at
        return self.wait_for(what, lambda _: any(map(was_so, subject.statuses()[since:])), timeout)

    def wait_for_phase(self, phase: str, timeout: float = PATIENCE_S) -> Self:
        """Of the spec as it is now: a status that speaks of an earlier one does not count.

        Which one that is, the API server says: what has been recorded may lag behind a change that was made just now.
        """
        generation = self.subject.generation()
        return self.wait_for(
            f"phase {phase}",
            lambda status: status.current and status.generation >= generation and status.phase == phase,
            timeout,
        )

    def wait_for_weight(self, weight: int, timeout: float = PATIENCE_S) -> Self:
        """The candidate's recorded weight, in 1/10,000; it may have gone on since."""
        return self.wait_to_have_seen(f"weight {weight}", lambda status: status.weight == weight, timeout)

    def promoted_to(self, weight: int) -> Self:
        """The next step, by command, once the pods have loaded this one."""
        return self.wait_for_condition("Delivered").commanded("promote").wait_for_weight(weight)

    def wait_for_condition(self, kind: str, value: str = "True", timeout: float = PATIENCE_S) -> Self:
        return self.wait_for(
            f"condition {kind}={value}",
            lambda status: status.condition(kind).text("status") == value,
            timeout,
        )

    def wait_for_event(self, reason: str, begins: str = "", timeout: float = PATIENCE_S) -> Self:
        """Until the rollout has an Event of that reason; they are written beside the status, and may come later."""

        def told() -> bool:
            found = self.subject.kubectl("get", "events.events.k8s.io", "--output=json")
            events = KubeObject(json.loads(found)).items("items")
            return any(one.text("reason") == reason and one.text("note").startswith(begins) for one in events)

        wait_until(told, f"an Event {reason} {begins}", timeout, pause=0.2)
        return self

    def _operator(self) -> Operator:
        operator = self.subject.stack.operator
        if operator is None:
            raise ValueError("this stack was started without the operator")
        return operator


class Then:
    """What was seen since `when`."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def when(self) -> When:
        """Go on; what has been recorded stays part of the scenario."""
        return When(self._subject)

    def phases_were(self, *phases: str) -> Self:
        """In this order, each as often as it was entered; the phase at `when` is not among them."""
        seen = in_turn(status.phase for status in self._subject.statuses())[1:]
        return self._expect(seen == list(phases), f"phases {list(phases)}, not {seen}")

    def weights_were(self, *weights: int) -> Self:
        """The candidate's delivered weights in 1/10,000, in order; the last one may just be on its way."""
        recorder, wanted = self._subject.stack.recorder, list(weights)
        with contextlib.suppress(DeadlineError):
            recorder.wait(lambda: self._weights() == wanted, "the last weight", 20.0)
        return self._expect(self._weights() == wanted, f"weights {wanted}, not {self._weights()}")

    def _weights(self) -> list[int]:
        return in_turn(payload.candidate_weight for payload in self._subject.payloads())

    def the_highest_weight_was(self, most: int) -> Self:
        seen = max((payload.candidate_weight for payload in self._subject.payloads()), default=0)
        return self._expect(seen <= most, f"no weight above {most}, not {seen}")

    def every_weight_was_recorded_first(self) -> Self:
        """Whatever was delivered had been written to status before (by the server's own order of writes)."""
        payloads = self._subject.payloads()

        def recorded() -> dict[tuple[int, object], int]:
            return {(one.sequence, one.arms): one.version for one in reversed(self._all_statuses())}

        # Two watches: that of ConfigMaps may be ahead of that of rollouts.
        with contextlib.suppress(DeadlineError):
            self._subject.stack.recorder.wait(
                lambda: all((one.sequence, one.arms) in recorded() for one in payloads), "its status", 20.0
            )
        before = recorded()
        unrecorded = [
            one for one in payloads if before.get((one.sequence, one.arms), one.version) >= one.version
        ]
        return self._expect(not unrecorded, f"status before ConfigMap; these came unannounced: {unrecorded}")

    def the_status(self, what: str, is_so: Callable[[Status], bool]) -> Self:
        return self._expect(is_so(self._subject.status()), what)

    def the_message_says(self, *parts: str) -> Self:
        message = self._subject.status().message
        return self._expect(
            all(part in message for part in parts), f"a message with {parts}, not {message!r}"
        )

    def all_pods_have_loaded_the_payload(self, timeout: float = PATIENCE_S) -> Self:
        """By the pods' own metric, in Prometheus; a busy machine misses some scrapes."""
        subject = self._subject
        staying = [
            pod
            for pod in subject.stack.pods(subject.application)
            if not pod.text("metadata.deletionTimestamp")
        ]
        sequence, pods = subject.payloads()[-1].sequence, len(staying)
        reference = f"{subject.application.namespace}/{subject.application.rollout}"
        query = f'count(promptrollout_loaded{{rollout="{reference}",sequence="{sequence}"}} == 1)'
        try:
            wait_until(
                lambda: subject.stack.prometheus.value(query) == pods, f"{pods} pods to load it", timeout
            )
        except DeadlineError as late:
            raise AssertionError(f"{late}\n{subject.told()}") from late
        return self

    def users_get(self, revision: str, requests: int = 20) -> Self:
        """Every answer of the service, asked now, is that revision's."""
        subject = self._subject
        shop, addresses = subject.application, list[str]()

        def some_are_ready() -> bool:
            addresses[:] = read_endpoints(subject.stack.endpoints, shop.namespace, {"app": shop.app})
            return bool(addresses)

        # On a busy machine pods may miss their probes for a while: nobody is sent to them then.
        wait_until(some_are_ready, "a pod to be ready", PATIENCE_S)
        seen = {ask(addresses[number % len(addresses)]).text("revision") for number in range(requests)}
        return self._expect(seen == {revision}, f"only {revision} answers, not {seen}")

    def _all_statuses(self) -> Sequence[Status]:
        """Of this object: another may have had its name before."""
        seen = replace(self._subject, since=0.0).statuses()
        return [status for status in seen if status.raw.uid == self._subject.status().raw.uid]

    def _expect(self, is_so: bool, what: str) -> Self:  # noqa: FBT001 - the point of it
        assert is_so, f"expected: {what}\n{self._subject.told()}"
        return self


def ask(address: str, body: Mapping[str, str] | None = None) -> KubeObject:
    """One question to a serving pod, by a user who comes with nothing."""
    question = {"shop": "Example Shop", "question": f"Where is my parcel, {next(_ids)}?", **(body or {})}
    request = urllib.request.Request(
        f"http://{address}/chat", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return KubeObject(json.load(answer))
    except urllib.error.HTTPError as error:
        return KubeObject(json.load(error))
