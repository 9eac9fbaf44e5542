"""What the API versions 2006-06-26 to 2009-11-30 say otherwise, as a table with the version of each row.

botocore describes 2014 and later. Requests of the classic versions are a subset of those (plus a few
parameters that went since, OLD_PARAMETERS), so one parser serves all. Responses differ: elements were
added version by version, some had other names, groups were shown by name alone, and there was no
request id before 2008-12-01. An action's answer comes in today's member names; a row says which of them a
version shows, where, under which name. What no row names is not shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stockade.api.aws.wire.xml import Writer, list_writer, scalar_writer, structure_writer

FIRST = "2006-06-26"
LAST = "2009-11-30"
REQUEST_IDS_SINCE = "2008-12-01"

ACTIONS = {
    **dict.fromkeys(
        (
            *("RegisterImage", "DeregisterImage", "DescribeImages"),
            *("RunInstances", "DescribeInstances", "TerminateInstances", "RebootInstances", "GetConsoleOutput"),
            *("CreateKeyPair", "DescribeKeyPairs", "DeleteKeyPair"),
            *("CreateSecurityGroup", "DeleteSecurityGroup", "DescribeSecurityGroups"),
            *("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"),
        ),
        "2006-06-26",
    ),
    **dict.fromkeys(("ModifyImageAttribute", "ResetImageAttribute", "DescribeImageAttribute"), "2006-10-01"),
    "ConfirmProductInstance": "2007-03-01",
    **dict.fromkeys(
        (
            *("DescribeAvailabilityZones", "AllocateAddress", "ReleaseAddress", "DescribeAddresses"),
            *("AssociateAddress", "DisassociateAddress"),
        ),
        "2008-02-01",
    ),
    **dict.fromkeys(
        (
            *("CreateVolume", "DeleteVolume", "DescribeVolumes", "AttachVolume", "DetachVolume"),
            *("CreateSnapshot", "DeleteSnapshot", "DescribeSnapshots"),
        ),
        "2008-05-05",
    ),
    **dict.fromkeys(
        ("BundleInstance", "DescribeBundleTasks", "CancelBundleTask", "DescribeRegions"),
        "2008-12-01",
    ),
}
"""Actions of the classic versions, with the first that has them."""

OLD_PARAMETERS: Mapping[str, frozenset[str]] = {
    "RunInstances": frozenset({"AddressingType"}),
    "AuthorizeSecurityGroupIngress": frozenset({"UserId"}),
    "RevokeSecurityGroupIngress": frozenset({"UserId"}),
}
"""Parameters that are gone from today's model. None of them changes what is done: `public` addressing is
what there is (`direct` is refused), and a group's owner is the caller."""


@dataclass(frozen=True, slots=True)
class Row:
    """One element of a shape. `content`: text, another shape, or [a shape] for a list of `item`s."""

    shape: str
    element: str
    content: str
    member: str
    since: str = FIRST
    until: str = "9999"  # the first version without it


ROWS = (
    Row("Reservation", "reservationId", "text", "ReservationId"),
    Row("Reservation", "ownerId", "text", "OwnerId"),
    Row("Reservation", "groupSet", "[GroupName]", "Groups"),
    Row("Reservation", "instancesSet", "[Instance]", "Instances"),
    Row("Reservation", "requesterId", "text", "RequesterId", "2008-12-01"),
    Row("GroupName", "groupId", "text", "GroupName"),  # named so, holds the name
    Row("Instance", "instanceId", "text", "InstanceId"),
    Row("Instance", "imageId", "text", "ImageId"),
    Row("Instance", "instanceState", "State", "State"),
    Row("Instance", "privateDnsName", "text", "PrivateDnsName"),
    Row("Instance", "dnsName", "text", "PublicDnsName"),
    Row("Instance", "reason", "text", "StateTransitionReason"),
    Row("Instance", "keyName", "text", "KeyName"),
    Row("Instance", "amiLaunchIndex", "text", "AmiLaunchIndex", "2007-01-19"),
    Row("Instance", "productCodes", "[ProductCode]", "ProductCodes", "2007-03-01"),
    Row("Instance", "instanceType", "text", "InstanceType", "2007-08-29"),
    Row("Instance", "launchTime", "text", "LaunchTime", "2007-08-29"),
    Row("Instance", "placement", "Placement", "Placement", "2008-02-01"),
    Row("Instance", "kernelId", "text", "KernelId", "2008-02-01"),
    Row("Instance", "ramdiskId", "text", "RamdiskId", "2008-02-01"),
    Row("Instance", "platform", "text", "Platform", "2008-12-01"),
    Row("Instance", "monitoring", "Monitoring", "Monitoring", "2009-04-04"),
    Row("Instance", "subnetId", "text", "SubnetId", "2009-10-31"),
    Row("Instance", "vpcId", "text", "VpcId", "2009-10-31"),
    Row("Instance", "privateIpAddress", "text", "PrivateIpAddress", "2009-10-31"),
    Row("Instance", "ipAddress", "text", "PublicIpAddress", "2009-10-31"),
    Row("Instance", "stateReason", "StateReason", "StateReason", "2009-10-31"),
    Row("Instance", "architecture", "text", "Architecture", "2009-10-31"),
    Row("Instance", "rootDeviceType", "text", "RootDeviceType", "2009-10-31"),
    Row("Instance", "rootDeviceName", "text", "RootDeviceName", "2009-10-31"),
    Row("State", "code", "text", "Code"),
    Row("State", "name", "text", "Name"),
    Row("ProductCode", "productCode", "text", "ProductCodeId"),
    Row("Placement", "availabilityZone", "text", "AvailabilityZone"),
    Row("Monitoring", "state", "text", "State"),
    Row("StateReason", "code", "text", "Code"),
    Row("StateReason", "message", "text", "Message"),
    Row("DescribeInstances", "reservationSet", "[Reservation]", "Reservations"),
    Row("TerminateInstances", "instancesSet", "[StateChange]", "TerminatingInstances"),
    Row("StateChange", "instanceId", "text", "InstanceId"),
    Row("StateChange", "shutdownState", "State", "CurrentState", until="2009-10-31"),
    Row("StateChange", "currentState", "State", "CurrentState", "2009-10-31"),
    Row("StateChange", "previousState", "State", "PreviousState"),
    Row("DescribeImages", "imagesSet", "[Image]", "Images"),
    Row("Image", "imageId", "text", "ImageId"),
    Row("Image", "imageLocation", "text", "ImageLocation"),
    Row("Image", "imageState", "text", "State"),
    Row("Image", "imageOwnerId", "text", "OwnerId"),
    Row("Image", "isPublic", "text", "Public"),
    Row("Image", "productCodes", "[ProductCode]", "ProductCodes", "2007-03-01"),
    Row("Image", "architecture", "text", "Architecture", "2008-02-01"),
    Row("Image", "imageType", "text", "ImageType", "2008-02-01"),
    Row("Image", "kernelId", "text", "KernelId", "2008-02-01"),
    Row("Image", "ramdiskId", "text", "RamdiskId", "2008-02-01"),
    Row("Image", "platform", "text", "Platform", "2008-12-01"),
    Row("Image", "name", "text", "Name", "2009-10-31"),
    Row("Image", "description", "text", "Description", "2009-10-31"),
    Row("Image", "rootDeviceType", "text", "RootDeviceType", "2009-10-31"),
    Row("CreateKeyPair", "keyName", "text", "KeyName"),
    Row("CreateKeyPair", "keyFingerprint", "text", "KeyFingerprint"),
    Row("CreateKeyPair", "keyMaterial", "text", "KeyMaterial"),
    Row("DescribeKeyPairs", "keySet", "[KeyPair]", "KeyPairs"),
    Row("KeyPair", "keyName", "text", "KeyName"),
    Row("KeyPair", "keyFingerprint", "text", "KeyFingerprint"),
    Row("DescribeSecurityGroups", "securityGroupInfo", "[SecurityGroup]", "SecurityGroups"),
    Row("SecurityGroup", "ownerId", "text", "OwnerId"),
    Row("SecurityGroup", "groupName", "text", "GroupName"),
    Row("SecurityGroup", "groupDescription", "text", "Description"),
    Row("SecurityGroup", "ipPermissions", "[Permission]", "IpPermissions"),
    Row("Permission", "ipProtocol", "text", "IpProtocol"),
    Row("Permission", "fromPort", "text", "FromPort"),
    Row("Permission", "toPort", "text", "ToPort"),
    Row("Permission", "groups", "[PeerGroup]", "UserIdGroupPairs"),
    Row("Permission", "ipRanges", "[Range]", "IpRanges"),
    Row("PeerGroup", "userId", "text", "UserId"),
    Row("PeerGroup", "groupName", "text", "GroupName"),
    Row("Range", "cidrIp", "text", "CidrIp"),
    Row("DescribeAvailabilityZones", "availabilityZoneInfo", "[Zone]", "AvailabilityZones"),
    Row("Zone", "zoneName", "text", "ZoneName"),
    Row("Zone", "zoneState", "text", "State"),
    Row("Zone", "regionName", "text", "RegionName", "2008-12-01"),
    Row("DescribeRegions", "regionInfo", "[Region]", "Regions"),
    Row("Region", "regionName", "text", "RegionName"),
    Row("Region", "regionEndpoint", "text", "Endpoint"),
)

_SHAPE_OF = {"RunInstances": "Reservation"}  # others have the action's own name
_SHAPES = {row.shape for row in ROWS}


def is_classic(version: str) -> bool:
    """Whether this table speaks for the version."""
    return FIRST <= version <= LAST


def has_action(action: str, version: str) -> bool:
    """Whether a classic version knows the action."""
    return ACTIONS.get(action, "9999") <= version


class ClassicWriters:
    """The writers of one classic version."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._made: dict[str, Writer] = {}

    def writer(self, action: str) -> Writer:
        """The writer of an action's answer. Those without a shape answer `return`, true."""
        shape = _SHAPE_OF.get(action, action)
        return self._shape(shape) if shape in _SHAPES else write_return

    def _shape(self, shape: str) -> Writer:
        if shape not in self._made:
            rows = [row for row in ROWS if row.shape == shape and row.since <= self._version < row.until]
            self._made[shape] = structure_writer((row.member, row.element, self._content(row.content)) for row in rows)
        return self._made[shape]

    def _content(self, content: str) -> Writer:
        if content == "text":
            return scalar_writer
        if content.startswith("["):
            return list_writer("item", self._shape(content.strip("[]")))
        return self._shape(content)


def write_return(append: Any, value: Any) -> None:
    """The answer of actions that have nothing to say but that it was done."""
    append("<return>true</return>")
