"""Families of counters: what one coalesced query selects, and whose each series is. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from promptrollout.sources.counters import series_id
from promptrollout.sources.promql import vector
from promptrollout.sources.protocol import CANDIDATE, STABLE, Subject
from promptrollout.sources.selector import parse_selector

Labels = Mapping[str, str]


class Key(NamedTuple):
    """Which series of a family belong together: the values of its rollout, revision and parameter labels."""

    rollout: str
    revision: str
    parameter: str


#: A label is whatever a pod says, and Python makes no number of some thousand digits.
_DIGITS = 18


def number_in(labels: Labels, name: str) -> int | None:
    """The natural number in a label; None if there is none."""
    text = labels.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


@dataclass(frozen=True, slots=True)
class Family:
    """Counters with one name (or one custom selector), told apart by labels.

    `metric` is the series' name and `rollout` the label with "namespace/name"; a custom family has `selector`
    instead and no such label. `step` is the label with the exposure at assignment: a late score names the weights it
    was made under. `parameter` is a label of which each query wants one value (a score's name). "" means no such
    label. With `by_arm` the label `revision` has the arm's name, not a revision (history survives a new candidate).
    """

    metric: str = ""
    selector: str = ""
    rollout: str = "rollout"
    revision: str = "revision"
    step: str = "step"
    parameter: str = ""
    by_arm: bool = False

    @classmethod
    def custom(cls, selector: str) -> "Family":
        """The family of a custom selector; SelectorError if it is none. Its counters know no exposure."""
        return cls(selector=selector, rollout="", revision=parse_selector(selector).label, step="")

    @property
    def name(self) -> str:
        """The series' name; "" if only the selector's matchers say it."""
        return self.metric or parse_selector(self.selector).name

    def select(self, keys: Iterable[Key]) -> str:
        """The vector selector for all series with these keys (a few more may match: sort them out by `key`)."""
        wanted = list(keys)
        if self.selector:
            return parse_selector(self.selector).render([key.revision for key in wanted])
        labels = ((self.rollout, 0), (self.revision, 1), (self.parameter, 2))
        return vector(self.metric, {label: [key[i] for key in wanted] for label, i in labels if label})

    def owner(self, rollout: str, revision: str, parameter: str) -> Key:
        """The key of the series that belong to this revision of this rollout."""
        if self.selector:
            return Key("", parse_selector(self.selector).value(revision), "")
        return Key(rollout if self.rollout else "", revision, parameter if self.parameter else "")

    def key(self, labels: Labels) -> Key:
        """The key of a series."""
        return Key(
            labels.get(self.rollout, "") if self.rollout else "",
            labels.get(self.revision, ""),
            labels.get(self.parameter, "") if self.parameter else "",
        )

    def exposure(self, labels: Labels) -> int | None:
        """The exposure a series belongs to; None if it does not say."""
        return number_in(labels, self.step) if self.step else None

    def identity(self, labels: Labels) -> bytes:
        """What makes a series this series.

        Some stores drop the name from functions' results, so it counts only where it is not known anyhow.
        """
        return series_id(labels, named=not self.name)


@dataclass(frozen=True, slots=True)
class Want:
    """One family, for one subject, with one parameter: the unit that is read, remembered and split off batches.

    `candidate` and `stable` are revisions; of a family that is told apart by arms, the arms' names.
    """

    family: Family
    subject: str
    candidate: str
    stable: str
    parameter: str = ""

    @classmethod
    def of(cls, family: Family, subject: Subject, parameter: str = "") -> "Want":
        """What this subject wants of this family."""
        chosen = parameter if family.parameter else ""
        sides = (subject.arm, subject.against) if family.by_arm else (subject.candidate, subject.stable)
        return cls(family, subject.key, *sides, chosen)

    def owners(self) -> dict[Key, str]:
        """Both arms' keys."""
        return {
            self.family.owner(self.subject, self.stable, self.parameter): STABLE,
            self.family.owner(self.subject, self.candidate, self.parameter): CANDIDATE,
        }

    def selector(self, *arms: str) -> str:
        """The vector selector of these arms' series (default: both), to query or to show."""
        return self.family.select(key for key, arm in self.owners().items() if not arms or arm in arms)


def select(wants: Sequence[Want]) -> str:
    """One vector selector for all these wants of one family."""
    return wants[0].family.select(key for want in wants for key in want.owners())


def batches(wants: Iterable[Want], most: int, longest: int) -> list[list[Want]]:
    """The wants of one family, cut so that one query names at most `most` of them in at most `longest` characters.

    Sorted first: the same rollouts give the same queries.
    """
    found: list[list[Want]] = []
    for want in sorted(wants, key=lambda w: (w.subject, w.candidate, w.stable, w.parameter)):
        if found and len(found[-1]) < most and len(select([*found[-1], want])) <= longest:
            found[-1].append(want)
        else:
            found.append([want])
    return found
