"""Key pairs: made, imported, described, deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

from stockade.model.account import KeyPair
from stockade.service.caller import Caller
from stockade.service.cell import Cell


@dataclass(frozen=True, slots=True)
class CreatedKeyPair:
    """The only time the private half is seen. `private_key` is PEM text."""

    pair: KeyPair
    private_key: str


class KeyPairs:
    """Use cases of key pairs; each belongs to an account and a region."""

    def __init__(self, cell: Cell) -> None: ...

    async def create(self, caller: Caller, name: str, kind: str = "rsa") -> CreatedKeyPair:
        """`kind` rsa or ed25519. Raises KeyPairDuplicate, ParameterInvalid."""

    async def import_(self, caller: Caller, name: str, public_key: bytes) -> KeyPair:
        """The key in OpenSSH, PEM or DER form. Raises KeyPairDuplicate, KeyPairInvalid, ParameterInvalid."""

    async def describe(self, caller: Caller, names: Sequence[str] = (), ids: Sequence[str] = ()) -> list[KeyPair]:
        """Raises KeyPairNotFound."""

    async def delete(self, caller: Caller, name: str | None = None, id: str | None = None) -> KeyPair | None:
        """None when there was none: EC2 answers success then."""
