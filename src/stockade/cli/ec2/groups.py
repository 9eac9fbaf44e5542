"""Security groups: ec2-add-group, ec2-describe-group, ec2-delete-group, ec2-authorize, ec2-revoke."""

from stockade.cli.ec2 import records
from stockade.cli.ec2.connection import Service, numbered
from stockade.cli.ec2.options import ArgumentProblem, Arguments, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from stockade.cli.ec2.records import Record

EVERYWHERE = "0.0.0.0/0"
# A group's grant is everything: there are no ports in it, and the service keeps it as these three rules.
EVERYTHING = (("tcp", "1", "65535"), ("udp", "1", "65535"), ("icmp", "-1", "-1"))

RULE_OPTIONS = (
    Option("-P", "--protocol", "PROTOCOL", "tcp, udp or icmp; only with a range of addresses. Default: tcp"),
    Option("-p", "--port-range", "PORT_RANGE", "a port, or MIN-MAX"),
    Option("-t", "--icmp-type-code", "TYPE:CODE", "ICMP type and code, -1 for any"),
    Option("-u", "--source-group-user", "USER", "account that owns the source group. Default: your own", many=True),
    Option("-o", "--source-group", "GROUP", "group whose members are let in, by every protocol", many=True),
    Option("-s", "--source-subnet,--cidr", "CIDR", f"addresses that are let in. Default: {EVERYWHERE}", many=True),
)


def add_group(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Create a group."""
    name, description = arguments.parameters[0], arguments.required("description")
    service.call("CreateSecurityGroup", {"GroupName": name, "GroupDescription": description})
    return [["GROUP", name, description]]


def describe_group(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Groups and their permissions."""
    answer = service.call("DescribeSecurityGroups", numbered("GroupName", arguments.parameters))
    return [line for item in answer.items("securityGroupInfo") for line in records.group(item, service.version)]


def delete_group(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Delete a group."""
    name = arguments.parameters[0]
    service.call("DeleteSecurityGroup", {"GroupName": name})
    return [["GROUP", name]]


def authorize(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Let a source in."""
    return _change(service, arguments, "AuthorizeSecurityGroupIngress")


def revoke(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Take a permission back; the lines printed are those of authorize."""
    service.cut = arguments.has("cut")
    return _change(service, arguments, "RevokeSecurityGroupIngress")


def _change(service: Service, arguments: Arguments, action: str) -> "Iterable[Record]":
    name = arguments.parameters[0]
    groups = arguments.many("source-group")
    cidrs = arguments.many("source-subnet") or ([] if groups else [EVERYWHERE])
    if groups and cidrs:
        raise ArgumentProblem(
            f"Options '{arguments.label('source-group')}' and '{arguments.label('source-subnet')}' "
            "cannot be used together (-h for usage)"
        )
    if groups:
        # The era's tools dropped ports given beside a group and granted everything; nobody means that.
        for key in ("protocol", "port-range", "icmp-type-code"):
            if arguments.has(key):
                raise ArgumentProblem(
                    f"Option '{arguments.label(key)}' does not apply to a source group, "
                    "which is let in by every protocol (-h for usage)"
                )
        sources = _group_sources(service, arguments, name, groups)
        service.call(action, _group_form(name, sources))
        lines = [records.permission("", name, "all", "", "", records.group_source(*source)) for source in sources]
    else:
        rule = _rule(arguments)
        service.call(action, _cidr_form(name, rule, cidrs))
        lines = [records.permission("", name, *rule, records.cidr_source(cidr)) for cidr in cidrs]
    return [["GROUP", "", name], *lines]


def _rule(arguments: Arguments) -> "tuple[str, str, str]":
    """Protocol, from and to. Whether the numbers make sense is for the service to say."""
    protocol = arguments.one("protocol", "icmp" if arguments.has("icmp-type-code") else "tcp")
    if protocol == "icmp":
        return (protocol, *_pair(arguments, "icmp-type-code", arguments.one("icmp-type-code", "-1:-1"), ":"))
    if arguments.has("icmp-type-code"):
        raise arguments.refuse("icmp-type-code", arguments.one("icmp-type-code"))
    text = arguments.required("port-range")
    return (protocol, *((text, text) if _is_number(text) else _pair(arguments, "port-range", text, "-")))


def _pair(arguments: Arguments, key: str, text: str, separator: str) -> "tuple[str, str]":
    first, found, last = text.partition(separator)
    if not found or not _is_number(first) or not _is_number(last):
        raise arguments.refuse(key, text)
    return first, last


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _group_sources(service: Service, arguments: Arguments, name: str, groups: "list[str]") -> "list[tuple[str, str]]":
    """(owner, group) for every -o, with its -u, or the caller's own account."""
    users = [user.replace("-", "") for user in arguments.many("source-group-user")]
    if len(users) > 1 and len(users) != len(groups):
        raise ArgumentProblem(
            f"Option '{arguments.label('source-group-user')}' must be given once, "
            f"or once for each '{arguments.label('source-group')}' (-h for usage)"
        )
    if not users:
        answer = service.call("DescribeSecurityGroups", {"GroupName.1": name})
        users = [item.text("ownerId") for item in answer.items("securityGroupInfo")][:1]
    return list(zip(users * len(groups) if len(users) == 1 else users, groups, strict=True))


def _cidr_form(name: str, rule: "tuple[str, str, str]", cidrs: "list[str]") -> "dict[str, str]":
    """The request's parameters: the era's flat form, or for several sources the later one, so that it is one call."""
    if len(cidrs) == 1:
        return {
            "GroupName": name,
            "IpProtocol": rule[0],
            "FromPort": rule[1],
            "ToPort": rule[2],
            "CidrIp": cidrs[0],
        }
    entry = _entry(1, rule)
    entry |= {f"IpPermissions.1.IpRanges.{number}.CidrIp": cidr for number, cidr in enumerate(cidrs, 1)}
    return {"GroupName": name, **entry}


def _group_form(name: str, sources: "list[tuple[str, str]]") -> "dict[str, str]":
    if len(sources) == 1:
        owner, group = sources[0]
        return {"GroupName": name, "SourceSecurityGroupName": group, "SourceSecurityGroupOwnerId": owner}
    fields = {"GroupName": name}
    for number, rule in enumerate(EVERYTHING, 1):
        fields |= _entry(number, rule)
        for index, (owner, group) in enumerate(sources, 1):
            fields[f"IpPermissions.{number}.Groups.{index}.UserId"] = owner
            fields[f"IpPermissions.{number}.Groups.{index}.GroupName"] = group
    return fields


def _entry(number: int, rule: "tuple[str, str, str]") -> "dict[str, str]":
    names = ("IpProtocol", "FromPort", "ToPort")
    return {f"IpPermissions.{number}.{name}": value for name, value in zip(names, rule, strict=True)}


ADD_GROUP = Command(
    "Creates a security group.",
    "GROUP",
    [Option("-d", "--description", "DESCRIPTION", "what the group is for")],
    add_group,
)
DESCRIBE_GROUP = Command("Describes security groups and their permissions.", "[GROUP...]", [], describe_group)
DELETE_GROUP = Command("Deletes a security group.", "GROUP", [], delete_group)
AUTHORIZE = Command("Lets a source in to the members of a security group.", "GROUP", RULE_OPTIONS, authorize)
REVOKE = Command(
    "Takes a permission of a security group back.",
    "GROUP",
    (*RULE_OPTIONS, Option("", "--cut", "", "also end live connections that are then not allowed (Stockade's own)")),
    revoke,
)
