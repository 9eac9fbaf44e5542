"""Domain error -> AWS error code, message and HTTP status: the one table.

Texts are AWS's own where they are known (see the reference of error codes), because scripts match them.
`Classic` and VPC differ in code and text for the same mistake; the error says which it was.
"""

from collections.abc import Callable
from typing import Any

from stockade.api.aws.wire.faults import Fault
from stockade.model import errors, ports

_PORTS = "TCP/UDP"
_MOST_NAMED = 10
_KINDS = {
    "i": ("InvalidInstanceID.Malformed", 'Invalid id: "{}"'),
    "ami": ("InvalidAMIID.Malformed", 'Invalid id: "{}" (expecting "ami-...")'),
    "sg": ("InvalidGroupId.Malformed", 'Invalid id: "{}" (expecting "sg-...")'),
    "sgr": ("InvalidSecurityGroupRuleId.Malformed", 'Invalid id: "{}" (expecting "sgr-...")'),
    "vpc": ("InvalidVpcID.Malformed", 'Invalid id: "{}" (expecting "vpc-...")'),
    "subnet": ("InvalidSubnetID.Malformed", 'Invalid id: "{}" (expecting "subnet-...")'),
    "key": ("InvalidKeyPair.Format", 'Invalid id: "{}" (expecting "key-...")'),
    "eni": ("InvalidNetworkInterfaceID.Malformed", 'Invalid id: "{}" (expecting "eni-...")'),
    "pl": ("InvalidPrefixListId.Malformed", 'Invalid id: "{}" (expecting "pl-...")'),
}
_NOT_FOUND = {
    "sgr": ("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '{}' does not exist"),
    "i": ("InvalidInstanceID.NotFound", "The instance ID '{}' does not exist"),
    "ami": ("InvalidAMIID.NotFound", "The image id '[{}]' does not exist"),
    "sg": ("InvalidGroup.NotFound", "The security group '{}' does not exist"),
    "subnet": ("InvalidSubnetID.NotFound", "The subnet ID '{}' does not exist"),
    "vpc": ("InvalidVpcID.NotFound", "The vpc ID '{}' does not exist"),
    "eni": ("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{}' does not exist"),
    "key": ("InvalidKeyPair.NotFound", "The key pair ID '{}' does not exist"),
    "pl": ("InvalidPrefixListID.NotFound", "The prefix list ID '{}' does not exist"),
}
_LIMITS = {
    "instances": ("InstanceLimitExceeded", "Your quota allows for {room} more running instance(s). "
                  "You requested at least {asked}"),
    "groups": ("SecurityGroupLimitExceeded", "The maximum number of security groups has been reached."),
    "rules_per_group": ("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has "
                        "been reached."),
    "groups_per_interface": ("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per "
                             "interface has been reached."),
    "vpcs": ("VpcLimitExceeded", "The maximum number of VPCs has been reached."),
    "subnets": ("SubnetLimitExceeded", "The maximum number of subnets of the VPC has been reached."),
    "prefix_lists": ("PrefixListQuotaExceeded", "The maximum number of prefix lists has been reached."),
    "entries_per_prefix_list": ("PrefixListMaxEntriesExceeded", "The number of entries would exceed the maximum "
                                "entries of the prefix list."),
    "tags": ("TagLimitExceeded", "The maximum number of Tags for a resource has been reached."),
}  # fmt: skip


def fault_of(error: errors.StockadeError, classic: bool) -> Fault:
    """What AWS answers for this, to a caller of the classic or the VPC platform.

    An error without a row is our bug and answers InternalError.
    """
    for kind in type(error).__mro__:
        translate = (_CLASSIC.get(kind) if classic else None) or _TABLE.get(kind)
        if translate is not None:
            return translate(error)
    return internal_error()


def internal_error() -> Fault:
    """For what nobody expected."""
    return Fault("InternalError", "An internal error has occurred", 500)


def _malformed(error: errors.IdMalformed) -> Fault:
    code, text = _KINDS.get(error.kind, ("InvalidID", "The ID '{}' is not valid"))
    return Fault(code, text.format(error.text))


def _not_found(error: errors.ResourceNotFound) -> Fault:
    for kind in ("vpc", "subnet"):
        if error.id.startswith(f"{kind}-cidr-assoc-"):
            code = f"Invalid{kind.capitalize()}CidrBlockAssociationID.NotFound"
            return Fault(code, f"The {kind} CIDR block association ID '{error.id}' does not exist")
    code, text = _NOT_FOUND.get(error.id.partition("-")[0], ("InvalidID", "The ID '{}' is not valid"))
    return Fault(code, text.format(error.id))


def _port_range(error: errors.PortRangeInvalid) -> Fault:
    low, high = error.from_port, error.to_port
    named = "ICMP" if error.protocol in ports.TYPED else _PORTS
    if low is None or high is None:
        text = f"Invalid value 'Must specify both from and to ports with {named}.' for portRange."
        return Fault("InvalidParameterValue", text)
    if error.protocol in ports.TYPED:
        if -1 <= low <= 255 and low != ports.ANY:
            return Fault("InvalidParameterValue", f"ICMP code ({high}) out of range")
        return Fault("InvalidParameterValue", f"ICMP type ({low}) out of range")
    for port in (low, high):
        if not 0 <= port <= ports.LAST:
            return Fault("InvalidParameterValue", f"{named} port ({port}) out of range")
    return Fault("InvalidParameterValue", f"Invalid {named} port range ({low}:{high})")


def _classic_port_range(error: errors.PortRangeInvalid) -> Fault:
    if error.from_port is None or error.to_port is None:
        # What the classic service made of a port that is not there.
        error = errors.PortRangeInvalid(error.protocol, ports.ANY, ports.ANY)
    return Fault("InvalidPermission.Malformed", _port_range(error).message)


def _protocol(error: errors.ProtocolUnknown) -> Fault:
    if not error.text:
        why = "VPC security group rules must specify protocols explicitly."
        return Fault("InvalidParameterValue", f"Invalid value 'null' for protocol. {why}")
    return Fault("InvalidParameterValue", f"Invalid value '{error.text}' for IP protocol. Unknown protocol.")


def _group_text(error: errors.GroupNameInvalid) -> Fault:
    if error.field == "GroupName" and error.text.startswith("sg-"):
        why = "Group names may not be in the format sg-*."
        return Fault("InvalidParameterValue", f"Value ({error.text}) for parameter GroupName is invalid. {why}")
    if not error.text.strip(" "):
        return Fault("MissingParameter", f"The request must contain the parameter {error.field}")
    why = "Character sets beyond ASCII are not supported." if not error.text.isascii() else (
        "Up to 255 characters: a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*"
    )  # fmt: skip
    return Fault("InvalidParameterValue", f"Value ({error.text}) for parameter {error.field} is invalid. {why}")


def _group_not_found(error: errors.GroupNotFound) -> Fault:
    where = "" if error.vpc is None else f" in VPC '{error.vpc}'"
    return Fault("InvalidGroup.NotFound", f"The security group '{error.name}' does not exist{where}")


def _group_duplicate(error: errors.GroupDuplicate) -> Fault:
    where = "" if error.vpc is None else f" for VPC '{error.vpc}'"
    return Fault("InvalidGroup.Duplicate", f"The security group '{error.name}' already exists{where}")


def _group_reserved(error: errors.GroupReserved) -> Fault:
    if error.group is None:
        return Fault("InvalidGroup.Reserved", "Specified group name is a reserved name.")
    if error.classic:
        return Fault("InvalidGroup.Reserved", f"The security group '{error.name}' is reserved")
    text = f'the specified group: "{error.group}" name: "{error.name}" cannot be deleted by a user'
    return Fault("CannotDelete", text)


def _group_in_use(error: errors.GroupInUse) -> Fault:
    if not error.classic:
        by = ", ".join((*error.interfaces, *error.groups)[:_MOST_NAMED])
        return Fault("DependencyViolation", f"resource {error.group} has a dependent object: {by}")
    if error.interfaces:
        return Fault("InvalidGroup.InUse", f"There are active instances using security group '{error.name}'")
    by = ", ".join(error.groups)
    return Fault("InvalidGroup.InUse", f"Group {error.account}:{error.name} is used by groups: {by}")


def _rule_duplicate(error: errors.RuleDuplicate) -> Fault:
    low, high = error.from_port, error.to_port
    if error.classic:
        # The form of the classic service: tcp shows as 1, and all fields stand in one string.
        shown = {"tcp": "1", "udp": "2", "icmp": "3"}.get(error.protocol, error.protocol)
        said = f"The permission '{error.peer}-{shown}-{low}-{high}' has already been authorized on the specified group"
        return Fault("InvalidPermission.Duplicate", said)
    if error.protocol == "-1":
        spelled = "ALL"
    elif low is None:
        spelled = error.protocol.upper()
    else:
        spelled = f"{error.protocol.upper()}, from port: {low}, to port: {high}"
    said = f'the specified rule "peer: {error.peer}, {spelled}, ALLOW" already exists'
    return Fault("InvalidPermission.Duplicate", said)


def _instance_not_found(error: errors.InstanceNotFound) -> Fault:
    if len(error.ids) == 1:
        return Fault("InvalidInstanceID.NotFound", f"The instance ID '{error.ids[0]}' does not exist")
    return Fault("InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(error.ids)}' do not exist")


def _quota(error: errors.QuotaExceeded) -> Fault:
    room = max(0, error.limit - error.have)
    for name, (code, text) in _LIMITS.items():
        if error.name in (name, f"classic_{name}"):
            return Fault(code, text.format(room=room, asked=error.asked))
    return Fault("ResourceLimitExceeded", f"The maximum number of {error.name} has been reached.")


def _block_associated(error: errors.BlockAssociated) -> Fault:
    if error.by:
        said = f"The CIDR block {error.block} of {error.id} is in use by: {', '.join(error.by)}"
        return Fault("DependencyViolation", said)
    return Fault("InvalidParameterValue", f"{error.id} has an IPv6 CIDR block already: {error.block}")


def _parameter_invalid(error: errors.ParameterInvalid) -> Fault:
    why = f" {error.why}" if error.why else ""
    return Fault("InvalidParameterValue", f"Value ({error.text}) for parameter {error.name} is invalid.{why}")


_TABLE: dict[type, Callable[[Any], Fault]] = {
    errors.IdMalformed: _malformed,
    errors.CidrMalformed: lambda e: Fault("InvalidParameterValue", f"CIDR block {e.text} is malformed"),
    errors.ProtocolUnknown: _protocol,
    errors.PortRangeInvalid: _port_range,
    errors.GroupNameInvalid: _group_text,
    errors.ParameterMissing: lambda e: Fault("MissingParameter", f"The request must contain the parameter {e.name}"),
    errors.ParameterInvalid: _parameter_invalid,
    errors.ParametersConflict: lambda e: Fault("InvalidParameterCombination", e.why),
    errors.GroupNotFound: _group_not_found,
    errors.GroupDuplicate: _group_duplicate,
    errors.GroupReserved: _group_reserved,
    errors.GroupInUse: _group_in_use,
    errors.RuleDuplicate: _rule_duplicate,
    errors.RuleNotFound: lambda e: Fault(
        "InvalidPermission.NotFound", "The specified rule does not exist in this security group."
    ),
    errors.EgressNotAllowed: lambda e: Fault(
        "InvalidParameterValue", "Only Amazon VPC security groups may be used with this operation."
    ),
    errors.InstanceNotFound: _instance_not_found,
    errors.ImageNotFound: lambda e: Fault("InvalidAMIID.NotFound", f"The image id '[{e.id}]' does not exist"),
    errors.KeyPairNotFound: lambda e: Fault("InvalidKeyPair.NotFound", f"The key pair '{e.name}' does not exist"),
    errors.KeyPairDuplicate: lambda e: Fault(
        "InvalidKeyPair.Duplicate", f"The keypair '{e.name}' already exists."
    ),
    errors.KeyPairInvalid: lambda e: Fault(
        "InvalidKey.Format", f"Key is not in valid OpenSSH public key format: {e.why}"
    ),
    errors.SubnetNotFound: lambda e: Fault("InvalidSubnetID.NotFound", f"The subnet ID '{e.id}' does not exist"),
    errors.VpcNotFound: lambda e: Fault("InvalidVpcID.NotFound", f"The vpc ID '{e.id}' does not exist"),
    errors.ZoneNotFound: lambda e: Fault(
        "InvalidParameterValue", f"Invalid availability zone: [{e.name}]"
    ),
    errors.RegionNotFound: lambda e: Fault("InvalidParameterValue", f"Invalid region provided: [{e.name}]"),
    errors.ResourceNotFound: _not_found,
    errors.AddressesExhausted: lambda e: Fault(
        "InsufficientFreeAddressesInSubnet", f"There are not enough free addresses in {e.pool} to satisfy the request."
    ),
    errors.QuotaExceeded: _quota,
    errors.CapacityExceeded: lambda e: Fault(
        "StockadeCapacityExceeded",
        f"A host could not hold this policy: it needs {e.need} entries of the table {e.table}, which has room for "
        f"{e.room}. Nothing was changed.",
    ),
    errors.PrefixListInUse: lambda e: Fault(
        "DependencyViolation", f"The prefix list {e.id} is in use by: {', '.join(e.groups)}"
    ),
    errors.PrefixListVersionMismatch: lambda e: Fault(
        "PrefixListVersionMismatch", "The prefix list has the incorrect version number."
    ),
    errors.AttributeFixed: lambda e: Fault(
        "UnsupportedInstanceAttribute", f"The attribute '{e.name}' of '{e.id}' cannot be modified."
    ),
    errors.BlockAssociated: _block_associated,
    errors.NetworkInUse: lambda e: Fault(
        "DependencyViolation",
        f"The {e.kind} '{e.id}' has dependencies and cannot be deleted: {', '.join(e.by[:_MOST_NAMED])}",
    ),
    errors.NetworkKept: lambda e: Fault("UnsupportedOperation", f"Stockade keeps the default network '{e.id}'."),
    errors.SubnetConflict: lambda e: Fault(
        "InvalidSubnet.Conflict", f"The CIDR '{e.block}' conflicts with another subnet"
    ),
    errors.AdminOnly: lambda e: Fault(
        "UnauthorizedOperation", f"You are not authorized to perform this operation. {e.what} are the operator's.", 403
    ),
    errors.TokenReused: lambda e: Fault(
        "IdempotentParameterMismatch", "The client token you have provided is associated with other request parameters."
    ),
}  # fmt: skip

_CLASSIC: dict[type, Callable[[Any], Fault]] = {
    errors.CidrMalformed: lambda e: Fault("InvalidPermission.Malformed", f"CIDR block {e.text} is malformed"),
    errors.ProtocolUnknown: lambda e: Fault(
        "InvalidPermission.Malformed", f'Unsupported IP protocol "{e.text}"  - supported: [tcp, udp, icmp]'
    ),
    errors.PortRangeInvalid: _classic_port_range,
    errors.ZoneNotFound: lambda e: Fault("InvalidZone.NotFound", f"The zone '{e.name}' does not exist."),
}
