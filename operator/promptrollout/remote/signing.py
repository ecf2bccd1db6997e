"""Signatures of webhooks, as https://www.standardwebhooks.com has them, so that its libraries verify ours."""

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The key in a secret: base64 after `whsec_`, else its own bytes. Raises ValueError if it is empty."""
    text = secret.strip()
    if not text.removeprefix(_PREFIX):
        raise ValueError("the secret is empty")
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("after whsec_, the secret must be base64") from None


def signature(key: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: HMAC-SHA256 over `<id>.<timestamp>.<body>`."""
    signed = b".".join((id_.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signed_headers(secret: str, id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """What goes with a JSON body; the id stays the same when it is sent again. Raises ValueError for a bad secret."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "prompt-rollout",
        "Idempotency-Key": id_,
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key_of(secret), id_, timestamp, body),
    }
