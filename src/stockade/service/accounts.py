"""Accounts and their keys."""

from dataclasses import dataclass

from stockade.model import keys
from stockade.model.account import AccessKey, Account, Platform
from stockade.model.change import Revision
from stockade.model.errors import ParameterInvalid
from stockade.model.ids import AccessKeyId, AccountId
from stockade.model.resources import Change, put
from stockade.service.cell import Cell, Decision
from stockade.service.images import CATALOGUE_OWNER
from stockade.service.key_pairs import imported
from stockade.service.vpcs import Vpcs, needed
from stockade.store.contract import AtRevision, Guard

ACCOUNT_DIGITS = 12
DEFAULT_KEY = "default"
_LETTERS = str.maketrans("0123456789abcdef", "GHJKLMNPQRSTUVWX")  # no letter that could be misread


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    account: Account
    key: AccessKey


class Accounts:
    """Use cases of accounts. Who may create one is the front door's question (`Account.is_admin`)."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._vpcs = Vpcs(cell)

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
        if id is not None and not (len(id) == ACCOUNT_DIGITS and id.isascii() and id.isdigit()):
            raise ParameterInvalid("id", id, "an account id has 12 digits")
        return await self._cell.write(
            lambda: self._decide(name, id, platform, public_key, admin),
            on="accounts",
            numbers=needed(len(self._cell.settings.regions)),
            enforced=False,
        )

    def _decide(
        self, name: str | None, id: str | None, platform: Platform, public_key: str | None, admin: bool
    ) -> Decision[CreatedAccount]:
        cell = self._cell
        account_id = AccountId(id or self._free_id())
        if account_id in cell.resources.accounts or account_id == CATALOGUE_OWNER:
            raise ParameterInvalid("id", account_id, "this account exists")
        account = Account(account_id, name or account_id, platform, DEFAULT_KEY if public_key else None, admin)
        # Not of the shape of AWS's keys, so that neither a person nor a scanner takes it for one.
        key_id = AccessKeyId("SK" + cell.random_hex(18).translate(_LETTERS))
        key = AccessKey(key_id, account_id, cell.random_hex(40))
        changes: list[Change] = [put(account), put(key)]
        guards: list[Guard] = [AtRevision(keys.document("acct", account_id), Revision(0))]
        for region in cell.settings.regions:
            more_guards, more_changes = self._vpcs.defaults(account, region)
            guards += more_guards
            changes += more_changes
            if public_key:
                changes.append(put(imported(cell, account, region, DEFAULT_KEY, public_key.encode())))
        return Decision(guards, changes, CreatedAccount(account, key))

    def _free_id(self) -> str:
        while True:
            id = str(10**11 + int(self._cell.random_hex(14), 16) % (9 * 10**11))
            if AccountId(id) not in self._cell.resources.accounts:
                return id

    async def ensure_admin(self) -> CreatedAccount:
        """The admin account of this installation, made at the first start."""
        resources = self._cell.resources
        admin = next((account for account in resources.accounts.values() if account.is_admin), None)
        if admin is None:
            return await self.create("admin", admin=True)
        return CreatedAccount(admin, next(key for key in resources.access_keys.values() if key.account == admin.id))

    def find_key(self, id: str) -> tuple[Account, AccessKey] | None:
        """Who signs with this key; None when nobody does or the account is disabled."""
        key = self._cell.resources.access_keys.get(AccessKeyId(id))
        account = key and self._cell.resources.accounts.get(key.account)
        return (account, key) if key and account and not account.disabled else None

    def by_id(self, id: str) -> Account | None:
        """The account with this id."""
        return self._cell.resources.accounts.get(AccountId(id))

    def all(self) -> list[Account]:
        """Every account, by id."""
        return sorted(self._cell.resources.accounts.values(), key=lambda account: account.id)
