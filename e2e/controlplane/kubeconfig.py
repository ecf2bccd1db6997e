"""Credentials of the control plane: its signing key, its users' tokens, and the kubeconfig files that carry them."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

# Order of the base point of NIST P-256 (SEC 2, section 2.4.2): a private key is a number from 1 to this minus 1.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_OID = bytes.fromhex("06082a8648ce3d030107")


def new_signing_key() -> str:
    """A fresh P-256 private key as PEM (RFC 5915), for service account tokens.

    Its optional public half is left out: Go computes it. This spares a dependency on a cryptography package.
    """
    scalar = 1 + secrets.randbelow(_P256_ORDER - 1)
    octets = b"\x02\x01\x01" + b"\x04\x20" + scalar.to_bytes(32, "big")
    body = octets + b"\xa0" + bytes([len(_P256_OID)]) + _P256_OID
    encoded = base64.b64encode(b"\x30" + bytes([len(body)]) + body).decode()
    lines = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
    return "\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""])


@dataclass(frozen=True)
class User:
    """A user of the API server's token file."""

    name: str
    groups: tuple[str, ...]
    token: str

    @classmethod
    def new(cls, name: str, *groups: str) -> User:
        return cls(name, groups, secrets.token_hex(16))

    def row(self) -> str:
        """Its line in the token file: token, name, id, groups."""
        return f'{self.token},{self.name},{self.name},"{",".join(self.groups)}"'


def write_secret(path: Path, text: str) -> Path:
    """Write a file that only its owner may read, from the first byte on."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def write_kubeconfig(path: Path, server: str, authority: Path, token: str) -> Path:
    """A kubeconfig for one user of one cluster; JSON is YAML. `authority` is the server's CA file."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "e2e", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "current-context": "e2e",
    }
    return write_secret(path, json.dumps(config, indent=1))
