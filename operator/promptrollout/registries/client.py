"""GET of JSON from a registry: bounded in time and size, no redirects, of the environment only what is named."""

import base64
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from promptrollout.registries.config import RegistryConfig
from promptrollout.registries.protocol import RegistryUnavailableError


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a JSON object (or none, `{}`)."""

    status: int
    body: Mapping[str, object]


class RegistryClient:
    """The connections to one registry; opened with the first request."""

    def __init__(self, name: str, config: RegistryConfig) -> None:
        self._name = name
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """Ask for `path` below the registry's URL.

        Raises:
            RegistryUnavailableError: no connection, no answer in time, too much of one, refused, or a server's error.
        """
        try:
            async with self._opened().get(
                f"{self._config.url.rstrip('/')}{path}",
                params=query,
                headers=self._credentials(),
                allow_redirects=False,
                proxy=self._config.proxy or None,
            ) as response:
                raw = await self._read(response)
                return self._checked(response.status, raw)
        except TimeoutError:
            raise self._unavailable(f"no complete answer within {self._config.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._unavailable(_cause(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=4, ssl=self._tls())
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._config.timeout),
                headers={"Accept": "application/json", **self._config.headers},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    def _tls(self) -> ssl.SSLContext | bool:
        config = self._config
        if not config.url.startswith("https:"):
            return True
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.client_certificate_file:
            context.load_cert_chain(config.client_certificate_file, config.client_key_file)
        if config.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _credentials(self) -> dict[str, str]:
        config = self._config
        if config.bearer_token_file or config.bearer_token_env:
            token = self._secret(config.bearer_token_file, config.bearer_token_env)
            return {"Authorization": f"Bearer {token}"}
        if config.username:
            password = self._secret(config.password_file, config.password_env)
            pair = base64.b64encode(f"{config.username}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}

    def _secret(self, file: Path | None, variable: str) -> str:
        where = f"the file {file}" if file else f"the variable {variable}"
        try:
            text = file.read_text(encoding="utf-8").strip() if file else os.environ.get(variable, "").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unavailable(f"{where} cannot be read: {type(error).__name__}") from None
        if not text or not text.isprintable():
            raise self._unavailable(f"{where} does not hold one line of text")
        return text

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        pieces, size = [], 0
        async for piece in response.content.iter_chunked(65_536):
            pieces.append(piece)
            size += len(piece)
            if size > self._config.max_bytes:
                raise self._unavailable(f"the answer has more than {self._config.max_bytes:,} bytes")
        return b"".join(pieces)

    def _checked(self, status: int, raw: bytes) -> Answer:
        if status in (401, 403):
            raise self._unavailable(
                f"the operator is refused (HTTP {status}); look at its credentials for this registry"
            )
        try:
            body: object = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if status >= 500 or status in (408, 429) or 300 <= status < 400 or not isinstance(body, dict):
            raise self._unavailable(
                f"HTTP {status}" + ("" if isinstance(body, dict) else " without a JSON object")
            )
        return Answer(status, body)

    def _unavailable(self, why: str) -> RegistryUnavailableError:
        return RegistryUnavailableError(f"registry {self._name} cannot be asked: {why}")


def _cause(error: Exception) -> str:
    """What happened, without the URL or a header."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"no connection: {os.strerror(number) if number else type(error.os_error).__name__}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
