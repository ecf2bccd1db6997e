"""prometheus-api-client on a bounded pool of threads: instant and range queries as series, or a Fault.

The library is synchronous, waits for ever by default, retries on its own and overlooks warnings; the session
under it (`session.GuardedSession`) and the deadline here see to that.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from prometheus_api_client import PrometheusConnect
from urllib3 import Retry

from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.promql import duration
from promptrollout.sources.protocol import Reason
from promptrollout.sources.responses import Fault, read_series
from promptrollout.sources.session import Flight, GuardedSession, flying
from promptrollout.sources.strands import Series

T = TypeVar("T")

#: How much later than its own deadline a query's thread is given up.
_GRACE = 0.5


@dataclass(frozen=True, slots=True)
class QueryDone:
    """One query, for the operator's own metrics: its purpose, how long it took, how it ended ("" if well)."""

    purpose: str
    seconds: float
    reason: str
    series: int
    size: int


class PrometheusClient:
    """The HTTP API of one store. Methods raise Fault and nothing else."""

    def __init__(self, config: PrometheusConfig, on_query: Callable[[QueryDone], None] | None = None) -> None:
        self._config = config
        self._on_query = on_query or (lambda _done: None)
        self._session = GuardedSession(config)
        url = config.url.rstrip("/")
        self._api = PrometheusConnect(
            url=url,
            retry=Retry(total=0),
            session=self._session,
            timeout=config.timeout,
            method=config.method,
        )
        self._session.mount_own(url)
        self._threads = ThreadPoolExecutor(config.concurrency, thread_name_prefix="prometheus")
        self._slots = asyncio.Semaphore(config.concurrency)
        self._flights: set[Flight] = set()

    async def instant(self, query: str, at: float | None, purpose: str) -> list[Series]:
        """An instant query's series at the Unix time `at` (None: now); raw samples if `query` is a range selector."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        return await self._ask(
            purpose, partial(self._api.custom_query, query, params=self._parameters(moment))
        )

    async def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """A range query's series: the value at `start`, then every `step` seconds to `end`."""
        # The library rounds times to whole seconds; the parameters win over its own.
        exact = self._parameters({"start": f"{start:.3f}", "end": f"{end:.3f}"})
        begin, finish = (datetime.fromtimestamp(t, UTC) for t in (start, end))
        ask = partial(self._api.custom_query_range, query, begin, finish, f"{step:.3f}", params=exact)
        return await self._ask("history", ask)

    def _parameters(self, own: Mapping[str, str]) -> dict[str, str]:
        return {**self._config.parameters, "timeout": duration(self._config.timeout), **own}

    async def compute(self, work: Callable[[], T]) -> T:
        """Run work that takes a while beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _ask(self, purpose: str, ask: Callable[[], Any]) -> list[Series]:
        async with self._slots:
            begun = time.monotonic()
            flight = Flight()
            reason, series = Reason.UNAVAILABLE.value, []
            try:
                series = await self._fly(flight, ask)
                reason = ""
            except Fault as fault:
                reason = fault.reason.value
                raise
            except asyncio.CancelledError:
                reason = "Cancelled"
                raise
            finally:
                self._on_query(QueryDone(purpose, time.monotonic() - begun, reason, len(series), flight.size))
        return series

    async def _fly(self, flight: Flight, ask: Callable[[], Any]) -> list[Series]:
        self._flights.add(flight)
        try:
            async with asyncio.timeout(self._config.timeout + _GRACE):
                return await self.compute(partial(_fetch, flight, ask))
        except TimeoutError:
            raise Fault(Reason.TIMEOUT, f"no complete answer within {self._config.timeout:g} s") from None
        finally:
            flight.abort()  # nothing to abort if it has landed
            self._flights.discard(flight)

    async def close(self) -> None:
        """End what is under way and let go of connections and threads."""
        for flight in list(self._flights):
            flight.abort()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()


def _fetch(flight: Flight, ask: Callable[[], Any]) -> list[Series]:
    """In a thread: ask, and read the answer. Whatever else goes wrong in the library is a Fault too."""
    with flying(flight):
        try:
            return read_series(ask())
        except Fault:
            raise
        except Exception as error:
            raise Fault(Reason.MALFORMED, f"the answer could not be read: {type(error).__name__}") from error
