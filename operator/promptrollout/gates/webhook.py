"""A gate that is a request to a service: named in the operator's configuration, signed, tried again until it answers.

Nothing of a rollout can say where the request goes: the URL is the operator's, and redirects are not followed.
"""

import asyncio
import json
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping

import aiohttp

from promptrollout.api.base import to_rfc3339
from promptrollout.gates.answers import judge, read_report
from promptrollout.gates.config import WebhookConfig
from promptrollout.gates.protocol import GateError, Run, Tell
from promptrollout.remote.signing import signed_headers
from promptrollout.rollout import GateAnswer

log = logging.getLogger(__name__)

#: Of an answer no more is read.
_MOST_BYTES = 64 * 1024
#: Answers that say: not now.
_AGAIN = frozenset({408, 425, 429})
_WAITS = 202
_LONGEST_RETRY_AFTER_S = 300.0
_jitter = random.SystemRandom()


class WebhookKind:
    """`webhook` of a gate.

    Args:
        webhooks: the configured services.
        pause: seconds before the first repetition and at most, doubling in between.
    """

    def __init__(
        self,
        webhooks: Mapping[str, WebhookConfig],
        pause: tuple[float, float] = (1.0, 60.0),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._webhooks = webhooks
        self._pause = pause
        self._clock = clock
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def run(self, run: Run, tell: Tell) -> GateAnswer:
        """Post until there is an answer; the gate's own timeout ends that."""
        gate = run.request.gate.webhook
        config = self._webhooks.get(gate.name) if gate else None
        if gate is None or config is None:
            raise GateError(f"webhook {gate.name if gate else ''!r} is not in the operator's configuration")
        body = json.dumps(payload(run, config), sort_keys=True, ensure_ascii=False).encode()
        attempt = 0
        while True:
            attempt += 1
            status, said, wait = await self._post(gate.name, config, run.id, body)
            if 200 <= status < 300 and status != _WAITS:
                report = read_report(said)
                passed, why = judge(report, gate.threshold, default=None)
                message = why if passed or not report.text else f"{why}: {report.text}"
                return GateAnswer("Passed" if passed else "Failed", report.shown, report.text, message)
            if status and status < 500 and status not in _AGAIN and status != _WAITS:
                raise GateError(f"webhook {gate.name} answers HTTP {status}")
            tell(GateAnswer(message=_progress(gate.name, status, said, attempt)))
            await asyncio.sleep(self._back_off(attempt) if wait is None else max(wait, self._pause[0]))

    async def end(self, run: Run) -> None:
        """There is nothing to stop: the service sees that nobody asks any more."""

    async def close(self) -> None:
        """Close the connections."""
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions))

    def _back_off(self, attempt: int) -> float:
        most = min(self._pause[0] * 2.0 ** min(attempt - 1, 20), self._pause[1])
        return _jitter.uniform(most / 2, most)

    async def _post(
        self, name: str, config: WebhookConfig, id_: str, body: bytes
    ) -> tuple[int, str, float | None]:
        """Status (0: none came), text, and how long the service asks to wait."""
        headers = await asyncio.to_thread(self._headers, config, id_, body)
        try:
            async with self._session(name, config).post(
                config.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                text = (await _beginning(answer.content)).decode(errors="replace")
                return answer.status, text, _seconds(answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, type(error).__name__, None

    def _headers(self, config: WebhookConfig, id_: str, body: bytes) -> Mapping[str, str]:
        """Read from files each time: secrets rotate. The id is the same for each repetition, the signature is not."""
        now = int(self._clock())
        headers = signed_headers(config.secret_file.read_text(), id_, now, body)
        if config.bearer_token_file is not None:
            headers["Authorization"] = f"Bearer {config.bearer_token_file.read_text().strip()}"
        return headers

    def _session(self, name: str, config: WebhookConfig) -> aiohttp.ClientSession:
        if name not in self._sessions:
            context = ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=16),
                timeout=aiohttp.ClientTimeout(total=config.timeout),
            )
        return self._sessions[name]


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """What comes, in however many pieces, as far as it is read at all."""
    read = bytearray()
    while len(read) < _MOST_BYTES and (piece := await content.read(_MOST_BYTES - len(read))):
        read += piece
    return bytes(read)


def payload(run: Run, config: WebhookConfig) -> dict[str, object]:
    """What the service is told."""
    request = run.request
    shown = {name: _revision(run, short, config) for name, short in request.arms}
    return {
        "type": "gate",
        "id": request.id,
        "namespace": run.key.namespace,
        "rollout": run.key.name,
        "gate": request.name,
        "place": request.place,
        "attempt": request.attempt,
        "until": to_rfc3339(request.until),
        "arms": shown,
        "stable": _revision(run, request.stable, config) if request.stable else None,
    }


def _revision(run: Run, short: str, config: WebhookConfig) -> dict[str, object]:
    document = run.documents.get(short)
    with_text = {"document": dict(document)} if config.documents and document is not None else {}
    return {"revision": short, **with_text}


def _progress(name: str, status: int, said: str, attempt: int) -> str:
    if status == _WAITS:
        return f"webhook {name} has not decided yet"
    what = f"HTTP {status}" if status else f"no answer ({said})"
    return f"webhook {name}: {what}, {attempt} times so far" if attempt > 1 else f"webhook {name}: {what}"


def _seconds(header: str | None) -> float | None:
    if header is None or not (header.isascii() and header.isdecimal()):
        return None
    return min(float(header), _LONGEST_RETRY_AFTER_S)
