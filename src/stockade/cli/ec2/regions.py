"""Regions and zones: ec2-describe-regions, ec2-describe-availability-zones."""

from stockade.cli.ec2 import versions
from stockade.cli.ec2.connection import Service, numbered
from stockade.cli.ec2.options import Arguments, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from stockade.cli.ec2.records import Record


def describe_regions(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Regions of the endpoint."""
    names = numbered("RegionName", arguments.parameters)
    answer = service.call("DescribeRegions", names, since=versions.REGIONS_AND_PLATFORMS)
    return [
        ["REGION", item.text("regionName"), item.text("regionEndpoint") or item.text("regionUrl")]
        for item in answer.items("regionInfo")
    ]


def describe_availability_zones(service: Service, arguments: Arguments) -> "Iterable[Record]":
    """Zones of the region."""
    names = numbered("ZoneName", arguments.parameters)
    answer = service.call("DescribeAvailabilityZones", names, since=versions.ZONES_AND_KERNELS)
    with_region = service.version >= versions.REGIONS_AND_PLATFORMS
    return [
        ["AVAILABILITYZONE", item.text("zoneName"), item.text("zoneState")]
        + ([item.text("regionName")] if with_region else [])
        for item in answer.items("availabilityZoneInfo")
    ]


DESCRIBE_REGIONS = Command("Describes regions.", "[REGION...]", [], describe_regions)
DESCRIBE_AVAILABILITY_ZONES = Command("Describes zones.", "[ZONE...]", [], describe_availability_zones)
