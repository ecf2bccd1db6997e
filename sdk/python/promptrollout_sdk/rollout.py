"""A rollout as an application sees it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from random import getrandbits
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from promptrollout_sdk.assignment import Assignment
from promptrollout_sdk.backlog import Backlog, Direct, Exposing
from promptrollout_sdk.counting import Key
from promptrollout_sdk.errors import Once, PayloadError, log, said
from promptrollout_sdk.hashing import utf8
from promptrollout_sdk.kubernetes import Api, ApiSource
from promptrollout_sdk.ledger import Ledger
from promptrollout_sdk.loaded import Loaded
from promptrollout_sdk.metrics import families_of, forget_dead_processes, multiprocess_directory
from promptrollout_sdk.payload import Contract, load
from promptrollout_sdk.pins import parse_token
from promptrollout_sdk.prompt import Message, Part, Prompt, prompt_from_code
from promptrollout_sdk.scoring import Scoring
from promptrollout_sdk.serving import Followed, NoPinError, Served, Serving
from promptrollout_sdk.shadow import Pair, Run, Shadows, announce
from promptrollout_sdk.source import DirectorySource, Source
from promptrollout_sdk.watcher import watcher

R = TypeVar("R")
Default = str | Sequence[Message] | Mapping[str, Any]

_RETRY_SECONDS = 1.0  # after a failed load whose directory looks unchanged: a permission may be given back
_SWEEP_SECONDS = 60.0
_SWAPS = 5  # how often a version may be swapped for the next while it is read, before that is left to the next look


class PromptRollout:
    """Which prompt to use for which request, and the metrics by which the operator compares prompts.

    Safe for threads, asyncio and forks. Nothing raises in the request path: a broken payload keeps the last good
    one, a wrong argument is reported in promptrollout_sdk_problems_total and once in the log.
    """

    def __init__(
        self,
        source: Source,
        default: Default | None = None,
        *,
        registry: CollectorRegistry | None = None,
        contract: Contract | None = None,
        ledger: Ledger | None = None,
        watch: bool = True,
    ) -> None:
        self._source = source
        self._contract = contract or Contract()
        self.families = families_of(registry)
        self._ledger = ledger or Ledger(self.families, (), ())
        self._scoring = Scoring(self._ledger)
        self._once = Once()
        self.exposing: Exposing = Backlog() if watch and multiprocess_directory() else Direct()
        self.shadows = Shadows(self.families, self.problem)
        self._lock = threading.Lock()
        self._loaded = Loaded(self.families)
        self._digests: Mapping[str, tuple[str, Prompt]] = {}
        self._serving: Serving | None = None
        self._default: Served | None = None
        self._tried: object = None
        self._failure: PayloadError | None = None
        self._retry_at = self._sweep_at = 0.0
        self.name = source.name
        if default is not None:
            self._default = self._serve_default(prompt_from_code(default))
        failure = self._start()
        if failure:
            source.close()
            raise failure
        if watch:
            watcher.add(self)

    @classmethod
    def from_directory(
        cls,
        path: str | os.PathLike[str],
        default: Default | None = None,
        *,
        registry: CollectorRegistry | None = None,
        events: Collection[str] = (),
        scores: Collection[str] = (),
        contract: Contract | None = None,
        watch: bool = True,
    ) -> PromptRollout:
        """A rollout whose ConfigMap is mounted at `path`.

        Args:
            path: the mount's directory (not a subPath mount: kubelet never refreshes those).
            default: the prompt to answer with while there is no payload: a text, messages, or fields as in the
                API's `inline`. Without it a missing payload raises PayloadError here, at start-up.
            registry: where the metrics go; prometheus_client's default registry by default.
            events: names for `r.event(name)`; told in advance so that their counters start at zero.
            scores: names for `a.score(name, value)`, for the same reason; others are made at first use.
            contract: the parts that the application asks for and the variables that it fills in. A payload that
                does not fit is refused and so is not acknowledged: the rollout waits instead of failing.
            watch: look for changes in the background; without it call `refresh()`.

        """
        return cls(
            DirectorySource(path),
            default,
            registry=registry,
            contract=contract,
            ledger=Ledger(families_of(registry), events, scores),
            watch=watch,
        )

    @classmethod
    def watch(  # noqa: PLR0913 - keywords, as from_directory has them
        cls,
        namespace: str,
        config_map: str,
        default: Default | None = None,
        *,
        api: Api | None = None,
        registry: CollectorRegistry | None = None,
        events: Collection[str] = (),
        scores: Collection[str] = (),
        contract: Contract | None = None,
    ) -> PromptRollout:
        """A rollout whose ConfigMap is watched through the API server, with the pod's service account.

        It needs `get` and `watch` on that ConfigMap, and neither a mount nor a nudge. `api` says where the server is if
        not where the pod's environment says; the rest is as in `from_directory`.
        """
        ledger = Ledger(families_of(registry), events, scores)
        return cls(
            ApiSource(namespace, config_map, api or Api.in_cluster()),
            default,
            registry=registry,
            contract=contract,
            ledger=ledger,
        )

    # The request path ---------------------------------------------------------------------------------------------

    def assign(self, unit: str | None = None, pin: str | None = None) -> Assignment:
        """The prompt for one request.

        Args:
            unit: what keeps its prompt over requests (a conversation's or user's id). None draws at random.
            pin: `Assignment.pin` of an earlier request of the same conversation: keeps its revision over a ramp.

        """
        given = unit is not None
        if unit is None:
            unit = f"{getrandbits(64):016x}"
        serving = self._serving
        try:
            if serving is None:
                return Assignment(self, self._default or self._nothing(), unit, given)
            if pin:
                followed = self._follow(serving, pin)
                if followed:
                    return Assignment(self, followed.served, unit, given, followed.pin)
            return Assignment(self, serving.assign(unit.encode()), unit, given)
        except (AttributeError, UnicodeEncodeError):  # an id that is no string, or no valid one
            text = utf8(said(unit))
            served = serving.assign(text) if serving else self._default or self._nothing()
            return Assignment(self, served, text.decode(), given)

    def score(self, token: str, name: str, value: float) -> None:
        """A judgement that comes later, of the answer that `token` names: from 0 (worst) to 1 (best)."""
        parsed = parse_token(token) if isinstance(token, str) else None
        if parsed is None:
            self.problem("token", "a score came with something that is no token")
        elif self._serving and parsed.rollout not in (self.name, self._source.name):
            self.problem("token", f"a score's token is of {parsed.rollout}, this is {self.name}")
        else:
            key = Key(parsed.rollout, parsed.revision, parsed.arm, str(parsed.exposure))
            self.count_score(key, parsed.cluster, name, value)

    # Loading ------------------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> int | None:
        """The sequence of the payload that is served; None while the default is."""
        return self._serving.payload.sequence if self._serving else None

    def refresh(self) -> bool:
        """Look for a change now and load it; True if another payload is served afterwards. Never raises."""
        with self._lock:
            for _ in range(_SWAPS):
                self._tried = self._source.version()
                try:
                    return self._load()
                except PayloadError as error:
                    failure = error
                except Exception as error:  # no input may stop the application
                    failure = PayloadError("invalid", f"{type(error).__name__}: {error}")
                if self._source.version() == self._tried:
                    break  # nobody swapped it meanwhile: it is broken
            self._refuse(failure)
            return False

    def close(self) -> None:
        """Look for changes no more; what is loaded goes on being served."""
        watcher.remove(self)
        self.ended()
        self._source.close()

    def poll(self, now: float) -> None:
        """One look of the background thread."""
        self.exposing.flush()
        if self._loaded.announce():
            forget_dead_processes()  # this one may succeed one that was killed
        retry = self._failure is not None and now >= self._retry_at
        if retry or self._source.version() != self._tried:
            self.refresh()
            self._retry_at = now + _RETRY_SECONDS
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self._ledger.sweep(now)
            forget_dead_processes()

    def forked(self) -> None:
        """The process is a child: its locks are new, and it has not said yet what it serves."""
        self._lock = threading.Lock()
        self._ledger.forked()
        self.shadows.forked()
        self.exposing.forked()
        self._loaded.forked()

    def ended(self) -> None:
        """There are no more looks: write what was kept for the next, and keep nothing further."""
        kept, self.exposing = self.exposing, Direct()
        kept.flush()

    def _start(self) -> PayloadError | None:
        """Load for the first time; the failure, if there is nothing to answer with."""
        self.refresh()
        return None if self._serving or self._default else self._failure

    def _load(self) -> bool:
        read = self._source.open()
        payload, digests = load(read, self._contract, self._digests)
        recovered, self._failure = self._failure, None
        if self._serving and self._serving.payload.hash == payload.hash:
            return False
        if payload.rollout != self.name:
            self.name = payload.rollout
        serving = Serving(payload, self._ledger)
        self._digests = {r: (digests[r], prompt) for r, prompt in payload.prompts.items()}
        self._serving = serving  # from here on requests get it
        self._ledger.serve(serving.keys)
        if payload.shadow:
            announce(self.families, payload.rollout, payload.shadow.revision, self._ledger.scores)
        self._loaded.set(payload.rollout, payload.sequence, payload.hash)
        forget_dead_processes()
        again = " again" if recovered else ""
        log.info("%s: serving sequence %d%s", self.name, payload.sequence, again)
        return True

    def _refuse(self, error: PayloadError) -> None:
        last, self._failure = self._failure, error
        if last and (last.reason, str(last)) == (error.reason, str(error)):
            return
        self.families.payload_errors.labels(self.name, error.reason).inc()
        serving = f"sequence {self.sequence}" if self._serving else "the default"
        if self._serving or self._default:
            log.warning("%s: payload refused (%s): %s; serving %s", self.name, error.reason, error, serving)

    def _serve_default(self, prompt: Prompt) -> Served:
        key = Key(self.name, "default", "default", "0")
        series = self._ledger.arm(key)
        self._ledger.serve([key])  # until there is a payload
        return Served(0, prompt, series, None)

    def _nothing(self) -> Served:
        # Unreachable: __init__ raises without a payload and a default. Kept so that no type says otherwise.
        return self._serve_default(prompt_from_code(""))

    def _follow(self, serving: Serving, text: str) -> Followed | None:
        try:
            return serving.follow(text, time.time())
        except (NoPinError, TypeError):  # a TypeError from something that is not even hashable
            self.problem("pin", "a pin that is none was ignored")
            return None

    # For assignments ----------------------------------------------------------------------------------------------

    def count_score(self, key: Key, cluster: int, name: str, value: float) -> bool:
        """Count a score of an arm; False, and said, when it is none. Never raises."""
        problem = self._scoring.count(key, cluster, name, value)
        if problem:
            self.problem("score", problem)
        return not problem

    def start_shadow(self, beside: Assignment, fn: Run) -> bool:
        """Run the shadowed revision beside an assignment, if the payload asks for it."""
        serving = self._serving
        rules = serving.payload.shadow if serving else None
        if serving is None or rules is None or beside.paired:
            return False
        candidate = Assignment(self, serving.shadowed(rules), beside.unit, beside.unit_given)
        pair = Pair(self.families, self.name, rules.revision)
        beside.join(pair, in_shadow=False)
        candidate.join(pair, in_shadow=True)
        return self.shadows.start(rules, self.name, fn, candidate)

    def problem(self, reason: str, message: str, *, trace: bool = False) -> None:
        """Something the application should know; said once, counted always."""
        self.families.problems.labels(self.name, reason).inc()
        self._once.warn(f"{self.name}: {message}", trace=trace)

    def render_instead(
        self,
        render: Callable[[Part, Mapping[str, object]], R],
        failed: Prompt,
        values: Mapping[str, object],
        part: str,
    ) -> R:
        """What to answer with when a revision cannot be rendered: stable's prompt, the default, the bare template."""
        serving, default = self._serving, self._default
        others = [serving.last.prompt] if serving else []
        for prompt in (*others, *([default.prompt] if default else [])):
            try:
                return render(prompt.part(part), values)
            except Exception:  # noqa: S112 - the next one
                continue
        return render(failed.main.unrendered(), values)
