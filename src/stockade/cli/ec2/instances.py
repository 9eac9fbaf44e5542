"""Instances: ec2-run-instances, ec2-describe-instances, ec2-terminate-instances."""

from stockade.cli.ec2 import records
from stockade.cli.ec2.connection import Service, numbered
from stockade.cli.ec2.options import Arguments, Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from stockade.cli.ec2.records import Record


def run_instances(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Launch instances of one image."""
    least, most = _counts(arguments)
    fields = {"ImageId": arguments.parameters[0], "MinCount": least, "MaxCount": most}
    fields |= numbered("SecurityGroup", arguments.many("group"))
    for key, name in (
        ("key", "KeyName"),
        ("addressing", "AddressingType"),
        ("instance-type", "InstanceType"),
        ("availability-zone", "Placement.AvailabilityZone"),
        ("kernel", "KernelId"),
        ("ramdisk", "RamdiskId"),
    ):
        if arguments.has(key):
            fields[name] = arguments.one(key)
    data = _user_data(arguments)
    if data is not None:
        import binascii

        fields["UserData"] = binascii.b2a_base64(data, newline=False).decode()
    fields |= _block_devices(arguments)
    return records.reservation(service.call("RunInstances", fields), service.version)


def describe_instances(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Reservations and their instances."""
    answer = service.call("DescribeInstances", numbered("InstanceId", arguments.parameters))
    return [line for item in answer.items("reservationSet") for line in records.reservation(item, service.version)]


def terminate_instances(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """End instances for good."""
    answer = service.call("TerminateInstances", numbered("InstanceId", arguments.parameters))
    return [records.terminated(item) for item in answer.items("instancesSet")]


def _counts(arguments: Arguments) -> "tuple[str, str]":
    text = arguments.one("instance-count", "1")
    least, found, most = text.partition("-")
    if not least.isdecimal() or (found and not most.isdecimal()):
        raise arguments.refuse("instance-count", text)
    return least, most if found else least


def _user_data(arguments: Arguments) -> "bytes | None":
    if arguments.has("user-data"):
        return arguments.one("user-data").encode()
    if not arguments.has("user-data-file"):
        return None
    name = arguments.one("user-data-file")
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as err:
        raise arguments.refuse("user-data-file", name) from err


def _block_devices(arguments: Arguments) -> "dict[str, str]":
    fields = {}
    for number, mapping in enumerate(arguments.many("block-device-mapping"), 1):
        device, found, virtual = mapping.partition("=")
        if not found:
            raise arguments.refuse("block-device-mapping", mapping)
        fields[f"BlockDeviceMapping.{number}.DeviceName"] = device
        fields[f"BlockDeviceMapping.{number}.VirtualName"] = virtual
    return fields


RUN_INSTANCES = Command(
    "Launches instances of a machine image.",
    "AMI",
    [
        Option("-n", "--instance-count", "MIN[-MAX]", "how many. Default: 1"),
        Option("-g", "--group", "GROUP", "security group to join. Default: default", many=True),
        Option("-k", "--key", "KEYPAIR", "key pair that may log in"),
        Option("-d", "--user-data", "DATA", "data the instance can read", raw=True),
        Option("-f", "--user-data-file", "FILE", "the same from a file"),
        Option("", "--addressing", "TYPE", "public or direct"),
        Option("-t", "--instance-type", "TYPE", "instance type. Default: m1.small"),
        Option("-z", "--availability-zone", "ZONE", "zone to launch in"),
        Option("", "--kernel", "KERNEL", "kernel image"),
        Option("", "--ramdisk", "RAMDISK", "ramdisk image"),
        Option("-b", "--block-device-mapping", "MAPPING", "DEVICE=VIRTUAL", many=True),
    ],
    run_instances,
)
DESCRIBE_INSTANCES = Command("Describes instances.", "[INSTANCE...]", [], describe_instances)
TERMINATE_INSTANCES = Command("Terminates instances.", "INSTANCE...", [], terminate_instances)
