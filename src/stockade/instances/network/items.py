"""The tree of metadata items of one instance. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from stockade.instances.network.names import Names
from stockade.model.host_view import ViewInstance, ViewInterface
from stockade.model.ids import NetworkInterfaceId, SecurityGroupId

VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01"),
    *("2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20"),
    *("2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01"),
    *("2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "latest"),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose metadata it is."""

    instance: ViewInstance
    interface: ViewInterface
    names: Names
    group_names: Mapping[SecurityGroupId, str]

    @property
    def id(self) -> NetworkInterfaceId:
        return self.interface.id


def items_of(subject: Subject) -> dict[str, str | bytes]:
    """Every item by its path below a version, as meta-data/instance-id."""
    instance, interface, names = subject.instance, subject.interface, subject.names
    private = next(address for address in interface.addresses if isinstance(address, IPv4Address))
    hostname = names.private(private)
    groups = _group_names(subject)
    meta: dict[str, str] = {
        "ami-id": instance.image,
        "ami-launch-index": str(instance.launch_index),
        "ami-manifest-path": "(unknown)",
        "hostname": hostname,
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-type": instance.type,
        "local-hostname": hostname,
        "local-ipv4": str(private),
        "mac": interface.mac,
        "placement/availability-zone": instance.zone,
        "placement/region": instance.region,
        "reservation-id": instance.reservation,
        "security-groups": "\n".join(groups),
        "services/domain": names.suffix,
        "services/partition": "aws",
        "profile": "default-paravirtual",
        "block-device-mapping/ami": "sda1",
        "block-device-mapping/root": "/dev/sda1",
    }
    addresses6 = _addresses6(interface)
    if addresses6:
        meta["ipv6"] = addresses6[0]
    if interface.public is not None:
        meta["public-ipv4"] = str(interface.public)
        meta["public-hostname"] = names.public(interface.public, instance.region)
    if instance.public_key is not None:
        meta["public-keys/0/openssh-key"] = instance.public_key.strip()
    for name, value in _interface_items(subject, groups).items():
        meta[f"network/interfaces/macs/{interface.mac}/{name}"] = value
    found: dict[str, str | bytes] = {f"meta-data/{name}": value for name, value in meta.items()}
    found["dynamic/instance-identity/document"] = _identity_document(subject, private)
    if instance.user_data is not None:
        found["user-data"] = instance.user_data
    return found


def _group_names(subject: Subject) -> list[str]:
    """As the groups are now, not as they were at launch (security-group semantics M6)."""
    now = [subject.group_names.get(group) for group in subject.interface.groups]
    known = [name for name in now if name is not None]
    return known if len(known) == len(now) else list(subject.instance.group_names)


def _interface_items(subject: Subject, groups: list[str]) -> dict[str, str]:
    interface, names = subject.interface, subject.names
    addresses = [address for address in interface.addresses if isinstance(address, IPv4Address)]
    found = {
        "device-number": "0",
        "interface-id": interface.id,
        "local-hostname": names.private(addresses[0]),
        "local-ipv4s": "\n".join(map(str, addresses)),
        "mac": interface.mac,
        "owner-id": interface.account,
        "security-group-ids": "\n".join(interface.groups),
        "security-groups": "\n".join(groups),
        "subnet-ipv4-cidr-block": str(interface.network),
    }
    if addresses6 := _addresses6(interface):
        found["ipv6s"] = "\n".join(addresses6)
    if interface.public is not None:
        found["public-ipv4s"] = str(interface.public)
        found["public-hostname"] = names.public(interface.public, subject.instance.region)
        found[f"ipv4-associations/{interface.public}"] = str(addresses[0])
    return found


def _addresses6(interface: ViewInterface) -> list[str]:
    return [str(address) for address in interface.addresses if isinstance(address, IPv6Address)]


def _identity_document(subject: Subject, private: IPv4Address) -> str:
    instance = subject.instance
    document = {
        "accountId": instance.account,
        "architecture": "x86_64",
        "availabilityZone": instance.zone,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.type,
        "privateIp": str(private),
        "region": instance.region,
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2)


def read_item(subject: Subject, path: str) -> bytes | None:
    """What a GET of this path (below a version, without its first slash) answers; None when there is no such item.

    A directory answers its entries, one a line, those that are directories themselves with a slash.
    """
    items = items_of(subject)
    wanted = path.strip("/")
    value = items.get(wanted)
    if value is not None:
        return value if isinstance(value, bytes) else value.encode()
    start = wanted + "/" if wanted else ""
    below = {name[len(start) :] for name in items if name.startswith(start)}
    if not below:
        return None
    if wanted == "meta-data/public-keys":
        return f"0={subject.instance.key_name or 'default'}".encode()
    entries = {name.split("/", 1)[0] + ("/" if "/" in name else "") for name in below}
    return "\n".join(sorted(entries)).encode()
