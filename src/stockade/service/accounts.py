"""Accounts and their keys."""

from dataclasses import dataclass

from stockade.model.account import AccessKey, Account, Platform
from stockade.service.cell import Cell


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    account: Account
    key: AccessKey


class Accounts:
    """Use cases of accounts. Who may create one is the front door's question (`Account.is_admin`)."""

    def __init__(self, cell: Cell) -> None: ...

    async def create(
        self,
        name: str | None = None,
        id: str | None = None,
        platform: Platform = Platform.VPC,
        public_key: str | None = None,
        admin: bool = False,
    ) -> CreatedAccount:
        """With its default network, groups and key pair (`public_key`, named "default") in every region.

        Raises ParameterInvalid (id not 12 digits, or taken), KeyPairInvalid.
        """

    async def ensure_admin(self) -> CreatedAccount:
        """The admin account of this installation, made at the first start."""

    def find_key(self, id: str) -> tuple[Account, AccessKey] | None:
        """Who signs with this key; None when nobody does or the account is disabled."""

    def by_id(self, id: str) -> Account | None:
        """The account with this id."""

    def all(self) -> list[Account]:
        """Every account, by id."""
