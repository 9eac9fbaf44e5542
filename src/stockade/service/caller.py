"""Who asks."""

from dataclasses import dataclass

from stockade.model.account import Account
from stockade.model.ids import AccessKeyId


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated request's account, the key that signed it, and the region it speaks of."""

    account: Account
    region: str
    key: AccessKeyId | None = None
    request_id: str = ""
