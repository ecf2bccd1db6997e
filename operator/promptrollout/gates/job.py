"""A gate that is a Kubernetes Job: created once by its name, looked at until it has ended, its report read."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from promptrollout.cluster.errors import AlreadyExists, Invalid
from promptrollout.cluster.objects import ObjectKey
from promptrollout.cluster.values import Json, mapping_at, mappings_at, number_at, text_at
from promptrollout.gates.answers import judge, read_report
from promptrollout.gates.config import JobsConfig
from promptrollout.gates.manifest import ROLLOUT_LABEL, job_manifest, job_name
from promptrollout.gates.protocol import GateError, Run, Tell
from promptrollout.rollout import GateAnswer

log = logging.getLogger(__name__)

#: Seconds between two looks at a Job, growing from the first to the second.
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.5, 10.0


class Jobs(Protocol):
    """Jobs and their templates in a cluster (promptrollout.cluster.jobs)."""

    async def template(self, key: ObjectKey) -> Json | None:
        """The jobTemplate of that CronJob, None if there is none."""
        ...

    async def get(self, key: ObjectKey) -> Json | None:
        """The Job as stored now, None if there is none."""
        ...

    async def create(self, manifest: Json) -> Json:
        """Create it; raises AlreadyExists, Invalid."""
        ...

    async def delete(self, key: ObjectKey, uid: str) -> None:
        """Delete this one with its pods; done already is fine."""
        ...

    async def of(self, namespace: str, labels: Mapping[str, str]) -> Sequence[Json]:
        """The Jobs that carry these labels."""
        ...

    async def pods(self, key: ObjectKey) -> Sequence[Json]:
        """The pods of that Job."""
        ...


class JobKind:
    """`job` of a gate."""

    def __init__(self, jobs: Jobs, config: JobsConfig) -> None:
        self._jobs = jobs
        self._config = config

    async def run(self, run: Run, tell: Tell) -> GateAnswer:
        """See GateKind."""
        if not self._config.enabled:
            raise GateError("Jobs are not enabled in the operator's configuration (gates.jobs.enabled)")
        key = ObjectKey(run.key.namespace, job_name(run))
        job = await self._jobs.get(key) or await self._create(run, key)
        _check_owner(job, run, key)
        tell(GateAnswer(message=f"Job {key.name} runs", job=key.name))
        pause = _FIRST_LOOK_S
        while not (ended := _ended(job)):
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_LOOK_S)
            found = await self._jobs.get(key)
            if found is None:
                raise GateError(f"Job {key.name} was deleted before it had ended")
            job = found
        answer = _answer(run, key.name, ended, await self._jobs.pods(key))
        await self._trim(run, key.name)
        return answer

    async def end(self, run: Run) -> None:
        """Delete the Job, if it still runs."""
        key = ObjectKey(run.key.namespace, job_name(run))
        job = await self._jobs.get(key)
        if job is not None and not _ended(job):
            _check_owner(job, run, key)
            await self._jobs.delete(key, text_at(mapping_at(job, "metadata"), "uid"))

    async def close(self) -> None:
        """There is nothing to close."""

    async def _create(self, run: Run, key: ObjectKey) -> Json:
        manifest = job_manifest(run, await self._template(run), self._config.keep)
        try:
            return await self._jobs.create(manifest)
        except AlreadyExists:
            found = await self._jobs.get(key)
            if found is None:
                raise
            return found
        except Invalid as error:
            raise GateError(f"the API server refuses the Job: {error.reason}") from error

    async def _template(self, run: Run) -> Json:
        gate = run.request.gate.job
        if gate is None:
            raise GateError("the gate names no Job")
        if gate.template is not None:
            if not self._config.inline_templates:
                raise GateError("the operator allows no template in a rollout; name a CronJob in templateRef")
            return gate.template
        key = ObjectKey(run.key.namespace, gate.template_ref.name if gate.template_ref else "")
        template = await self._jobs.template(key)
        if template is None:
            # It may be on its way: GitOps tools apply in no order.
            raise LookupError(f"there is no CronJob {key}, whose jobTemplate is to be run")
        return template

    async def _trim(self, run: Run, newest: str) -> None:
        """Keep the last few finished Jobs of a rollout."""
        try:
            jobs = await self._jobs.of(run.key.namespace, {ROLLOUT_LABEL: run.key.name})
            done = [job for job in jobs if _ended(job) and _controller(job) == run.owner.uid]
            done.sort(key=lambda job: text_at(mapping_at(job, "metadata"), "creationTimestamp"), reverse=True)
            for job in done[self._config.history :]:
                metadata = mapping_at(job, "metadata")
                key = ObjectKey(run.key.namespace, text_at(metadata, "name"))
                if key.name != newest:
                    await self._jobs.delete(key, text_at(metadata, "uid"))
        except Exception as error:  # tidying must not spoil an answer
            log.warning("%s: old Jobs could not be deleted: %s", run.key, error)


def _controller(job: Json) -> str:
    owners = mappings_at(mapping_at(job, "metadata"), "ownerReferences")
    return next((text_at(owner, "uid") for owner in owners if owner.get("controller") is True), "")


def _check_owner(job: Json, run: Run, key: ObjectKey) -> None:
    if _controller(job) != run.owner.uid:
        raise GateError(
            f"Job {key} is not this rollout's own, so it is not touched: delete it, then say retry"
        )


def _ended(job: Json) -> str:
    """Complete or Failed, empty while it runs."""
    for condition in mappings_at(mapping_at(job, "status"), "conditions"):
        kind = text_at(condition, "type")
        if kind in {"Complete", "Failed"} and text_at(condition, "status") == "True":
            why = ": ".join(filter(None, (text_at(condition, "reason"), text_at(condition, "message"))))
            return kind if kind == "Complete" else f"Failed ({why})" if why else kind
    return ""


def _answer(run: Run, name: str, ended: str, pods: Sequence[Json]) -> GateAnswer:
    gate = run.request.gate.job
    said, code = _last_word(pods, (gate.container if gate else None) or "")
    report = read_report(said)
    if ended == "Complete":
        passed, why = judge(report, gate.threshold if gate else None, default=True)
    else:
        passed = False
        why = f"Job {name} failed" + (f" with exit code {code}" if code else f": {ended}")
    if not passed and report.text:
        why = f"{why}: {report.text}"
    return GateAnswer("Passed" if passed else "Failed", report.shown, report.text, why, name)


def _last_word(pods: Sequence[Json], container: str) -> tuple[str, int]:
    """The termination message of the newest pod that has one (of that container, or of any), and the exit code."""
    newest = sorted(
        pods, key=lambda pod: text_at(mapping_at(pod, "metadata"), "creationTimestamp"), reverse=True
    )
    code = 0
    for pod in newest:
        for status in mappings_at(mapping_at(pod, "status"), "containerStatuses"):
            ended = mapping_at(mapping_at(status, "state"), "terminated")
            if container and text_at(status, "name") != container:
                continue
            code = code or number_at(ended, "exitCode")
            if said := text_at(ended, "message"):
                return said, number_at(ended, "exitCode")
    return "", code
