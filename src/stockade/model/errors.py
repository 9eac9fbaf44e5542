"""What can be wrong in the domain, as types with fields.

    StockadeError
    ├── InvalidInput      what was asked is malformed
    ├── NotFound          what it names is not there (or not the caller's)
    ├── Conflict          it contradicts what is there
    ├── LimitExceeded     it would pass a quota
    └── Refused           it is understood and deliberately not done

The table in api/aws/errors.py makes AWS codes of them; nothing here knows those codes.
"""

from dataclasses import dataclass


class StockadeError(Exception):
    """Anything Stockade refuses for a reason it can name."""


class InvalidInput(StockadeError):
    """The request is malformed."""


class NotFound(StockadeError):
    """The request names something that is not there."""


class Conflict(StockadeError):
    """The request contradicts the present state."""


class LimitExceeded(StockadeError):
    """The request would pass a quota."""


class Refused(StockadeError):
    """Understood, and deliberately not done."""


@dataclass(eq=False)
class IdMalformed(InvalidInput):
    kind: str  # the prefix: sg, i, ami, ...
    text: str


@dataclass(eq=False)
class CidrMalformed(InvalidInput):
    text: str


@dataclass(eq=False)
class ProtocolUnknown(InvalidInput):
    text: str


@dataclass(eq=False)
class PortRangeInvalid(InvalidInput):
    protocol: int
    from_port: int | None
    to_port: int | None


@dataclass(eq=False)
class GroupNameInvalid(InvalidInput):
    field: str  # GroupName or GroupDescription
    text: str


@dataclass(eq=False)
class ParameterMissing(InvalidInput):
    name: str


@dataclass(eq=False)
class ParameterInvalid(InvalidInput):
    name: str
    text: str
    why: str = ""


@dataclass(eq=False)
class ParametersConflict(InvalidInput):
    why: str


@dataclass(eq=False)
class GroupNotFound(NotFound):
    name: str  # as the caller spelled it: a name or an id
    vpc: str | None = None


@dataclass(eq=False)
class GroupDuplicate(Conflict):
    name: str
    vpc: str | None = None


@dataclass(eq=False)
class GroupReserved(Refused):
    name: str
    classic: bool
    group: str | None = None  # set when it exists and was to be deleted


@dataclass(eq=False)
class GroupInUse(Conflict):
    group: str
    name: str
    classic: bool
    account: str
    interfaces: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # ids (vpc) or ACCOUNT:NAME (classic) of groups whose rules name it


@dataclass(eq=False)
class RuleDuplicate(Conflict):
    peer: str
    protocol: str
    from_port: int | None
    to_port: int | None
    classic: bool


@dataclass(eq=False)
class RuleNotFound(NotFound):
    group: str


@dataclass(eq=False)
class EgressNotAllowed(Refused):
    """Classic groups have no egress rules."""

    group: str


@dataclass(eq=False)
class CapacityExceeded(LimitExceeded):
    """The kernel of a host could not hold the policy. `room` is what one policy may use of the table."""

    table: str
    need: int
    room: int


@dataclass(eq=False)
class PrefixListInUse(Conflict):
    id: str
    groups: tuple[str, ...]


@dataclass(eq=False)
class PrefixListVersionMismatch(Conflict):
    id: str
    given: int
    current: int


@dataclass(eq=False)
class AttributeFixed(Refused):
    """This attribute of this kind of resource cannot be changed."""

    id: str
    name: str


@dataclass(eq=False)
class BlockAssociated(Conflict):
    """The network or subnet has a block of this kind, or others still use the one it has."""

    id: str
    block: str
    by: tuple[str, ...] = ()


@dataclass(eq=False)
class NetworkInUse(Conflict):
    kind: str  # vpc or subnet
    id: str
    by: tuple[str, ...]


@dataclass(eq=False)
class NetworkKept(Refused):
    """The default VPC and its subnets are always there."""

    id: str


@dataclass(eq=False)
class SubnetConflict(Conflict):
    block: str


@dataclass(eq=False)
class AdminOnly(Refused):
    """Only the operator of this installation may do it."""

    what: str


@dataclass(eq=False)
class InstanceNotFound(NotFound):
    ids: tuple[str, ...]


@dataclass(eq=False)
class ImageNotFound(NotFound):
    id: str


@dataclass(eq=False)
class KeyPairNotFound(NotFound):
    name: str


@dataclass(eq=False)
class KeyPairDuplicate(Conflict):
    name: str


@dataclass(eq=False)
class KeyPairInvalid(InvalidInput):
    why: str


@dataclass(eq=False)
class SubnetNotFound(NotFound):
    id: str


@dataclass(eq=False)
class VpcNotFound(NotFound):
    id: str


@dataclass(eq=False)
class ZoneNotFound(NotFound):
    name: str


@dataclass(eq=False)
class RegionNotFound(NotFound):
    name: str


@dataclass(eq=False)
class ResourceNotFound(NotFound):
    id: str


@dataclass(eq=False)
class AddressesExhausted(LimitExceeded):
    pool: str


@dataclass(eq=False)
class QuotaExceeded(LimitExceeded):
    name: str
    limit: int
    asked: int
    have: int


@dataclass(eq=False)
class TokenReused(Conflict):
    token: str
