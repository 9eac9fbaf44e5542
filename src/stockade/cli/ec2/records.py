"""The tab-separated lines that scripts have parsed for years: which fields, in which order, in which version.

A record is its fields; empty ones stay, as empty strings. INSTANCE and IMAGE lines end with their last field that
is not empty, as the tools' did; no other record is cut.
"""

from stockade.cli.ec2 import versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from stockade.cli.ec2.answer import Node

    Record: TypeAlias = list[str]

CUT_AT_THE_END = ("INSTANCE", "IMAGE")
HEADINGS = {
    "GROUP": ("Owner", "Name", "Description"),
    "PERMISSION": ("Owner", "Group", "Rule", "Protocol", "From", "To", "Direction", "Source", "Peer"),
    "RESERVATION": ("ReservationID", "Owner", "Groups"),
    "INSTANCE": (
        *("InstanceID", "ImageID", "PublicDNS", "PrivateDNS", "State", "Key", "LaunchIndex", "ProductCodes"),
        *("Type", "LaunchTime", "Zone", "Kernel", "Ramdisk", "Platform", "Monitoring", "PublicIP", "PrivateIP"),
        *("VPC", "Subnet", "RootDevice"),
    ),
    "IMAGE": (
        *("ImageID", "Location", "Owner", "State", "Accessibility", "ProductCodes", "Architecture", "ImageType"),
        *("Kernel", "Ramdisk", "Platform"),
    ),
    "KEYPAIR": ("Name", "Fingerprint"),
    "AVAILABILITYZONE": ("Name", "State", "Region"),
    "REGION": ("Name", "Endpoint"),
}


def lines(records: "Iterable[Record]", *, headings: bool = False, show_empty: bool = False) -> "Iterator[str]":
    """The records as text lines; a heading stands before the first record of its kind."""
    titled = set()
    for record in records:
        kind = record[0]
        if headings and kind in HEADINGS and kind not in titled:
            titled.add(kind)
            yield "\t".join(("Type", *HEADINGS[kind]))
        fields = list(record)
        while kind in CUT_AT_THE_END and not show_empty and not fields[-1]:
            fields.pop()
        yield "\t".join(field or "(nil)" for field in fields) if show_empty and len(fields) > 1 else "\t".join(fields)


def reservation(answer: "Node", version: str) -> "Iterator[Record]":
    """A reservation and its instances, in launch order."""
    groups = [item.text("groupName") or item.text("groupId") for item in answer.items("groupSet")]
    yield ["RESERVATION", answer.text("reservationId"), answer.text("ownerId"), ", ".join(groups)]
    for item in sorted(answer.items("instancesSet"), key=lambda item: int(item.text("amiLaunchIndex") or "0")):
        yield instance(item, version)


def instance(item: "Node", version: str) -> "Record":
    """An INSTANCE line as run and describe print it."""
    record = [
        *("INSTANCE", item.text("instanceId"), item.text("imageId"), item.text("dnsName")),
        *(item.text("privateDnsName"), item.text("instanceState/name"), item.text("keyName")),
        item.text("amiLaunchIndex") or "0",
    ]
    if version >= versions.PRODUCT_CODES:
        record.append(_product_codes(item))
    if version >= versions.INSTANCE_TYPES:
        record += [item.text("instanceType"), era_time(item.text("launchTime"))]
    if version >= versions.ZONES_AND_KERNELS:
        record += [item.text("placement/availabilityZone"), item.text("kernelId"), item.text("ramdiskId")]
    if version >= versions.REGIONS_AND_PLATFORMS:
        record.append(item.text("platform"))
    if version >= versions.MONITORING:
        record += [
            f"monitoring-{item.text('monitoring/state') or 'disabled'}",
            *(item.text("ipAddress"), item.text("privateIpAddress"), item.text("vpcId"), item.text("subnetId")),
            item.text("rootDeviceType"),
        ]
    return record


def terminated(item: "Node") -> "Record":
    """An INSTANCE line of ec2-terminate-instances: state before and after."""
    after = item.text("shutdownState/name") or item.text("currentState/name")
    return ["INSTANCE", item.text("instanceId"), item.text("previousState/name"), after]


def image(item: "Node", version: str) -> "Record":
    """An IMAGE line."""
    access = "public" if item.text("isPublic") == "true" else "private"
    record = [
        *("IMAGE", item.text("imageId"), item.text("imageLocation"), item.text("imageOwnerId")),
        *(item.text("imageState"), access, _product_codes(item)),
    ]
    if version >= versions.ZONES_AND_KERNELS:
        record += [item.text("architecture"), item.text("imageType"), item.text("kernelId"), item.text("ramdiskId")]
    if version >= versions.REGIONS_AND_PLATFORMS:
        record.append(item.text("platform"))
    return record


def group(item: "Node", version: str) -> "Iterator[Record]":
    """A group and its permissions, one line for each permission and source."""
    owner, name = item.text("ownerId"), item.text("groupName")
    yield ["GROUP", owner, name, item.text("groupDescription")]
    for protocol, first, last, source in _permissions(item, fold=version < versions.UNFOLDED_GRANTS):
        yield permission(owner, name, protocol, first, last, source)


def permission(owner: str, name: str, protocol: str, first: str, last: str, source: "list[str]") -> "Record":
    """A PERMISSION line; `source` from cidr_source or group_source."""
    return ["PERMISSION", owner, name, "ALLOWS", protocol, first, last, "FROM", *source]


def cidr_source(cidr: str) -> "list[str]":
    """The end of a PERMISSION line whose source is a range of addresses."""
    return ["CIDR", cidr]


def group_source(owner: str, name: str) -> "list[str]":
    """The end of a PERMISSION line whose source is a group."""
    return ["USER", owner, "GRPNAME", name]


def era_time(iso: str) -> str:
    """`2008-02-11T13:02:12.000Z` as the tools print it: `2008-02-11T13:02:12+0000`."""
    return iso.removesuffix("Z").partition(".")[0] + "+0000" if iso else ""


def _product_codes(item: "Node") -> str:
    return ",".join(code.text("productCode") for code in item.items("productCodes"))


def _permissions(item: "Node", *, fold: bool) -> "list[tuple[str, str, str, list[str]]]":
    """(protocol, from, to, source) for every permission and source, folded as the builds of 2006 to 2008 did."""
    rows = []
    for entry in item.items("ipPermissions"):
        rule = (entry.text("ipProtocol"), entry.text("fromPort"), entry.text("toPort"))
        rows += [(*rule, group_source(peer.text("userId"), peer.text("groupName"))) for peer in entry.items("groups")]
        rows += [(*rule, cidr_source(peer.text("cidrIp"))) for peer in entry.items("ipRanges")]
    return _fold(rows) if fold else rows


def _fold(rows: "list[tuple[str, str, str, list[str]]]") -> "list[tuple[str, str, str, list[str]]]":
    """A group's three full grants (tcp, udp, icmp) become one line `all`, where the first of them stood.

    So does a VPC group's one rule for all protocols, which the tools of the time had no other word for.
    """
    full: dict[tuple[str, ...], set[str]] = {}
    for protocol, first, last, source in rows:
        if source[0] == "USER" and _is_everything(protocol, first, last):
            full.setdefault(tuple(source), set()).add(protocol)
    folded: list[tuple[str, str, str, list[str]]] = []
    for row in rows:
        whole = row[0] == "-1" or (len(full.get(tuple(row[3]), ())) == 3 and _is_everything(*row[:3]))
        line = ("all", "", "", row[3]) if whole else row
        if line not in folded:
            folded.append(line)
    return folded


def _is_everything(protocol: str, first: str, last: str) -> bool:
    if protocol == "icmp":
        return (first, last) == ("-1", "-1")
    return protocol in ("tcp", "udp") and first in ("0", "1") and last == "65535"
