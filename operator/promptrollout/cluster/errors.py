"""What can go wrong between the operator and the API server, as types that say what to do about it."""

# ruff: noqa: N818 - named as the API server names its reasons: NotFound, Conflict, AlreadyExists, Forbidden.

from collections.abc import Mapping

from promptrollout.cluster.values import Json, mapping_at, mappings_at, text_at


class ClusterError(Exception):
    """An answer of the API server that is not what was asked for, or none at all.

    Attributes:
        action: what was being done, such as `patch promptrollouts/status shop/support-answer`.
        reason: the server's own words, or the network's.
    """

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(f"{action}: {reason}")
        self.action = action
        self.reason = reason


class NotFound(ClusterError):
    """The object is not there (any more)."""


class NamespaceTerminating(NotFound):
    """The namespace is being deleted: nothing can be created in it, and nothing needs to be."""


class Conflict(ClusterError):
    """The object has changed since it was read: read it again and decide anew."""


class AlreadyExists(ClusterError):
    """An object of that name is there already; whose it is must be looked at."""


class Invalid(ClusterError):
    """The server refuses the content (schema, size, immutability): the same request would fail again."""


class Expired(ClusterError):
    """A list's continue token is too old (410).

    Attributes:
        resume: a token with which the list goes on from the same place, seeing newer objects; empty if none.
    """

    def __init__(self, action: str, reason: str, resume: str = "") -> None:
        super().__init__(action, reason)
        self.resume = resume


class Forbidden(ClusterError):
    """The operator's account lacks a right. `missing` names it in words, with the server's sentence."""

    @property
    def missing(self) -> str:
        """What is missing, in the server's words."""
        return self.reason


class Unauthorized(Forbidden):
    """The server does not accept the operator's credentials at all."""


class Fenced(ClusterError):
    """Not sent: this process must not write, since it does not lead (any more)."""


class Unavailable(ClusterError):
    """No usable answer in time: network, timeout, overload (429) or a fault of the server (5xx).

    Attributes:
        retry_after: seconds the server asked to wait, None if it did not say.
    """

    def __init__(self, action: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(action, reason)
        self.retry_after = retry_after


_BY_STATUS: Mapping[int, type[ClusterError]] = {
    400: Invalid,
    401: Unauthorized,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
}


def error_for(action: str, code: int, body: Json, retry_after: float | None) -> ClusterError:
    """The typed error for an answer of the API server.

    Args:
        action: what was being done, for the message.
        code: the HTTP status, 400 or more.
        body: the server's `Status` object; empty if the answer was none (a proxy's page, say).
        retry_after: the Retry-After header in seconds.
    """
    reason = text_at(body, "message") or f"HTTP {code}"
    if code == 403:
        return _forbidden(action, reason, body)
    if code == 409 and text_at(body, "reason") == "AlreadyExists":
        return AlreadyExists(action, reason)
    if code == 410:
        return Expired(action, reason, text_at(mapping_at(body, "metadata"), "continue"))
    if code == 429 or code >= 500:
        return Unavailable(action, reason, retry_after)
    return _BY_STATUS.get(code, ClusterError)(action, reason)


def _forbidden(action: str, reason: str, body: Json) -> ClusterError:
    """Tells a namespace on its way out, which the server reports as 403 too, from a missing right."""
    causes = mappings_at(mapping_at(body, "details"), "causes")
    if any(text_at(cause, "reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceTerminating(action, reason)
    return Forbidden(action, reason)
