"""Instances and reservations as answers show them, and the filters that read those members."""

from collections.abc import Sequence
from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import Table, member
from stockade.api.aws.actions.network_interfaces import ipv6_of, tracked_as
from stockade.api.aws.registry import Asked
from stockade.model.instance import InstanceState
from stockade.model.network_interface import NetworkInterface
from stockade.model.vpc import Vpc
from stockade.service.instances import GroupName, InstanceDescription, Reservation

_USER_SHUTDOWN = {
    "Code": "Client.UserInitiatedShutdown",
    "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
}

FILTERS: Table = {
    "architecture": member("Architecture"),
    "availability-zone": member("Placement", "AvailabilityZone"),
    "client-token": member("ClientToken"),
    "dns-name": member("PublicDnsName"),
    "group-id": member("Reservation", "Groups", "GroupId"),
    "group-name": member("Reservation", "Groups", "GroupName"),
    "hypervisor": member("Hypervisor"),
    "image-id": member("ImageId"),
    "instance-id": member("InstanceId"),
    "instance-state-code": member("State", "Code"),
    "instance-state-name": member("State", "Name"),
    "instance-type": member("InstanceType"),
    "instance.group-id": member("SecurityGroups", "GroupId"),
    "instance.group-name": member("SecurityGroups", "GroupName"),
    "ip-address": member("PublicIpAddress"),
    "key-name": member("KeyName"),
    "launch-index": member("AmiLaunchIndex"),
    "launch-time": lambda item: [item["LaunchTime"].strftime("%Y-%m-%dT%H:%M:%S.000Z")],
    "monitoring-state": member("Monitoring", "State"),
    "network-interface.group-id": member("NetworkInterfaces", "Groups", "GroupId"),
    "network-interface.group-name": member("NetworkInterfaces", "Groups", "GroupName"),
    "ipv6-address": member("Ipv6Address"),
    "network-interface.ipv6-addresses.ipv6-address": member("NetworkInterfaces", "Ipv6Addresses", "Ipv6Address"),
    "network-interface.mac-address": member("NetworkInterfaces", "MacAddress"),
    "network-interface.network-interface-id": member("NetworkInterfaces", "NetworkInterfaceId"),
    "network-interface.private-ip-address": member("NetworkInterfaces", "PrivateIpAddress"),
    "network-interface.subnet-id": member("NetworkInterfaces", "SubnetId"),
    "network-interface.vpc-id": member("NetworkInterfaces", "VpcId"),
    "owner-id": member("Reservation", "OwnerId"),
    "private-dns-name": member("PrivateDnsName"),
    "private-ip-address": member("PrivateIpAddress"),
    "reason": member("StateTransitionReason"),
    "reservation-id": member("Reservation", "ReservationId"),
    "root-device-type": member("RootDeviceType"),
    "source-dest-check": member("SourceDestCheck"),
    "state-reason-code": member("StateReason", "Code"),
    "state-reason-message": member("StateReason", "Message"),
    "subnet-id": member("SubnetId"),
    "tenancy": member("Placement", "Tenancy"),
    "virtualization-type": member("VirtualizationType"),
    "vpc-id": member("VpcId"),
}


def state_of(state: InstanceState) -> dict[str, Any]:
    """EC2's number and word."""
    return {"Code": state.code, "Name": state.value}


def reservation_of(reservation: Reservation, asked: Asked) -> dict[str, Any]:
    """The members of Reservation, which is also the answer of RunInstances.

    Its groups are shown on the classic platform and in the classic versions; in a VPC they are the
    instances' own business, as on AWS, and the list stays empty.
    """
    classic = asked.classic or asked.classic_version
    # A key that the account gives to launches without one was not asked for, and the classic records say so.
    unnamed = asked.caller.account.default_key if asked.classic_version else None
    return {
        "ReservationId": reservation.id,
        "OwnerId": reservation.account,
        "Groups": _groups(reservation.groups) if classic else [],
        "Instances": [_instance(one, unnamed) for one in reservation.instances],
    }


def _groups(groups: Sequence[GroupName]) -> list[dict[str, str]]:
    return [{"GroupId": group.id, "GroupName": group.name} for group in groups]


def _instance(one: InstanceDescription, unnamed_key: str | None) -> dict[str, Any]:
    instance, interface = one.instance, one.interface
    shown: dict[str, Any] = {
        "InstanceId": instance.id,
        "ImageId": instance.image,
        "State": state_of(one.state),
        "PrivateDnsName": one.private_name,
        "PublicDnsName": one.public_name,
        "StateTransitionReason": one.reason or "",
        "KeyName": None if instance.key_name == unnamed_key else instance.key_name,
        "AmiLaunchIndex": instance.launch_index,
        "ProductCodes": [],
        "InstanceType": instance.type,
        "LaunchTime": instance.launch_time,
        "Placement": {"AvailabilityZone": instance.zone, "GroupName": "", "Tenancy": "default"},
        "Monitoring": {"State": "disabled"},
        "Architecture": "x86_64",
        "RootDeviceType": "instance-store",
        "BlockDeviceMappings": [],
        "VirtualizationType": "paravirtual",
        "Hypervisor": "xen",
        "ClientToken": instance.client_token or "",
        "EbsOptimized": False,
        "SecurityGroups": _groups(one.groups),
        "NetworkInterfaces": [],
        "Tags": tags.shown(one.tags),
        "StateReason": _state_reason(one),
    }
    if interface is not None and one.vpc is not None:
        shown |= _addresses(one, interface, one.vpc)
    return shown


def _state_reason(one: InstanceDescription) -> dict[str, str] | None:
    """Why an instance is gone or impaired."""
    if one.state in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED) and not one.reason:
        return _USER_SHUTDOWN
    if one.reason:
        code = "Server.InternalError"
        return {"Code": code, "Message": f"{code}: {one.reason}"}
    return None


def _addresses(one: InstanceDescription, interface: NetworkInterface, vpc: Vpc) -> dict[str, Any]:
    running = one.state is not InstanceState.PENDING
    public = str(interface.public) if interface.public is not None and running else None
    shown: dict[str, Any] = {
        "PrivateIpAddress": str(interface.addresses[0]),
        "PublicIpAddress": public,
        "SourceDestCheck": interface.source_dest_check,
    }
    if vpc.is_classic:
        return shown
    private = [
        {"Primary": place == 0, "PrivateIpAddress": str(address), "PrivateDnsName": one.private_name}
        for place, address in enumerate(interface.addresses)
        if address.version == 4
    ]
    association = None
    if public is not None:
        association = {"PublicIp": public, "PublicDnsName": one.public_name, "IpOwnerId": "amazon"}
        private[0]["Association"] = association
    return shown | {
        "VpcId": vpc.id,
        "SubnetId": interface.subnet,
        "Ipv6Address": next((str(address) for address in interface.addresses if address.version == 6), None),
        "NetworkInterfaces": [
            {
                "NetworkInterfaceId": interface.id,
                "SubnetId": interface.subnet,
                "VpcId": vpc.id,
                "OwnerId": interface.account,
                "Description": "",
                "Status": "in-use",
                "InterfaceType": "interface",
                "MacAddress": interface.mac,
                "PrivateIpAddress": str(interface.addresses[0]),
                "PrivateDnsName": one.private_name,
                "PrivateIpAddresses": private,
                "Ipv6Addresses": ipv6_of(interface),
                "ConnectionTrackingConfiguration": tracked_as(interface),
                "SourceDestCheck": interface.source_dest_check,
                "Groups": _groups(one.groups),
                "Association": association,
                "Attachment": {
                    "AttachmentId": f"eni-attach-{interface.id.partition('-')[2]}",
                    "DeviceIndex": 0,
                    "Status": "attached",
                    "AttachTime": one.instance.launch_time,
                    "DeleteOnTermination": True,
                    "NetworkCardIndex": 0,
                },
            }
        ],
    }
