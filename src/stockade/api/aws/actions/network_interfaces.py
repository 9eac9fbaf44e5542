"""DescribeNetworkInterfaces, and what can be changed of an interface that runs, by its own id or its instance's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, keep, member
from stockade.api.aws.actions.pages import page, refuse_with
from stockade.api.aws.actions.vpcs import zone_id
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.model.network_interface import NetworkInterface
from stockade.model.tracking import DEFAULT_TRACKING, ConnectionTracking
from stockade.service.membership import InterfaceDescription

_FILTERS: Table = {
    "addresses.association.public-ip": member("PrivateIpAddresses", "Association", "PublicIp"),
    "addresses.primary": member("PrivateIpAddresses", "Primary"),
    "addresses.private-ip-address": member("PrivateIpAddresses", "PrivateIpAddress"),
    "association.public-ip": member("Association", "PublicIp"),
    "association.ip-owner-id": member("Association", "IpOwnerId"),
    "attachment.attachment-id": member("Attachment", "AttachmentId"),
    "attachment.delete-on-termination": member("Attachment", "DeleteOnTermination"),
    "attachment.device-index": member("Attachment", "DeviceIndex"),
    "attachment.instance-id": member("Attachment", "InstanceId"),
    "attachment.instance-owner-id": member("Attachment", "InstanceOwnerId"),
    "attachment.status": member("Attachment", "Status"),
    "availability-zone": member("AvailabilityZone"),
    "availability-zone-id": member("AvailabilityZoneId"),
    "description": member("Description"),
    "group-id": member("Groups", "GroupId"),
    "group-name": member("Groups", "GroupName"),
    "interface-type": member("InterfaceType"),
    "ipv6-addresses.ipv6-address": member("Ipv6Addresses", "Ipv6Address"),
    "mac-address": member("MacAddress"),
    "network-interface-id": member("NetworkInterfaceId"),
    "owner-id": member("OwnerId"),
    "private-ip-address": member("PrivateIpAddress"),
    "requester-managed": member("RequesterManaged"),
    "source-dest-check": member("SourceDestCheck"),
    "status": member("Status"),
    "subnet-id": member("SubnetId"),
    "vpc-id": member("VpcId"),
}
_TIMERS = {"TcpEstablishedTimeout": "tcp_established", "UdpStreamTimeout": "udp_stream", "UdpTimeout": "udp"}


@action(
    "DescribeNetworkInterfaces",
    reads=("NetworkInterfaceIds", "Filters", "MaxResults", "NextToken"),
    inert=("IncludeManagedResources",),
)
async def describe_network_interfaces(asked: Asked) -> dict[str, Any]:
    given = asked.input
    refuse_with(given, "NetworkInterfaceIds", "networkInterfaceIdSet")
    found = await asked.services.interfaces.describe(asked.caller, given.get("NetworkInterfaceIds", ()))
    # Filters read Tags, which this one answer calls TagSet; what the model has not is not written.
    items = [shown | {"Tags": shown["TagSet"]} for shown in map(_shown, found)]
    return page(keep(items, given.get("Filters"), _FILTERS), given, "NetworkInterfaceId", "NetworkInterfaces")


@action("DescribeNetworkInterfaceAttribute", reads=("NetworkInterfaceId", "Attribute"))
async def describe_network_interface_attribute(asked: Asked) -> dict[str, Any]:
    (found,) = await asked.services.interfaces.describe(asked.caller, [asked.input["NetworkInterfaceId"]])
    shown = _shown(found)
    members: dict[str, dict[str, Any]] = {
        "description": {"Description": {"Value": shown["Description"]}},
        "groupSet": {"Groups": shown["Groups"]},
        "sourceDestCheck": {"SourceDestCheck": {"Value": shown["SourceDestCheck"]}},
        "attachment": {"Attachment": shown["Attachment"]},
    }
    attribute = asked.input.get("Attribute")
    if attribute not in members:
        raise Fault("InvalidParameterValue", f"Value ({attribute or ''}) for parameter attribute is invalid.")
    return {"NetworkInterfaceId": found.interface.id, **members[attribute]}


@action(
    "ModifyNetworkInterfaceAttribute",
    reads=("NetworkInterfaceId", "Groups", "SourceDestCheck", "ConnectionTrackingSpecification"),
)
async def modify_network_interface_attribute(asked: Asked) -> dict[str, Any]:
    interface = asked.services.interfaces.find(asked.caller, asked.input["NetworkInterfaceId"])
    given = _only_one(asked.input, ("Groups", "SourceDestCheck", "ConnectionTrackingSpecification"))
    await _modify(asked, interface, given)
    return {}


@action("ModifyInstanceAttribute", reads=("InstanceId", "Groups", "SourceDestCheck", "Attribute", "Value"))
async def modify_instance_attribute(asked: Asked) -> dict[str, Any]:
    given = _only_one(_by_attribute(asked.input), ("Groups", "SourceDestCheck"))
    name = "groupSet" if "Groups" in given else "sourceDestCheck"
    interface = asked.services.interfaces.of_instance(asked.caller, asked.input["InstanceId"], name)
    await _modify(asked, interface, given)
    return {}


def _by_attribute(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The older form, Attribute and Value, as the newer one."""
    attribute, value = given.get("Attribute"), given.get("Value")
    match attribute:
        case None if value is not None:
            raise Fault("InvalidParameterCombination", "The parameter Value cannot be used without its Attribute.")
        case None | "groupSet":
            return given
        case "sourceDestCheck":
            if (value or "").lower() not in {"true", "false"}:
                raise Fault("InvalidParameterValue", f"Value ({value}) for parameter value is invalid.")
            return {**given, "SourceDestCheck": {"Value": str(value).lower() == "true"}}
        case _:
            raise Fault("UnsupportedOperation", f"The attribute {attribute} is not supported by Stockade.")


def _only_one(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """EC2 changes one attribute in a call."""
    found = {name: given[name] for name in names if name in given}
    if not found:
        raise Fault("InvalidParameterCombination", "No attributes specified.")
    if len(found) > 1:
        raise Fault("InvalidParameterCombination", "Fields for multiple attribute types specified.")
    return found


async def _modify(asked: Asked, interface: NetworkInterface, given: Mapping[str, Any]) -> None:
    interfaces, caller = asked.services.interfaces, asked.caller
    if "Groups" in given:
        await interfaces.set_groups(caller, interface.id, given["Groups"])
    elif "SourceDestCheck" in given:
        if "Value" not in given["SourceDestCheck"]:
            raise Fault("MissingParameter", "The request must contain the parameter SourceDestCheck.Value")
        await interfaces.set_source_dest_check(caller, interface.id, given["SourceDestCheck"]["Value"])
    else:
        asked_for = given["ConnectionTrackingSpecification"]
        await interfaces.set_tracking(caller, interface.id, lambda timers: tracking_of(asked_for, timers))


def tracking_of(given: Mapping[str, Any], before: ConnectionTracking = DEFAULT_TRACKING) -> ConnectionTracking:
    """The timers of a ConnectionTrackingSpecification; what it leaves out stays as it was."""
    return replace(before, **{name: given[parameter] for parameter, name in _TIMERS.items() if parameter in given})


def ipv6_of(interface: NetworkInterface) -> list[dict[str, Any]]:
    """The IPv6 addresses of an interface, alone or inside an instance."""
    found = [str(address) for address in interface.addresses if address.version == 6]
    return [{"Ipv6Address": address, "IsPrimaryIpv6": False} for address in found]


def tracked_as(interface: NetworkInterface) -> dict[str, int] | None:
    """ConnectionTrackingConfiguration, shown when it is not the default."""
    if interface.tracking == DEFAULT_TRACKING:
        return None
    return {parameter: getattr(interface.tracking, name) for parameter, name in _TIMERS.items()}


def _shown(one: InterfaceDescription) -> dict[str, Any]:
    interface = one.interface
    private = [str(address) for address in interface.addresses if address.version == 4]
    association = None
    if interface.public is not None:
        association = {"PublicIp": str(interface.public), "IpOwnerId": "amazon"}
    return {
        "NetworkInterfaceId": interface.id,
        "SubnetId": interface.subnet,
        "VpcId": interface.vpc,
        "AvailabilityZone": one.zone,
        "AvailabilityZoneId": zone_id(one.zone, one.vpc.region),
        "Description": "" if interface.device is None else f"device {interface.device} of {interface.host}",
        "OwnerId": interface.account,
        "RequesterManaged": False,
        "Status": "in-use",
        "MacAddress": interface.mac,
        "PrivateIpAddress": private[0] if private else None,
        "PrivateIpAddresses": [
            {"Primary": place == 0, "PrivateIpAddress": text, "Association": association if place == 0 else None}
            for place, text in enumerate(private)
        ],
        "Ipv6Addresses": ipv6_of(interface),
        "SourceDestCheck": interface.source_dest_check,
        "Groups": [{"GroupId": id, "GroupName": name} for id, name in one.groups],
        "TagSet": tags.shown(one.tags),
        "Association": association,
        "InterfaceType": "interface",
        "ConnectionTrackingConfiguration": tracked_as(interface),
        "Attachment": _attachment(one),
    }


def _attachment(one: InterfaceDescription) -> dict[str, Any] | None:
    if one.instance is None:
        return None
    return {
        "AttachmentId": f"eni-attach-{one.interface.id.partition('-')[2]}",
        "AttachTime": one.instance.launch_time,
        "DeleteOnTermination": True,
        "DeviceIndex": 0,
        "NetworkCardIndex": 0,
        "InstanceId": one.instance.id,
        "InstanceOwnerId": one.instance.account,
        "Status": "attached",
    }
