"""A metric source that answers from a recording, and one that makes a recording of what another answers.

For replaying a real rollout with other margins or steps, for explaining a decision afterwards, and wherever the same
data must come twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from promptrollout.analysis.counts import History, Window
from promptrollout.sources.protocol import (
    LoadedBy,
    MetricSource,
    NoData,
    Problem,
    Reason,
    Sample,
    SourceError,
    Subject,
)
from promptrollout.sources.recording import Recording


class RecordedSource:
    """Answers from a recording.

    Windows are given out whole: those that lie in the time asked for, whatever interval is asked for. Beyond the end
    of the recording the source is Unavailable, as a store is that has gone.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def sample(
        self,
        subjects: Sequence[Subject],
        start: float,
        end: float,
        interval: float | None = None,  # noqa: ARG002 - the protocol's
    ) -> Mapping[str, Sample]:
        """See MetricSource."""
        return {subject.key: self._sample(subject, start, end) for subject in subjects}

    def _sample(self, subject: Subject, start: float, end: float) -> Sample:
        windows = self._recording.windows.get(subject.key, ())
        recorded = self._recording.problems.get(subject.key, ())
        names = {query.name for query in subject.queries}
        problems = {
            metric: problem for at, metric, problem in recorded if start < at <= end and metric in names
        }
        inside = tuple(_only(w, names) for w in windows if start <= w.start and w.end <= end)
        last = max((*(w.end for w in windows), *(at for at, _, _ in recorded)), default=None)
        if last is None or start >= last:
            until = "is empty" if last is None else f"ends at {last}"
            over = SourceError(Reason.UNAVAILABLE, f"the recording of {subject.key} {until}")
            return Sample((), dict.fromkeys(sorted(names), over))
        seen = {name for window in windows for name in window.metrics}
        unknown = {name: NoData(name, "both") for name in sorted(names - seen) if name not in problems}
        return Sample(inside, {**unknown, **problems})

    async def acknowledgements(
        self, rollouts: Collection[str]
    ) -> Mapping[str, tuple[LoadedBy, ...]] | SourceError:
        """See MetricSource: the last recorded word of each process."""
        return {rollout: self._recording.loaded.get(rollout, ()) for rollout in rollouts}

    async def history(self, subject: Subject, start: float, end: float) -> Mapping[str, History | Problem]:  # noqa: ARG002 - the protocol's
        """See MetricSource."""
        recorded = self._recording.history.get(subject.key, {})
        return {query.name: recorded.get(query.name, History()) for query in subject.queries}

    async def close(self) -> None:
        """See MetricSource."""


class Recorder:
    """Passes everything on to another source, and keeps what it answers in `recording`.

    Of each rollout at most `most` windows are kept, the latest ones.
    """

    def __init__(self, source: MetricSource, most: int = 20_000) -> None:
        self._source = source
        self._most = most
        self.recording = Recording()

    async def sample(
        self, subjects: Sequence[Subject], start: float, end: float, interval: float | None = None
    ) -> Mapping[str, Sample]:
        """See MetricSource."""
        samples = await self._source.sample(subjects, start, end, interval)
        windows, problems = dict(self.recording.windows), dict(self.recording.problems)
        for key, sample in samples.items():
            known = tuple(
                w for w in windows.get(key, ()) if w.end <= start
            )  # asked again: the new answer counts
            windows[key] = (*known, *sample.windows)[-self._most :]
            told = tuple(p for p in problems.get(key, ()) if p[0] <= start)
            new = tuple((end, name, problem) for name, problem in sample.problems.items())
            if told or new:
                problems[key] = (*told, *new)[-self._most :]
        self.recording = replace(self.recording, windows=windows, problems=problems)
        return samples

    async def acknowledgements(
        self, rollouts: Collection[str]
    ) -> Mapping[str, tuple[LoadedBy, ...]] | SourceError:
        """See MetricSource."""
        answer = await self._source.acknowledgements(rollouts)
        if not isinstance(answer, SourceError):
            self.recording = replace(self.recording, loaded={**self.recording.loaded, **answer})
        return answer

    async def history(self, subject: Subject, start: float, end: float) -> Mapping[str, History | Problem]:
        """See MetricSource."""
        answer = await self._source.history(subject, start, end)
        self.recording = replace(self.recording, history={**self.recording.history, subject.key: answer})
        return answer

    async def close(self) -> None:
        """See MetricSource."""
        await self._source.close()


def _only(window: Window, names: Collection[str]) -> Window:
    return replace(
        window,
        metrics={name: pair for name, pair in window.metrics.items() if name in names},
        late=tuple(late for late in window.late if late.metric in names),
        clusters={name: sums for name, sums in window.clusters.items() if name in names},
    )
