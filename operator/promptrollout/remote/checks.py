"""Checks of what an administrator writes about a service. Each raises ValueError, and never quotes a secret."""

from collections.abc import Mapping
from urllib.parse import urlsplit


def check_url(url: str, name: str = "", *, instead: str, query: str | None = None) -> None:
    """An http(s) URL with a host, and nothing in it that would be a secret in a log.

    Args:
        url: what was written.
        name: of the field, where the caller does not say it.
        instead: the fields for what credentials in the URL would be.
        query: what to use instead of a query; None: one may be there.
    """
    prefix = f"{name}: " if name else ""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is none
        valid = False
    if not valid:
        raise ValueError(f"{prefix}must be http:// or https:// with a host")
    if parts.username or parts.password:
        raise ValueError(f"{prefix}no credentials in it, they would be logged; use {instead}")
    if parts.fragment or (parts.query and query is not None):
        what = "fragment" if query is None else "query or fragment"
        raise ValueError(f"{prefix}no {what}{f'; use {query}' if query else ''}")


def check_credentials(
    tokens: Mapping[str, object],
    username: str,
    passwords: Mapping[str, object],
    client: tuple[object, object],
) -> None:
    """At most one way to say who one is, and a whole one.

    Args:
        tokens: what may hold a bearer token, by the fields' names.
        username: for basic authentication.
        passwords: what may hold its password.
        client: the client's certificate, and its key.
    """
    for given in (tokens, passwords):
        if sum(map(bool, given.values())) > 1:
            raise ValueError(f"{', '.join(given)}: a file or a variable, not both")
    token, password = next(iter(tokens)), next(iter(passwords))
    if any(tokens.values()) and username:
        raise ValueError(f"{token} and username: only one of them can be used")
    if bool(username) != any(map(bool, passwords.values())):
        raise ValueError(f"username and {password}: both or neither")
    certificate, key = client
    if key and not certificate:
        raise ValueError("client_key_file: needs client_certificate_file")


def check_positive(values: Mapping[str, float]) -> None:
    """Each more than 0, which a NaN is not."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}: must be more than 0")
