"""RunInstances, DescribeInstances, TerminateInstances."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

from stockade.api.aws.actions import tags
from stockade.api.aws.actions.filters import keep
from stockade.api.aws.actions.instance_members import FILTERS, reservation_of, state_of
from stockade.api.aws.actions.network_interfaces import tracking_of
from stockade.api.aws.actions.pages import page, refuse_with
from stockade.api.aws.registry import Asked, action
from stockade.api.aws.wire.faults import Fault
from stockade.service.instances import LaunchRequest
from stockade.service.security_groups import GroupRef

USER_DATA_BYTES = 16 * 1024
_MOST_AT_ONCE = 100_000

_INERT = (
    # Said of machines that these are not: nothing of it is seen from the network.
    *("AdditionalInfo", "BlockDeviceMappings", "CapacityReservationSpecification", "CpuOptions"),
    *("CreditSpecification", "DisableApiStop", "EbsOptimized", "HibernationOptions", "IamInstanceProfile"),
    *("InstanceInitiatedShutdownBehavior", "KernelId", "LicenseSpecifications", "MaintenanceOptions", "Monitoring"),
    *("PrivateDnsNameOptions", "RamdiskId"),
)


@action(
    "RunInstances",
    reads=(
        *("ImageId", "MinCount", "MaxCount", "InstanceType", "KeyName", "UserData", "ClientToken"),
        *("SecurityGroups", "SecurityGroupIds", "SubnetId", "PrivateIpAddress", "Placement", "TagSpecifications"),
        *("Ipv6AddressCount", "Ipv6Addresses", "NetworkInterfaces", "DisableApiTermination", "EnclaveOptions"),
    ),
    inert=_INERT,
)
async def run_instances(asked: Asked) -> dict[str, Any]:
    reservation = await asked.services.instances.run(asked.caller, launch_request(asked))
    return reservation_of(reservation, asked)


def launch_request(asked: Asked) -> LaunchRequest:
    """What is asked for, in the domain's words; raises Fault for what would be promised and not kept."""
    given = asked.input
    if not given.get("ImageId"):
        raise Fault("MissingParameter", "The request must contain the parameter ImageId")
    if asked.old.get("AddressingType", "public") != "public":
        raise Fault("UnsupportedOperation", "Only public addressing is supported by Stockade.")
    if given.get("DisableApiTermination"):
        raise Fault("UnsupportedOperation", "The parameter DisableApiTermination of RunInstances is not supported.")
    if given.get("EnclaveOptions", {}).get("Enabled"):
        raise Fault("UnsupportedOperation", "Enclaves are not supported by Stockade.")
    _check_counts(given)
    place = placed(given)
    return LaunchRequest(
        image=given["ImageId"],
        min_count=given["MinCount"],
        max_count=given["MaxCount"],
        groups=(
            *(GroupRef(name=name) for name in given.get("SecurityGroups", ())),
            *(GroupRef(id=group) for group in place.get("SecurityGroupIds", ())),
        ),
        key_name=given.get("KeyName") or None,
        user_data=_user_data(given.get("UserData")),
        type=given.get("InstanceType") or "m1.small",
        zone=given.get("Placement", {}).get("AvailabilityZone") or None,
        subnet=place.get("SubnetId") or None,
        private_address=_address(place.get("PrivateIpAddress")),
        ipv6_count=place.get("Ipv6AddressCount"),
        ipv6=tuple(_ipv6(one.get("Ipv6Address", "")) for one in place.get("Ipv6Addresses", ())),
        associate_public=place.get("AssociatePublicIpAddress"),
        tracking=tracking_of(place.get("ConnectionTrackingSpecification", {})),
        client_token=given.get("ClientToken") or None,
        tags=_launch_tags(asked),
    )


_OF_INTERFACE = frozenset({
    "SubnetId", "Groups", "PrivateIpAddress", "Ipv6AddressCount", "Ipv6Addresses", "AssociatePublicIpAddress",
    "ConnectionTrackingSpecification", "DeviceIndex", "DeleteOnTermination", "InterfaceType", "NetworkCardIndex",
})  # fmt: skip
_AS_EVERY_INTERFACE = {
    "DeviceIndex": 0,
    "DeleteOnTermination": True,
    "InterfaceType": "interface",
    "NetworkCardIndex": 0,
}


def placed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Subnet, groups and addresses, given for the instance or for its one interface. Raises Fault for both at once."""
    interfaces = given.get("NetworkInterfaces", ())
    if not interfaces:
        return given
    if len(interfaces) > 1:
        raise Fault("UnsupportedOperation", "Instances with several network interfaces are not supported by Stockade.")
    for name, spelled in (("SecurityGroups", "security groups"), ("SecurityGroupIds", "security groups"),
                          ("SubnetId", "subnet ID"), ("PrivateIpAddress", "private address"),
                          ("Ipv6AddressCount", "IPv6 addresses"), ("Ipv6Addresses", "IPv6 addresses")):  # fmt: skip
        if given.get(name):
            said = f"Network interfaces and an instance-level {spelled} may not be specified on the same request"
            raise Fault("InvalidParameterCombination", said)
    interface = dict(interfaces[0])
    for name, value in interface.items():
        if name not in _OF_INTERFACE or _AS_EVERY_INTERFACE.get(name, value) != value:
            said = f"The parameter NetworkInterface.{name} of RunInstances is not supported by Stockade."
            raise Fault("UnsupportedOperation", said)
    return interface | {"SecurityGroupIds": interface.get("Groups", ())}


@action("DescribeInstances", reads=("InstanceIds", "Filters", "MaxResults", "NextToken"),
        inert=("IncludeManagedResources",))  # fmt: skip
async def describe_instances(asked: Asked) -> dict[str, Any]:
    given = asked.input
    refuse_with(given, "InstanceIds", "instancesSet")
    found = await asked.services.instances.describe(asked.caller, given.get("InstanceIds", ()))
    reservations: list[dict[str, Any]] = []
    for reservation in found:
        shown = reservation_of(reservation, asked)
        # A filter may ask for what the reservation says, so each instance is judged together with it.
        judged = [{**instance, "Reservation": shown} for instance in shown["Instances"]]
        kept = {instance["InstanceId"] for instance in keep(judged, given.get("Filters"), FILTERS)}
        if kept:
            instances = [instance for instance in shown["Instances"] if instance["InstanceId"] in kept]
            reservations.append({**shown, "Instances": instances})
    if not found:
        keep((), given.get("Filters"), FILTERS)  # so that a wrong filter is told of
    return page(reservations, given, "ReservationId", "Reservations")


@action("TerminateInstances", reads=("InstanceIds",), inert=("Force", "SkipOsShutdown"))
async def terminate_instances(asked: Asked) -> dict[str, Any]:
    changes = await asked.services.instances.terminate(asked.caller, asked.input["InstanceIds"])
    return {
        "TerminatingInstances": [
            {"InstanceId": c.id, "CurrentState": state_of(c.current), "PreviousState": state_of(c.previous)}
            for c in changes
        ]
    }


def _check_counts(given: Mapping[str, Any]) -> None:
    for name in ("MinCount", "MaxCount"):
        if not 1 <= given[name] <= _MOST_AT_ONCE:
            spelled = name[0].lower() + name[1:]
            said = f"Value ({given[name]}) for parameter {spelled} is invalid. Minimum value is 1."
            raise Fault("InvalidParameterValue", said)
    if given["MinCount"] > given["MaxCount"]:
        said = "The parameter minCount must not be greater than the parameter maxCount"
        raise Fault("InvalidParameterCombination", said)


def _user_data(text: str | None) -> bytes | None:
    if not text:
        return None
    try:
        data = b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Fault("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from None
    if len(data) > USER_DATA_BYTES:
        raise Fault("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")
    return data


def _address(text: str | None) -> IPv4Address | None:
    if not text:
        return None
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise Fault("InvalidParameterValue", f"Value ({text}) for parameter PrivateIpAddress is invalid.") from None


def _ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise Fault("InvalidParameterValue", f"Value ({text}) for parameter Ipv6Address is invalid.") from None


def _launch_tags(asked: Asked) -> dict[str, str]:
    """Tags for the instances. Those for volumes are taken and dropped, since there are none to carry them."""
    kept = [one for one in asked.input.get("TagSpecifications", ()) if one.get("ResourceType") != "volume"]
    return tags.specified(Asked(asked.caller, asked.services, {"TagSpecifications": kept}), "instance")
