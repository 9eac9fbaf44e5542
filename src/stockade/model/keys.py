"""What everything is called in the store.

A document's key is its kind and id. Claims are keys whose being there is the point: a name or an address that
is taken, a member or a reference that keeps a group from being deleted, a counter. All are ASCII, below PREFIX.
"""

from ipaddress import IPv6Network
from urllib.parse import quote

from stockade.model.addresses import Address
from stockade.model.ids import THIS_CELL

PREFIX = f"stk/1/{THIS_CELL}/"


def document(kind: str, *path: str) -> str:
    """The key of a document, such as sg/sg-01ab34cd."""
    return "/".join((f"{PREFIX}{kind}", *path))


def kind_of(key: str) -> str:
    """The first part of a key: which kind of document or claim it is."""
    return key[len(PREFIX) :].partition("/")[0]


def parts_of(key: str) -> list[str]:
    """The parts of a key after its kind."""
    return key[len(PREFIX) :].split("/")[1:]


def key_pair(account: str, region: str, name: str) -> str:
    """Key pairs are looked up by name, so that is their key."""
    return document("keypair", account, region, quote(name, safe=""))


def group_name(vpc: str, account: str, name: str, classic: bool) -> str:
    """The claim on a group's name: case counts only on classic, where names belong to an account."""
    return document("uniq", "sgname", vpc, account, quote(name if classic else name.lower(), safe=""))


def private_address(vpc: str, address: Address) -> str:
    """The claim on an address of a network."""
    return document("uniq", "ip", vpc, str(address))


def public_address(address: Address) -> str:
    """The claim on a public address."""
    return document("uniq", "public", str(address))


def ipv6_block(block: IPv6Network) -> str:
    """The claim of a VPC on a block of the pool."""
    return document("uniq", "ipv6", str(block.network_address), str(block.prefixlen))


def device(host: str, name: str) -> str:
    """The claim of an interface on an existing device of a host."""
    return document("uniq", "device", host, quote(name, safe=""))


def prefix_list_version(prefix_list: str, number: int) -> str:
    """What a prefix list held at one of its versions."""
    return document("plv", prefix_list, str(number))


def client_token(account: str, region: str, token: str) -> str:
    """The claim that makes a launch happen once."""
    return document("uniq", "token", account, region, quote(token, safe=""))


def members(group: str) -> str:
    """The prefix of a group's members."""
    return document("mem", group, "")


def member(group: str, interface: str) -> str:
    """That an interface is in a group."""
    return document("mem", group, interface)


def references(group: str) -> str:
    """The prefix of the references to a group (or a prefix list)."""
    return document("ref", group, "")


def reference(group: str, by: str) -> str:
    """That a rule of the group `by` names `group` (or a prefix list)."""
    return document("ref", group, by)


def counter(name: str) -> str:
    """The next number to be given out; see service/numbers.py."""
    return document("meta", "next", name)
