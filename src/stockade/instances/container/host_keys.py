"""SSH host keys: one for each instance, made by the host in a millisecond instead of by a program at boot."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key as a server wants it, and what its owner compares."""

    path: str
    content: bytes
    fingerprint: str


def new_host_key(server: str) -> HostKey:
    """A fresh ed25519 key for `sshd` or `dropbear`."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = _field(b"ssh-ed25519") + _field(public)
    fingerprint = "SHA256:" + b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    if server == "dropbear":
        # Its own format: the type's name, then the private and the public half as one string.
        private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        content = _field(b"ssh-ed25519") + _field(private + public)
        return HostKey("etc/dropbear/dropbear_ed25519_host_key", content, fingerprint)
    content = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return HostKey("etc/ssh/ssh_host_ed25519_key", content, fingerprint)


def _field(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value
