"""A requests session that owns its deadline: bounded in time and size, no redirects, nothing from the environment.

prometheus-api-client asks it through `request`; what comes back has been read, decoded and checked
(`responses.check_envelope`), so that the library's own reading cannot overlook anything.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError

from promptrollout.sources.config import PrometheusConfig
from promptrollout.sources.protocol import Reason
from promptrollout.sources.responses import Fault, check_envelope, refuse, shorten

_CHUNK = 65_536


class Flight:
    """One query in the air: how much it read, and a handle by which another thread can end it."""

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.size = 0
        self.aborted = False

    def abort(self) -> None:
        """Shut the connection: the reading thread gets an error at once, however slowly the other side drips."""
        self.aborted = True
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    flight: Flight | None = None


_current = _Current()


@contextlib.contextmanager
def flying(flight: Flight) -> Iterator[Flight]:
    """What this thread asks inside belongs to `flight`."""
    _current.flight = flight
    try:
        yield flight
    finally:
        _current.flight = None
        flight.sock = None


def _take_off(sock: socket.socket | None) -> None:
    flight = _current.flight
    if flight is not None:
        flight.sock = sock
        if flight.aborted:
            flight.abort()


class _Http(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # urllib3 does so itself
        _take_off(self.sock)
        return super().getresponse()


class _Https(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # urllib3 does so itself
        _take_off(self.sock)
        return super().getresponse()


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    """Connections whose sockets a deadline can shut; never a retry of its own."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - as in requests
        super().init_poolmanager(connections, maxsize, block, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def close(self) -> None:
        """Close kept connections now: urllib3 leaves that to the garbage collector."""
        for key in self.poolmanager.pools.keys():  # noqa: SIM118 - it cannot be iterated itself
            pool = self.poolmanager.pools.get(key)
            if pool is not None:
                pool.close()
        super().close()


class _BearerFile(AuthBase):
    """A token from a file, read at each query: mounted tokens are replaced while we run."""

    def __init__(self, config: PrometheusConfig) -> None:
        self._file = config.bearer_token_file

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {_secret(self._file, 'bearer_token_file')}"
        return request


class _PasswordFile(AuthBase):
    def __init__(self, config: PrometheusConfig) -> None:
        self._user, self._file = config.username, config.password_file

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        HTTPBasicAuth(self._user, _secret(self._file, "password_file"))(request)
        return request


def _secret(file: Path | None, name: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Fault(Reason.UNAUTHORIZED, f"{name} cannot be read: {type(error).__name__}") from None
    if not text or not text.isascii() or not text.isprintable():
        raise Fault(Reason.UNAUTHORIZED, f"{name} does not hold one line of text")
    return text


class CheckedResponse(requests.Response):
    """A complete, successful answer, decoded."""

    def __init__(self, body: Mapping[str, object]) -> None:
        super().__init__()
        self.status_code = 200
        self._body = body

    def json(self, **_: Any) -> Any:  # noqa: ANN401 - as in requests
        """The decoded answer."""
        return self._body


class GuardedSession(requests.Session):
    """The session of one source. `request` returns a CheckedResponse or raises Fault."""

    def __init__(self, config: PrometheusConfig) -> None:
        super().__init__()
        self._config = config
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.verify = str(config.ca_file) if config.ca_file else not config.insecure_skip_verify
        if config.client_certificate_file:
            key = config.client_key_file
            certificate = str(config.client_certificate_file)
            self.cert = (certificate, str(key)) if key else certificate
        if config.bearer_token_file:
            self.auth = _BearerFile(config)
        elif config.username:
            self.auth = _PasswordFile(config)
        if config.proxy:
            self.proxies = {"http": config.proxy, "https": config.proxy}
        self.headers.update(config.headers)
        if config.tenant:
            self.headers["X-Scope-OrgID"] = config.tenant

    def mount_own(self, prefix: str) -> None:
        """Put our adapter where the client library has put its own."""
        size = self._config.concurrency
        self.mount(prefix, _Adapter(pool_connections=1, pool_maxsize=size, max_retries=Retry(0, read=False)))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - as in requests
        """One query; `timeout` (seconds) is for all of it."""
        deadline = time.monotonic() + float(kwargs.get("timeout") or self._config.timeout)
        if str(method) == "POST":  # in the body a query may be as long as it likes
            kwargs["data"] = kwargs.pop("params", None)
        kwargs |= {"allow_redirects": False, "stream": True}
        try:
            try:
                response = self._send(deadline, (method, url, *args), kwargs)
            except requests.ConnectionError as error:
                if not _was_dropped(error):
                    raise
                response = self._send(deadline, (method, url, *args), kwargs)
            with response:
                return self._checked(response, deadline)
        except Fault:
            raise
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise fault_of(error, self._config) from None

    def _send(self, deadline: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> requests.Response:
        left = max(deadline - time.monotonic(), 0.001)
        kwargs["timeout"] = Timeout(connect=min(self._config.connect_timeout, left), read=left)
        return super().request(*args, **kwargs)

    def _checked(self, response: requests.Response, deadline: float) -> CheckedResponse:
        content = self._read(response, deadline)
        status = response.status_code
        try:
            body: object = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        if status != 200:
            refuse(status, body)
        return CheckedResponse(check_envelope(body))

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """The body, as long as it keeps to deadline and size: a drip that keeps within each read's timeout does not."""
        pieces: list[bytes] = []
        size = 0
        while piece := response.raw.read1(_CHUNK, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > self._config.max_bytes:
                raise Fault(Reason.TOO_LARGE, f"the answer has more than {self._config.max_bytes:,} bytes")
            if time.monotonic() > deadline:
                raise _late(self._config)
        if _current.flight is not None:
            _current.flight.size = size
        return b"".join(pieces)


def _was_dropped(error: BaseException) -> bool:
    """Whether the other side had closed a kept connection: nothing was asked yet, so ask once more."""
    if _current.flight is not None and _current.flight.aborted:
        return False
    return isinstance(error.args[0] if error.args else None, ProtocolError)


def _late(config: PrometheusConfig) -> Fault:
    return Fault(Reason.TIMEOUT, f"no complete answer within {config.timeout:g} s")


def fault_of(error: BaseException, config: PrometheusConfig) -> Fault:
    """What a failed query means, without the query itself."""
    if isinstance(error, requests.ConnectTimeout):
        return Fault(Reason.UNREACHABLE, f"no connection within {config.connect_timeout:g} s")
    if isinstance(error, (requests.Timeout, TimeoutError)) or "timed out" in str(error).lower():
        return _late(config)
    if isinstance(error, requests.exceptions.SSLError):
        return Fault(Reason.UNREACHABLE, f"TLS: {_root(error)}")
    if isinstance(error, requests.exceptions.ProxyError):
        return Fault(Reason.UNREACHABLE, f"the proxy: {_root(error)}")
    return Fault(Reason.UNREACHABLE, _root(error))


def _root(error: BaseException) -> str:
    """The innermost cause, in the operating system's words where it is one."""
    cause: BaseException = error
    for _ in range(10):
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None) or cause.__cause__
        if not isinstance(inner, BaseException):
            inner = next((a for a in cause.args if isinstance(a, BaseException)), cause.__cause__)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return shorten(cause.strerror)
    # "<connection object>: what happened"
    return shorten(str(cause).rpartition(">: ")[2] or type(cause).__name__)
