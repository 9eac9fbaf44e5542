"""Identifiers: their types, their shape, and how new ones are made.

An id is a prefix, a dash and 8 (classic accounts) or 17 (vpc accounts) lower-case hex digits. The
first byte is the cell that owns the resource; cell 00 is never minted (architecture F4).
"""

import re
from collections.abc import Callable
from typing import NewType

from stockade.model.errors import IdMalformed

AccountId = NewType("AccountId", str)  # 12 digits
AccessKeyId = NewType("AccessKeyId", str)
HostId = NewType("HostId", str)
ImageId = NewType("ImageId", str)  # ami-
InstanceId = NewType("InstanceId", str)  # i-
NetworkInterfaceId = NewType("NetworkInterfaceId", str)  # eni-
PrefixListId = NewType("PrefixListId", str)  # pl-
ReservationId = NewType("ReservationId", str)  # r-
RuleId = NewType("RuleId", str)  # sgr-
SecurityGroupId = NewType("SecurityGroupId", str)  # sg-
SubnetId = NewType("SubnetId", str)  # subnet-
VpcId = NewType("VpcId", str)  # vpc-
KeyPairId = NewType("KeyPairId", str)  # key-

THIS_CELL = "01"
CLASSIC_DIGITS = 8
VPC_DIGITS = 17

RandomHex = Callable[[int], str]
"""Given a count, that many random lower-case hex digits. Handed in, so that core code can be replayed."""

_SHAPE = re.compile(r"[a-z]+-([0-9a-f]{8}|[0-9a-f]{17})")


def mint(prefix: str, digits: int, random_hex: RandomHex) -> str:
    """A new id such as sg-01ab34cd: prefix, the cell, then random digits."""
    return f"{prefix}-{THIS_CELL}{random_hex(digits - len(THIS_CELL))}"


def check_id(text: str, prefix: str) -> str:
    """The id itself when it is well formed for this prefix; raises IdMalformed otherwise."""
    if _SHAPE.fullmatch(text) is None or not text.startswith(prefix + "-"):
        raise IdMalformed(kind=prefix, text=text)
    return text
