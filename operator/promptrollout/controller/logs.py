"""Log lines on standard error: one a happening, as text or as JSON, without credentials.

Text a person reads: a traceback follows its line, indented. JSON a collector reads: everything is in the line.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

#: Libraries that tell more than anybody wants; from which level on they may.
_LIBRARIES: Final = {
    "kopf": logging.WARNING,
    "kopf._core.actions.execution": logging.ERROR,
    "kubernetes": logging.WARNING,
    "aiohttp": logging.WARNING,
    "urllib3": logging.ERROR,
    "asyncio": logging.WARNING,
}
#: What looks like a credential: headers, bearer tokens, JWTs, passwords in URLs. What stands before it is kept.
_SECRETS: Final = (
    re.compile(
        r"((?:authorization|x-api-key)['\"]?\s*[:=]\s*['\"]?(?:bearer |basic )?)[^\s'\",]+", re.IGNORECASE
    ),
    re.compile(r"(\bbearer )[^\s'\",]{8,}", re.IGNORECASE),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),
    re.compile(r"()\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"),
)


def without_secrets(text: str) -> str:
    """The text with what looks like a credential blotted out."""
    for secret in _SECRETS:
        text = secret.sub(r"\1[hidden]", text)
    return text


class TextFormatter(logging.Formatter):
    """Time, level, where, what; a message never makes a second line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{_moment(record)} {record.levelname:<7} {_where(record)}: {message}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).replace("\n", "\n    ")
            line = f"{line}\n    {trace}"
        return without_secrets(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the fields that log collectors know."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "timestamp": _moment(record),
            "level": record.levelname.lower(),
            "logger": _where(record),
            "message": without_secrets(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up all logging of the process; libraries speak up from warnings on only, unless at debug."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("promptrollout").setLevel(level.upper())
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(least)


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def _where(record: logging.LogRecord) -> str:
    """The logger without what all of ours begin with."""
    return record.name.removeprefix("promptrollout.")
