"""Channels that Apprise speaks to: Slack, Microsoft Teams (workflows), Discord, and any other service of Apprise's.

Apprise is imported when the first such channel is used, and of its plugins only the one that is needed. It blocks, so
it runs in a thread that is never waited for: the interpreter ends without it. What it logs may hold a URL, so nothing
of that is passed on but the HTTP status.
"""

import asyncio
import contextlib
import importlib
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from promptrollout.notify.config import ChannelConfig
from promptrollout.notify.protocol import Letter, NotifierError, cut

_T = TypeVar("_T")
_CONNECT_S = 5.0
_AGAIN = frozenset({408, 425, 429})
#: Good news, and bad news that is more than a warning, in the colours of the chat.
_SUCCESS = frozenset({"Promoted", "Completed", "RollbackComplete", "GatePassed"})
_FAILURE = frozenset({"RolledBack", "Refused", "ArmDropped"})


@dataclass(frozen=True, slots=True)
class _Service:
    """One plugin of Apprise's: where it is, how it is called, what it is set to, and what is no plain text there.

    `mention`: the place within a mention that breaks it. `markup`: what means something unless it is escaped;
    `escaped`: whether Apprise escapes it in the text (it never does in the title).
    """

    said: str
    module: str = ""
    name: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    mention: str = ""
    markup: str = ""
    escaped: bool = False


_MARKDOWN = r"([\\*_~`|\[\]>#])"

SERVICES: Final[Mapping[str, _Service]] = {
    "slack": _Service(
        "an incoming webhook of Slack's (https://hooks.slack.com/services/...)",
        "slack",
        "NotifySlack",
        {"include_footer": False, "include_image": False},
    ),
    "teams": _Service(
        "a workflow's URL of Teams' (https://.../workflows/.../triggers/manual/paths/invoke?...sig=...)",
        "workflows",
        "NotifyWorkflows",
        {"include_image": False},
        r"(?<=<)(?=/?at\b)",
        _MARKDOWN,
        escaped=True,
    ),
    "discord": _Service(
        "a webhook of Discord's (https://discord.com/api/webhooks/...)",
        "discord",
        "NotifyDiscord",
        {"avatar": False},
        r"(?<=@)",
        _MARKDOWN,
    ),
    "apprise": _Service("a URL that Apprise knows (https://appriseit.com/services/)"),
}


def check(config: ChannelConfig) -> None:
    """ValueError, with the field's name, for what this kind of channel cannot do with."""
    if config.url_file is None:
        raise ValueError("urlFile: is needed; a chat's URL is a secret, so it comes from a Secret")
    for name in ("secret_file", "bearer_token_file"):
        if getattr(config, name) is not None:
            raise ValueError(
                f"{name.split('_')[0]}: a channel of type {config.type} takes none, its URL has all"
            )


class Chat:
    """See `Notifier`."""

    def __init__(self, config: ChannelConfig) -> None:
        self._config = config
        self._service = SERVICES[config.type]
        self._busy = False

    async def check(self) -> str:
        """See `Notifier`."""
        try:
            await self._in_thread(self._plugin)
        except NotifierError as error:
            return str(error)
        return ""

    async def send(self, letter: Letter) -> None:
        """See `Notifier`."""
        await self._in_thread(lambda: self._post(letter))

    async def close(self) -> None:
        """See `Notifier`."""

    def _post(self, letter: Letter) -> None:
        apprise, plugin = _apprise(), self._plugin()
        title, text = self._plain(letter.title), self._plain(letter.text, escaped=self._service.escaped)
        room = plugin.body_maxlen - len(title) - 10  # some count the title in
        sent = plugin.notify(
            title=title,
            body=cut(text, max(room, 100)),
            notify_type=getattr(apprise.NotifyType, _kind(letter)),
            body_format=apprise.NotifyFormat.TEXT,
        )
        status = _LISTENER.take()
        if not sent:
            said = f"HTTP {status}" if status else "no answer"
            raise NotifierError(said, final=0 < status < 500 and status not in _AGAIN)

    def _plugin(self) -> Any:  # noqa: ANN401 - Apprise's own; it does not leave this class
        """A new one for each message: the URL may have changed, and no waiting time of a message before is kept."""
        apprise, file = _apprise(), self._config.url_file
        try:
            url = file.read_text().strip() if file else ""
        except OSError as error:
            raise NotifierError(f"{error.filename} cannot be read: {error.strerror}") from None
        asset = apprise.AppriseAsset(app_id="prompt-rollout", app_desc="prompt-rollout", http_redirects=False)
        try:
            plugin = self._made(apprise, url, asset)
        except Exception:  # its text has the URL
            plugin = None
        _LISTENER.take()
        if plugin is None:
            raise NotifierError(f"{file} does not hold {self._service.said}")
        plugin.throttle = _no_pause  # what is sent how often is decided before
        plugin.socket_connect_timeout = min(_CONNECT_S, self._config.timeout)
        plugin.socket_read_timeout = self._config.timeout
        if self._config.ca_file is not None:
            plugin.verify_certificate = str(self._config.ca_file)
        return plugin

    def _made(self, apprise: Any, url: str, asset: object) -> Any:  # noqa: ANN401 - as above
        service = self._service
        if not service.module:
            return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
        kind = getattr(importlib.import_module(f"apprise.plugins.{service.module}"), service.name)
        parsed = kind.parse_native_url(url)
        return kind(**{**parsed, **service.options, "asset": asset}) if parsed else None

    def _plain(self, text: str, *, escaped: bool = False) -> str:
        """No author rings everybody's phone (a character of no width breaks a mention), or shows a false link."""
        service = self._service
        if service.markup and not escaped:
            text = re.sub(service.markup, r"\\\1", text)
        return re.sub(service.mention, "\u200b", text, flags=re.IGNORECASE) if service.mention else text

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run it in a thread that nobody waits for at the end; one at a time."""
        if self._busy:
            raise NotifierError("the attempt before has not ended yet")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()

        def run() -> None:
            told: dict[str, Any] = {}
            try:
                told["result"] = work()
            except Exception as error:
                told["error"] = error
            self._busy = False  # before anybody hears of it, and sends the next one
            _tell(loop, done, **told)

        self._busy = True
        threading.Thread(target=run, name=f"notify {self._config.type}", daemon=True).start()
        return await done


def _tell(
    loop: asyncio.AbstractEventLoop,
    done: "asyncio.Future[_T]",
    *,
    result: _T | None = None,
    error: Exception | None = None,
) -> None:
    def tell() -> None:
        if done.cancelled():
            return
        if error is not None:
            safe = error if isinstance(error, NotifierError) else NotifierError(type(error).__name__)
            done.set_exception(safe)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None only where _T is None

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell)


def _kind(letter: Letter) -> str:
    told = letter.notification
    if told is None:
        return "INFO"
    if told.reason in _FAILURE:
        return "FAILURE"
    return "SUCCESS" if told.reason in _SUCCESS else {"Warning": "WARNING", "Normal": "INFO"}[told.type]


def _no_pause(*_: object, **__: object) -> None:
    """Instead of Apprise's own waiting, which blocks."""


class _Listener(logging.Handler):
    """Hears of Apprise's log the HTTP status alone; the rest, which may hold a URL, goes nowhere."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._heard = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"\berror=(\d{3})\b", record.getMessage())
        if found:
            self._heard.status = int(found[1])

    def take(self) -> int:
        """What this thread's last request was answered; 0: nothing."""
        status: int = getattr(self._heard, "status", 0)
        self._heard.status = 0
        return status


_LISTENER = _Listener()


def _apprise() -> Any:  # noqa: ANN401 - Apprise is looked at by no other module
    """Apprise, deaf and dumb: imported late, since most operators have no chat."""
    logger = logging.getLogger("apprise")
    if _LISTENER not in logger.handlers:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(_LISTENER)
    return importlib.import_module("apprise")
