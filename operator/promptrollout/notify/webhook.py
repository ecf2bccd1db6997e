"""A channel that is a webhook: signed JSON, as https://www.standardwebhooks.com has it. Redirects are not followed."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable

import aiohttp

from promptrollout.api.base import to_rfc3339
from promptrollout.notify.config import ChannelConfig
from promptrollout.notify.protocol import Letter, NotifierError
from promptrollout.remote.checks import check_url
from promptrollout.remote.signing import key_of, signed_headers

#: Answers that say: not now.
_AGAIN = frozenset({408, 425, 429})


def check(config: ChannelConfig) -> None:
    """ValueError, with the field's name, for what this kind of channel cannot do with."""
    if config.secret_file is None:
        raise ValueError("secretFile: is needed; requests are signed with it")


class JsonWebhook:
    """See `Notifier`."""

    def __init__(self, config: ChannelConfig, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def check(self) -> str:
        """See `Notifier`."""
        try:
            await asyncio.to_thread(self._secrets)
        except NotifierError as error:
            return str(error)
        return ""

    async def send(self, letter: Letter) -> None:
        """See `Notifier`."""
        url, secret, token = await asyncio.to_thread(self._secrets)
        body = json.dumps(payload(letter), sort_keys=True, ensure_ascii=False).encode()
        headers = signed_headers(secret, letter.id, int(self._clock()), body)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, OSError) as error:  # its text has the URL
            raise NotifierError(f"no answer ({type(error).__name__})") from None
        if not 200 <= status < 300:
            after = float(wait) if wait.isascii() and wait.isdecimal() else None
            raise NotifierError(f"HTTP {status}", final=status < 500 and status not in _AGAIN, after=after)

    async def close(self) -> None:
        """See `Notifier`."""
        if self._session is not None:
            await self._session.close()

    def _secrets(self) -> tuple[str, str, str]:
        """URL, signing secret and token, as they are now: mounted Secrets rotate."""
        config = self._config
        try:
            url = config.read_url()
            check_url(url, "urlFile", instead="bearerTokenFile")
            secret = config.secret_file.read_text() if config.secret_file else ""
            key_of(secret)
            token = config.bearer_token_file.read_text().strip() if config.bearer_token_file else ""
        except OSError as error:
            raise NotifierError(f"{error.filename} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise NotifierError(str(error)) from None
        return url, secret, token

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            ca = self._config.ca_file
            context = ssl.create_default_context(cafile=ca) if ca else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=2),
                timeout=aiohttp.ClientTimeout(total=self._config.timeout),
                trust_env=True,  # HTTPS_PROXY, as chats have it
            )
        return self._session


def payload(letter: Letter) -> dict[str, object]:
    """What the service is told: `type` and `timestamp` as the standard wishes, and all there is to know in `data`."""
    told = letter.notification
    data = told.as_texts() if told else {}
    return {
        "type": f"promptrollout.{told.reason if told else 'Summary'}",
        "timestamp": to_rfc3339(letter.at),
        "data": {**data, "title": letter.title, "text": letter.text},
    }
