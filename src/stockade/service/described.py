"""Rules that a file describes, as resources: what `aws ec2 describe-...` prints, or a Terraform plan as JSON.

Nothing runs and nobody is asked: the same questions are answered about them as about a cell. What a file leaves out is
imagined: a network's block, the address of an instance that is not made yet.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from stockade.model import ports
from stockade.model.account import Account, Platform
from stockade.model.addresses import Address, Cidr, mac_of, parse_cidr
from stockade.model.change import Revision
from stockade.model.errors import ParameterInvalid
from stockade.model.ids import (
    AccountId,
    HostId,
    InstanceId,
    NetworkInterfaceId,
    PrefixListId,
    RuleId,
    SecurityGroupId,
    VpcId,
)
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import FAMILIES, ListEntry, PrefixList
from stockade.model.resources import Document, Resources, put
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.model.tag import TagSet
from stockade.model.vpc import Vpc

REGION = "described"
READER = Account(AccountId("000000000000"), "reader of files", Platform.VPC, is_admin=True)
_NOWHERE = HostId("described")
_BLOCK = IPv4Network("10.0.0.0/8")
_PUBLIC = IPv4Network("198.18.0.0/15")  # of the addresses that benchmarks use
_BLOCK6 = IPv6Network("2001:db8:5c::/56")  # of the addresses that documents use


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule as a file tells it: traffic and one peer."""

    direction: Direction
    protocol: str
    from_port: int | None
    to_port: int | None
    peer: Peer
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Guest:
    """Something with addresses in groups: an instance, or an interface of its own."""

    id: str
    vpc: str | None
    groups: tuple[str, ...]
    name: str | None = None
    addresses: tuple[Address, ...] = ()
    public: IPv4Address | None = None
    to_be_public: bool = False  # it will have a public address, and nobody knows it yet
    source_dest_check: bool = True
    is_instance: bool = True


@dataclass(slots=True)
class Described:
    """What was found in files, until it is made into resources."""

    groups: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)  # id -> name, account, network
    grants: dict[str, list[Grant]] = field(default_factory=dict)
    guests: list[Guest] = field(default_factory=list)
    lists: dict[str, tuple[str, list[Cidr]]] = field(default_factory=dict)  # id -> name, blocks
    networks: dict[str, tuple[IPv4Network, IPv6Network | None]] = field(default_factory=dict)

    def resources(self) -> Resources:
        """Everything, with numbers given out in the order found."""
        found = Resources()
        found.apply(Revision(1), [put(document) for document in self._documents()])
        return found

    def _documents(self) -> Iterator[Document]:
        yield READER
        names = [vpc or "" for _, _, vpc in self.groups.values()] + [guest.vpc or "" for guest in self.guests]
        vpcs = {name: self._vpc(number, name) for number, name in enumerate(dict.fromkeys(names), 1)}
        yield from vpcs.values()
        numbers = iter(range(1, 1 << 30))
        for id, (name, account, network) in self.groups.items():
            rules = tuple(_rule(grant, next(numbers)) for grant in self.grants.get(id, ()))
            yield SecurityGroup(
                SecurityGroupId(id), AccountId(account), vpcs[network or ""].id, name, "", tuple(dict.fromkeys(rules))
            )
        for id, (name, blocks) in self.lists.items():
            family = next((block.version for block in blocks), 4)
            entries = tuple(ListEntry(block) for block in dict.fromkeys(blocks) if block.version == family)
            size = max(len(entries), 1)
            assert family in FAMILIES
            yield PrefixList(PrefixListId(id), READER.id, REGION, name, family, size, entries=entries)
        taken = {address for guest in self.guests for address in guest.addresses}
        for number, guest in enumerate(self.guests, 1):
            yield from _guest(guest, number, vpcs[guest.vpc or ""], taken)

    def _vpc(self, number: int, name: str) -> Vpc:
        block, block6 = self.networks.get(name, (_BLOCK, _BLOCK6))
        return Vpc(VpcId(name or "vpc-described"), number, READER.id, REGION, block, ipv6=block6)


def read_described(documents: Iterable[tuple[str, Any]]) -> Described:
    """All that these (name, parsed JSON) describe, together. Raises InvalidInput."""
    from stockade.service.planned import is_plan, read_plan  # noqa: PLC0415 - it makes values of this module

    found = Described()
    for name, document in documents:
        if not isinstance(document, Mapping):
            raise ParameterInvalid("model-from", name, "It must be a JSON object.")
        if is_plan(document):
            read_plan(document, found)
        elif not _read_answers(document, found):
            raise ParameterInvalid(
                "model-from", name, f"It has none of {', '.join(_READERS)}, and is no Terraform plan."
            )
    return found


def _read_answers(document: Mapping[str, Any], found: Described) -> bool:
    """The keys of as many answers of `aws ec2 describe-...` as there are; whether there was one."""
    known = [name for name in _READERS if name in document]
    for name in known:
        for item in _list(name, document[name]):
            _READERS[name](item, found)
    return bool(known)


def _read_group(item: Mapping[str, Any], found: Described) -> None:
    id, account = str(item["GroupId"]), str(item.get("OwnerId", READER.id))
    found.groups[id] = (str(item.get("GroupName", id)), account, item.get("VpcId"))
    grants = found.grants.setdefault(id, [])
    for direction, name in ((Direction.INGRESS, "IpPermissions"), (Direction.EGRESS, "IpPermissionsEgress")):
        for permission in item.get(name) or ():
            traffic = (str(permission["IpProtocol"]), permission.get("FromPort"), permission.get("ToPort"))
            grants += (Grant(direction, *traffic, peer) for peer in _peers(permission, account))


def _peers(permission: Mapping[str, Any], account: str) -> Iterator[Peer]:
    yield from (CidrPeer(parse_cidr(one["CidrIp"])) for one in permission.get("IpRanges") or ())
    yield from (CidrPeer(parse_cidr(one["CidrIpv6"])) for one in permission.get("Ipv6Ranges") or ())
    yield from (PrefixListPeer(PrefixListId(one["PrefixListId"])) for one in permission.get("PrefixListIds") or ())
    for pair in permission.get("UserIdGroupPairs") or ():
        yield GroupPeer(SecurityGroupId(pair["GroupId"]), AccountId(pair.get("UserId", account)))


def _read_rule(item: Mapping[str, Any], found: Described) -> None:
    """One of describe-security-group-rules; its group comes from describe-security-groups."""
    direction = Direction.EGRESS if item.get("IsEgress") else Direction.INGRESS
    if "CidrIpv4" in item or "CidrIpv6" in item:
        peer: Peer = CidrPeer(parse_cidr(item.get("CidrIpv4") or item["CidrIpv6"]))
    elif "PrefixListId" in item:
        peer = PrefixListPeer(PrefixListId(item["PrefixListId"]))
    else:
        pair = item["ReferencedGroupInfo"]
        peer = GroupPeer(SecurityGroupId(pair["GroupId"]), AccountId(pair.get("UserId", READER.id)))
    # -1 stands for no ports here, and for all types of ICMP; a protocol without ports ignores either.
    traffic = (str(item["IpProtocol"]), item.get("FromPort"), item.get("ToPort"))
    id = str(item["GroupId"])
    found.groups.setdefault(id, (id, str(item.get("GroupOwnerId", READER.id)), None))
    known = found.grants.setdefault(id, [])
    grant = Grant(direction, *traffic, peer, item.get("SecurityGroupRuleId"))
    same = [at for at, one in enumerate(known) if _identity(one) == _identity(grant)]
    if same:
        known[same[0]] = grant
    else:
        known.append(grant)


def _read_reservation(item: Mapping[str, Any], found: Described) -> None:
    for instance in _list("Instances", item.get("Instances")):
        if (instance.get("State") or {}).get("Name") not in ("terminated", "shutting-down"):
            found.guests.append(_instance(instance))


def _instance(item: Mapping[str, Any]) -> Guest:
    links = item.get("NetworkInterfaces") or [{}]
    first = min(links, key=lambda link: (link.get("Attachment") or {}).get("DeviceIndex", 0))
    groups = first.get("Groups") or item.get("SecurityGroups") or ()
    addresses = [one["PrivateIpAddress"] for one in first.get("PrivateIpAddresses") or ()]
    addresses = addresses or [one for one in (item.get("PrivateIpAddress"),) if one]
    addresses += [one["Ipv6Address"] for one in first.get("Ipv6Addresses") or ()]
    public = (first.get("Association") or {}).get("PublicIp") or item.get("PublicIpAddress")
    return Guest(
        str(item["InstanceId"]),
        item.get("VpcId"),
        tuple(str(group["GroupId"]) for group in groups),
        next((tag["Value"] for tag in item.get("Tags") or () if tag["Key"] == "Name"), None),
        tuple(ip_address(one) for one in addresses),
        IPv4Address(public) if public else None,
        source_dest_check=bool(first.get("SourceDestCheck", item.get("SourceDestCheck", True))),
    )


def _read_interface(item: Mapping[str, Any], found: Described) -> None:
    attached = (item.get("Attachment") or {}).get("InstanceId")
    addresses = [one["PrivateIpAddress"] for one in item.get("PrivateIpAddresses") or ()] or [item["PrivateIpAddress"]]
    addresses += [one["Ipv6Address"] for one in item.get("Ipv6Addresses") or ()]
    if attached is not None and any(guest.id == attached for guest in found.guests):
        return
    public = (item.get("Association") or {}).get("PublicIp")
    found.guests.append(
        Guest(
            attached or str(item["NetworkInterfaceId"]),
            item.get("VpcId"),
            tuple(str(group["GroupId"]) for group in item.get("Groups") or ()),
            next((tag["Value"] for tag in item.get("TagSet") or () if tag["Key"] == "Name"), None),
            tuple(ip_address(one) for one in addresses),
            IPv4Address(public) if public else None,
            source_dest_check=bool(item.get("SourceDestCheck", True)),
            is_instance=attached is not None,
        )
    )


def _read_list(item: Mapping[str, Any], found: Described) -> None:
    """Of describe-prefix-lists (Cidrs), or of describe-managed-prefix-lists with Entries put into it."""
    blocks = [parse_cidr(text) for text in item.get("Cidrs") or ()]
    blocks += [parse_cidr(entry["Cidr"]) for entry in item.get("Entries") or ()]
    id = str(item["PrefixListId"])
    name, known = found.lists.get(id, (id, []))
    found.lists[id] = (str(item.get("PrefixListName", name)), [*known, *blocks])


def _read_network(item: Mapping[str, Any], found: Described) -> None:
    blocks = [one["Ipv6CidrBlock"] for one in item.get("Ipv6CidrBlockAssociationSet") or ()]
    block6 = IPv6Network(blocks[0]) if blocks else None
    found.networks[str(item["VpcId"])] = (IPv4Network(item["CidrBlock"]), block6)


_READERS = {
    "Vpcs": _read_network,
    "PrefixLists": _read_list,
    "SecurityGroups": _read_group,
    "SecurityGroupRules": _read_rule,
    "Reservations": _read_reservation,
    "NetworkInterfaces": _read_interface,
}


def _list(name: str, value: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ParameterInvalid("model-from", name, "It must be a list of objects.")
    return value


def _identity(grant: Grant) -> object:
    protocol = ports.parse_protocol(grant.protocol)
    return (grant.direction, protocol, *_ports_of(grant, protocol), grant.peer)


def _ports_of(grant: Grant, protocol: int) -> tuple[int | None, int | None]:
    if protocol == ports.ICMPV6 and grant.from_port is None:
        return ports.check_ports(protocol, None, None)
    return ports.check_ports(protocol, grant.from_port, grant.to_port)


def _rule(grant: Grant, number: int) -> Rule:
    protocol = ports.parse_protocol(grant.protocol)
    id = RuleId(grant.id or f"sgr-{number:08x}")
    return Rule(id, number, grant.direction, protocol, *_ports_of(grant, protocol), grant.peer)


def _guest(guest: Guest, number: int, vpc: Vpc, taken: set[Address]) -> Iterator[Document]:
    addresses = guest.addresses or _imagined(vpc, taken)
    taken.update(addresses)
    interface = NetworkInterfaceId(f"eni-{number:08x}" if guest.is_instance else guest.id)
    groups = tuple(SecurityGroupId(group) for group in guest.groups)
    yield NetworkInterface(
        id=interface,
        number=number,
        account=READER.id,
        vpc=vpc.id,
        subnet=None,
        host=_NOWHERE,
        mac=mac_of(number),
        addresses=addresses,
        groups=groups,
        public=guest.public or (_PUBLIC[number] if guest.to_be_public else None),
        source_dest_check=guest.source_dest_check,
        instance=InstanceId(guest.id) if guest.is_instance else None,
    )
    if guest.name is not None:
        yield TagSet(guest.id, READER.id, {"Name": guest.name})


def _imagined(vpc: Vpc, taken: set[Address]) -> tuple[Address, ...]:
    """Of an instance that is not made yet. Its network has IPv6 or not, and so has it."""
    first = next(one for step in range(10, 1 << 20) if (one := vpc.cidr.network_address + step) not in taken)
    if vpc.ipv6 is None:
        return (first,)
    start: IPv6Address = vpc.ipv6.network_address + 256
    return first, next(other for step in range(1 << 20) if (other := start + step) not in taken)
