"""Accounts and the keys they sign with."""

from dataclasses import dataclass
from enum import Enum

from stockade.model.ids import AccessKeyId, AccountId, KeyPairId


class Platform(Enum):
    """Where calls without a subnet land (architecture N2)."""

    CLASSIC = "classic"
    VPC = "vpc"


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant. `default_key` names the key pair that launches without one get."""

    id: AccountId
    name: str
    platform: Platform
    default_key: str | None = None
    is_admin: bool = False
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A signing key. The secret is never logged."""

    id: AccessKeyId
    account: AccountId
    secret: str


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key that launches put into instances; a private half is never kept."""

    id: KeyPairId
    account: AccountId
    region: str
    name: str
    fingerprint: str
    public_key: str  # one line, OpenSSH format
    kind: str = "rsa"
