"""Security groups: name rules, the default group."""

import re
from dataclasses import dataclass

from stockade.model.errors import GroupNameInvalid
from stockade.model.ids import AccountId, SecurityGroupId, VpcId
from stockade.model.rule import Rule

DEFAULT_NAME = "default"
_VPC_TEXT = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A named set of allow rules. Its rules travel with it as one document."""

    id: SecurityGroupId
    account: AccountId
    vpc: VpcId
    name: str
    description: str
    rules: tuple[Rule, ...] = ()

    @property
    def is_default(self) -> bool:
        return self.name == DEFAULT_NAME


def check_group_text(text: str, field: str, classic: bool) -> str:
    """A group's name or description as it is stored; raises GroupNameInvalid.

    VPC groups take the documented alphabet, classic ones any printable ASCII; trailing spaces go.
    """
    kept = text.rstrip(" ")
    ok = 0 < len(kept) <= 255 and all(" " <= c <= "~" for c in kept) if classic else _VPC_TEXT.fullmatch(kept)
    if not ok or (field == "GroupName" and kept.startswith("sg-")):
        raise GroupNameInvalid(field=field, text=text)
    return kept
