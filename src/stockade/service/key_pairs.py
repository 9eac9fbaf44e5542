"""Key pairs: made, imported, described, deleted.

Fingerprints are EC2's: of a pair made here the SHA-1 of the private key, of an imported RSA key the MD5 of the
public one (both of the DER form, in colons), of an ed25519 key OpenSSH's SHA-256.
"""

import asyncio
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockade.model import keys
from stockade.model.account import Account, KeyPair
from stockade.model.change import Revision
from stockade.model.errors import KeyPairDuplicate, KeyPairInvalid, KeyPairNotFound, ParameterInvalid
from stockade.model.ids import KeyPairId
from stockade.model.resources import Change, drop, put
from stockade.service.caller import Caller
from stockade.service.cell import Cell, Decision
from stockade.store.contract import AtRevision

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

RSA_BITS = 2048
LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class CreatedKeyPair:
    """The only time the private half is seen. `private_key` is PEM text."""

    pair: KeyPair
    private_key: str


class KeyPairs:
    """Use cases of key pairs; each belongs to an account and a region."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def create(self, caller: Caller, name: str, kind: str = "rsa") -> CreatedKeyPair:
        """`kind` rsa or ed25519. Raises KeyPairDuplicate, ParameterInvalid."""
        if kind not in ("rsa", "ed25519"):
            raise ParameterInvalid("KeyType", kind)
        self._check_free(caller, name)
        # Finding primes takes a tenth of a second, in which others are served.
        private_key, public_key, fingerprint = await asyncio.to_thread(_generate, kind)
        id = KeyPairId(self._cell.mint("key", caller.account))
        pair = KeyPair(id, caller.account.id, caller.region, name, fingerprint, f"{public_key} {name}", kind)
        return CreatedKeyPair(await self._add(caller, pair), private_key)

    async def import_(self, caller: Caller, name: str, public_key: bytes) -> KeyPair:
        """The key in OpenSSH, PEM or DER form. Raises KeyPairDuplicate, KeyPairInvalid, ParameterInvalid."""
        self._check_free(caller, name)
        return await self._add(caller, imported(self._cell, caller.account, caller.region, name, public_key))

    def _check_free(self, caller: Caller, name: str) -> None:
        if not 0 < len(name) <= LONGEST_NAME or not name.isascii() or not name.isprintable():
            raise ParameterInvalid("KeyName", name)
        if keys.key_pair(caller.account.id, caller.region, name) in self._cell.resources.key_pairs:
            raise KeyPairDuplicate(name)

    async def _add(self, caller: Caller, pair: KeyPair) -> KeyPair:
        def decide() -> Decision[KeyPair]:
            self._check_free(caller, pair.name)
            change = put(pair)
            return Decision([AtRevision(change.key, Revision(0))], [change], pair)

        return await self._cell.write(decide, on=f"keypair {pair.account}", enforced=False)

    async def describe(self, caller: Caller, names: Sequence[str] = (), ids: Sequence[str] = ()) -> list[KeyPair]:
        """Raises KeyPairNotFound."""
        pairs = self._cell.resources.key_pairs.values()
        mine = [p for p in pairs if p.account == caller.account.id and p.region == caller.region]
        known = {pair.name for pair in mine} | {str(pair.id) for pair in mine}
        for asked in (*names, *ids):
            if asked not in known:
                raise KeyPairNotFound(asked)
        chosen = [pair for pair in mine if pair.name in names or pair.id in ids] if names or ids else mine
        return sorted(chosen, key=lambda pair: pair.name)

    async def delete(self, caller: Caller, name: str | None = None, id: str | None = None) -> KeyPair | None:
        """None when there was none: EC2 answers success then."""

        def decide() -> Decision[KeyPair | None]:
            pairs = self._cell.resources.key_pairs.values()
            for pair in pairs:
                mine = pair.account == caller.account.id and pair.region == caller.region
                if mine and (pair.name == name or pair.id == id):
                    tags = [Change(keys.document("tag", pair.id), None)]
                    return Decision([self._cell.unchanged(drop(pair).key)], [drop(pair), *tags], pair)
            return Decision([], [], None)

        return await self._cell.write(decide, on=f"keypair {caller.account.id}", enforced=False)


def imported(cell: Cell, account: Account, region: str, name: str, key: bytes) -> KeyPair:
    """A key pair of a public key that the caller brought. Raises KeyPairInvalid."""
    line, fingerprint, kind = read_public_key(key)
    id = KeyPairId(cell.mint("key", account))
    return KeyPair(id, account.id, region, name, fingerprint, f"{line} {name}", kind)


def read_public_key(key: bytes) -> tuple[str, str, str]:
    """(OpenSSH line without comment, fingerprint, kind) of a key in OpenSSH, PEM or DER form. Raises KeyPairInvalid."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - 60 ms that a start need not wait for
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415

    key = key.strip()
    try:
        public: PublicKeyTypes
        if key.startswith(b"ssh-"):
            public = form.load_ssh_public_key(key)
        elif key.startswith(b"-----"):
            public = form.load_pem_public_key(key)
        else:
            public = form.load_der_public_key(_unwrapped(key))
    except (ValueError, UnsupportedAlgorithm) as err:
        raise KeyPairInvalid("Key is not in valid OpenSSH public key format") from err
    line = public.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return line, _ssh_fingerprint(line), "ed25519"
    if not isinstance(public, rsa.RSAPublicKey):
        raise KeyPairInvalid("Key type is not supported: rsa and ed25519 are")
    if public.key_size not in (1024, 2048, 4096):
        raise KeyPairInvalid("Key length is not 1024, 2048 or 4096 bits")
    der = public.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    # Not for security: EC2 shows this digest and clients compare it.
    return line, _colons(hashlib.md5(der, usedforsecurity=False).hexdigest()), "rsa"


def _generate(kind: str) -> tuple[str, str, str]:
    """(PEM, OpenSSH public line, fingerprint) of a new key."""
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415

    plain = form.NoEncryption()
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
        pem = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, plain)
        line = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
        return pem.decode(), line, _ssh_fingerprint(line)
    made = rsa.generate_private_key(65537, RSA_BITS)
    pem = made.private_bytes(form.Encoding.PEM, form.PrivateFormat.TraditionalOpenSSL, plain)
    der = made.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, plain)
    line = made.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    return pem.decode(), line, _colons(hashlib.sha1(der, usedforsecurity=False).hexdigest())


def _unwrapped(key: bytes) -> bytes:
    try:
        return b64decode(key, validate=True)
    except ValueError:
        return key


def _ssh_fingerprint(line: str) -> str:
    return b64encode(hashlib.sha256(b64decode(line.split()[1])).digest()).decode()


def _colons(digest: str) -> str:
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
